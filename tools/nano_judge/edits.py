"""Pairs of pictures, before and after an edit or what went wrong with it, and what is true of them.

Half are small scenes, half scenes as the checkpoint `scene:` edits them. A shard's content depends
on its number alone, and shards are kept on disk.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from PIL import Image

from alphabench.detections.objects import COLOURS
from alphabench.scenes import scene_edits
from alphabench.scenes.edit_ops import EDIT_ERROR_KINDS, edited_scene, source_scene
from alphabench.scenes.render import render
from alphabench.scenes.small_world import SMALL_CATEGORIES, SMALL_TONES, SmallScene, small_to_scene
from tools.nano_judge.corruptions import spoilt
from tools.nano_judge.instructions import chinese, english
from tools.nano_judge.scene_images import Pixels, random_things, shrunk
from tools.nano_judge.view import PLACED, one_choice

SHARD: Final = 1000
Outcome = Literal["done", "unedited", "wrong", "overedited"]
_OUTCOMES: Final[tuple[Outcome, ...]] = ("done", "unedited", "wrong", "overedited")
_SHARES: Final = (0.4, 0.2, 0.22, 0.18)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What is true of two pictures."""

    instructions: tuple[str, ...]
    """The same in other words."""
    outcome: Outcome
    success: int
    """How fully the instruction was carried out, 0 to 10."""
    rest: int
    """How well everything else was left alone, 0 to 10."""


class PairShard(NamedTuple):
    """Pictures before and after, and their truths."""

    pixels_N2YX3: Pixels
    pairs: list[Pair]


def pair_shard(folder: Path, kind: str, number: int) -> PairShard:
    """Made once and kept; kinds are `small` and `common`."""
    stem = folder / f"pairs-{kind}-{number:03}"
    if not stem.with_suffix(".jsonl").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        content = [made_edit_pair(kind, number, index) for index in range(SHARD)]
        np.save(stem.with_suffix(".pixels.npy"), np.stack([np.stack(one[0]) for one in content]))
        lines = [json.dumps(asdict(one[1])) for one in content]
        stem.with_suffix(".jsonl").write_text("\n".join(lines), encoding="utf-8")
    lines = stem.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [
        Pair(**{**(row := json.loads(line)), "instructions": tuple(row["instructions"])})
        for line in lines
    ]
    return PairShard(np.load(stem.with_suffix(".pixels.npy"), mmap_mode="r"), pairs)


def made_edit_pair(kind: str, number: int, index: int) -> tuple[list[Pixels], Pair]:
    """Both pictures of a pair, and what is true of them."""
    rng = np.random.default_rng([37, ("small", "common").index(kind), number, index])
    outcome = _OUTCOMES[rng.choice(len(_OUTCOMES), p=_SHARES)]
    before, after, pair = (_small if kind == "small" else _common)(outcome, rng)
    if rng.random() < 0.3:
        after = spoilt(after, rng)[0]
    return [np.asarray(before), np.asarray(after)], pair


def _small(outcome: Outcome, rng: np.random.Generator) -> tuple[Image.Image, Image.Image, Pair]:
    change, after = None, None
    while change is None or after is None:
        try:
            change = scene_edits.edit(random_things(rng), rng)
            after = _turned_out(change, outcome, rng)
        except LookupError:
            continue
    seed = int(rng.integers(2**32))
    # A generator that draws everything anew moves what it was to leave alone by a little.
    other = seed if rng.random() < 0.6 else seed + 1
    shown = [
        shrunk(render(small_to_scene(small, np.random.default_rng(s)), 64, 64).image)
        for small, s in ((change.before, seed), (after, other))
    ]
    scores = {"done": (10, 10), "unedited": (0, 10), "wrong": (1, 3), "overedited": (10, 3)}
    success, rest = scores[outcome]
    words = (change.instruction,)
    return (
        shown[0],
        shown[1],
        Pair(instructions=words, outcome=outcome, success=success, rest=rest),
    )


def _turned_out(
    change: scene_edits.SceneChange, outcome: Outcome, rng: np.random.Generator
) -> SmallScene | None:
    if outcome == "done":
        return change.after
    if outcome == "unedited":
        return change.before
    start = change.before if outcome == "wrong" else change.after
    other = scene_edits.edit(start, rng).after
    return None if other in (change.after, change.before) else other


def _common(outcome: Outcome, rng: np.random.Generator) -> tuple[Image.Image, Image.Image, Pair]:
    side = int(rng.choice([64, 128, 128, 256]))
    while True:
        facts = edit_facts(rng)
        error = None if outcome == "done" else EDIT_ERROR_KINDS[_OUTCOMES.index(outcome) - 1]
        try:
            before = source_scene(facts)
            after = edited_scene(facts, rng, error=error)
        except ValueError:
            continue
        if outcome != "unedited" and before == after:
            continue
        break
    success, rest = _scores(outcome, facts["edit"]["op"])
    shown = [shrunk(render(scene, side, side).image) for scene in (before, after)]
    pair = Pair(
        instructions=(*english(facts["edit"]), *chinese(facts["edit"])),
        outcome=outcome,
        success=success,
        rest=rest,
    )
    return shown[0], shown[1], pair


def _scores(outcome: Outcome, op: str) -> tuple[int, int]:
    if outcome == "done":
        return 10, 10
    if outcome == "unedited":
        return 0, 10
    if outcome == "overedited":
        return 10, 3
    return {"add": (1, 5), "remove": (0, 3), "replace": (2, 9)}.get(op, (1, 9))


def edit_facts(rng: np.random.Generator) -> dict[str, Any]:
    """A source of one to three coloured things on a plain ground, and an edit of it."""
    number = int(rng.integers(1, 4))
    names = [SMALL_CATEGORIES[i] for i in rng.permutation(len(SMALL_CATEGORIES))[: number + 1]]
    colours = [COLOURS[i] for i in rng.permutation(len(COLOURS))[:number]]
    include: list[dict[str, Any]] = [
        {"class": name, "count": 1, "color": colour}
        for name, colour in zip(names, colours, strict=False)
    ]
    tone = SMALL_TONES[rng.integers(len(SMALL_TONES))]
    edit = _edit(names, colours, tone, rng)
    if edit["op"] == "move":
        opposite = {"left of": "right of", "right of": "left of", "above": "below"}
        relation = opposite.get(edit["position"][0], "above")
        include[1]["position"] = [relation, 0]
    source = {
        "include": include,
        "exclude": [],
        "ground": {"tone": tone, "texture": "plain"},
        "seed": int(rng.integers(2**31)),
    }
    return {"source": source, "edit": edit, "include": [], "exclude": []}


def _edit(
    names: list[str], colours: list[str], tone: str, rng: np.random.Generator
) -> dict[str, Any]:
    ops = ["add", "recolour", "recolour", "style", "ground", "replace"]
    ops += ["remove", "move"] if len(names) > 2 else []
    op = one_choice(ops, rng)
    other = one_choice([colour for colour in COLOURS if colour not in colours], rng)
    relation = one_choice(list(PLACED), rng)
    if op == "add":
        position = [relation, names[0]]
        return {"op": op, "class": names[-1], "color": other, "position": position}
    if op == "move":
        return {"op": op, "class": names[1], "position": [relation, names[0]]}
    if op == "ground":
        to = one_choice([name for name in SMALL_TONES if name != tone], rng)
        return {"op": op, "ground": {"tone": to, "texture": "plain"}}
    if op == "style":
        return {"op": op, "color": other}
    name = one_choice(names[:-1], rng)
    more = {"recolour": {"color": other}, "replace": {"with": names[-1]}, "remove": {}}[op]
    return {"op": op, "class": name, **more}
