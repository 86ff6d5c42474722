"""Pairs of pictures, before and after an edit or what went wrong with it, and what is true of them.

Half are small scenes, half scenes as the checkpoint `scene:` edits them. A shard's content depends
on its number alone, and shards are kept on disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from alphabench.detections.objects import COLOURS
from alphabench.scenes import scene_edits
from alphabench.scenes.edit_ops import EditErrorKind, edited_scene, source_scene
from alphabench.scenes.render import Rendered, render
from alphabench.scenes.small_world import (
    SMALL_CATEGORIES,
    SMALL_TONES,
    SmallScene,
    small_to_scene,
    tones_for,
)
from tools.nano_judge import decoded
from tools.nano_judge.corruptions import spoilt
from tools.nano_judge.instructions import chinese, english
from tools.nano_judge.scene_images import Pixels, cells_of, random_things, shrunk
from tools.nano_judge.view import PLACED, one_choice

SHARD: Final = 1000
Outcome = Literal["done", "half", "unedited", "wrong", "overedited"]
"""half: what was named has changed, into something else than was asked for. wrong: something else
changed instead."""
OUTCOMES: Final[tuple[Outcome, ...]] = ("done", "half", "unedited", "wrong", "overedited")
_SHARES: Final = (0.32, 0.22, 0.16, 0.15, 0.15)
_SCORES: Final[Mapping[Outcome, tuple[int, int]]] = {
    "done": (10, 10), "half": (5, 10), "unedited": (0, 10), "wrong": (0, 3), "overedited": (10, 3),
}  # fmt: skip
"""How fully what was asked for is done, and how well all else was left alone."""
_REDRAWN: Final = 0.5
"""Share of small pairs that went through the nano model's autoencoder, as its edits do."""


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
    """Pictures before and after, what their cells show (see `cells_of`), and their truths."""

    pixels_N2YX3: Pixels
    cells_N2C3: Pixels
    pairs: list[Pair]


def pair_shard(work: Path, kind: str, number: int) -> PairShard:
    """Made once and kept in WORK/judge_pool; kinds are `small` and `common`.

    Half of the small pairs pass through the autoencoder WORK/ae.safetensors, each picture with an
    error of its own.
    """
    folder = work / "judge_pool"
    stem = folder / f"edits-{kind}-{number:03}"
    if not stem.with_suffix(".jsonl").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        content = [made_edit_pair(kind, number, index) for index in range(SHARD)]
        pixels = np.stack([np.stack(one.pixels) for one in content])
        if kind == "small":
            rng = np.random.default_rng([67, number])
            chosen = np.flatnonzero(rng.random(SHARD) < _REDRAWN)
            redrawn = decoded.redrawn(work, pixels[chosen].reshape(-1, *pixels.shape[2:]), rng)
            pixels[chosen] = redrawn.reshape(-1, *pixels.shape[1:])
        np.save(stem.with_suffix(".pixels.npy"), pixels)
        np.save(stem.with_suffix(".cells.npy"), np.stack([np.stack(one.cells) for one in content]))
        lines = [json.dumps(asdict(one.pair)) for one in content]
        stem.with_suffix(".jsonl").write_text("\n".join(lines), encoding="utf-8")
    lines = stem.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [
        Pair(**{**(row := json.loads(line)), "instructions": tuple(row["instructions"])})
        for line in lines
    ]
    return PairShard(
        np.load(stem.with_suffix(".pixels.npy"), mmap_mode="r"),
        np.load(stem.with_suffix(".cells.npy")),
        pairs,
    )


class MadePair(NamedTuple):
    """Pictures before and after, what their cells show, and what is true of them."""

    pixels: tuple[Pixels, Pixels]
    cells: tuple[Pixels, Pixels]
    pair: Pair


def made_edit_pair(kind: str, number: int, index: int) -> MadePair:
    """Pair `index` of a shard, before any autoencoder."""
    rng = np.random.default_rng([37, ("small", "common").index(kind), number, index])
    outcome = OUTCOMES[rng.choice(len(OUTCOMES), p=_SHARES)]
    before, after, pair = (_small if kind == "small" else _common)(outcome, rng)
    changed = shrunk(after.image)
    if rng.random() < 0.3:
        changed = spoilt(changed, rng)[0]
    pixels = (np.asarray(shrunk(before.image)), np.asarray(changed))
    return MadePair(pixels, (cells_of(before), cells_of(after)), pair)


def _small(outcome: Outcome, rng: np.random.Generator) -> tuple[Rendered, Rendered, Pair]:
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
        render(small_to_scene(small, np.random.default_rng(s)), 64, 64)
        for small, s in ((change.before, seed), (after, other))
    ]
    success, rest = _SCORES[outcome]
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
    if outcome == "half":
        return half_of(change, rng)
    start = change.before if outcome == "wrong" else change.after
    other = scene_edits.edit(start, rng)
    if other.after in (change.after, change.before):
        return None
    both = _meant(change) & _meant(other)
    if both - ({"add"} if outcome == "overedited" else set()):
        return None
    return other.after


def _meant(change: scene_edits.SceneChange) -> set[str]:
    """The places whose objects a change exchanges; `tone` for the background."""
    before, after = ({one.place: one for one in scene.objects}
                     for scene in (change.before, change.after))  # fmt: skip
    places = {str(p) for p in {*before, *after} if before.get(p) != after.get(p)}
    if change.kind == "add":
        places.add("add")
    return places | ({"tone"} if change.before.tone != change.after.tone else set())


def half_of(change: scene_edits.SceneChange, rng: np.random.Generator) -> SmallScene | None:
    """The named thing changed, but into something else; None where an edit has no such half."""
    before, after = change.before, change.after
    if change.kind == "background":
        tones = [one for one in tones_for(before.objects) if one not in (before.tone, after.tone)]
        return replace(before, tone=one_choice(tones, rng)) if tones else None
    at = [i for i, one in enumerate(after.objects) if one not in before.objects]
    if change.kind not in ("colour", "replace", "add") or len(at) != 1:
        return None
    asked = after.objects[at[0]]
    there = [one for one in before.objects if one.place == asked.place]
    old = there[0] if there else None
    names = {one.category for one in (*before.objects, asked)}
    colours = [c for c in COLOURS if c not in (asked.colour, old.colour if old else None)]
    if change.kind == "colour" or (asked.colour is not None and rng.random() < 0.5):
        made = replace(asked, colour=one_choice(colours, rng))
    else:
        others = [name for name in SMALL_CATEGORIES if name not in names]
        made = replace(asked, category=one_choice(others, rng))
    return replace(after, objects=(*after.objects[: at[0]], made, *after.objects[at[0] + 1 :]))


def _common(outcome: Outcome, rng: np.random.Generator) -> tuple[Rendered, Rendered, Pair]:
    side = int(rng.choice([64, 128, 128, 256]))
    errors: dict[Outcome, EditErrorKind] = {
        "half": "wrong", "unedited": "unedited", "wrong": "wrong", "overedited": "overedited",
    }  # fmt: skip
    while True:
        facts = edit_facts(rng)
        # Adding or removing something else leaves what was asked for undone.
        instead = facts["edit"]["op"] in ("add", "remove")
        if (outcome == "half" and instead) or (outcome == "wrong" and not instead):
            continue
        try:
            before = source_scene(facts)
            after = edited_scene(facts, rng, error=errors.get(outcome))
        except ValueError:
            continue
        if outcome != "unedited" and before == after:
            continue
        break
    success, rest = _SCORES[outcome]
    shown = [render(scene, side, side) for scene in (before, after)]
    pair = Pair(
        instructions=(*english(facts["edit"]), *chinese(facts["edit"])),
        outcome=outcome,
        success=success,
        rest=rest,
    )
    return shown[0], shown[1], pair


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
