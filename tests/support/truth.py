"""A judge's mind that knows what was drawn: the true answer for a scripted judge."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

from alphabench.checkpoints.scene import SceneCheckpoint
from alphabench.scenes.edit_ops import SceneEdit, edit_holds, rest_is_unchanged, source_scene
from alphabench.scenes.render import Rendered
from alphabench.scenes.scene_questions import check_holds
from alphabench.scenes.spec import Scene
from alphabench.types import ImageRequest, Sample
from alphagrpo.dvreward.prompt_sources import questions_of
from alphagrpo.dvreward.verification import VerificationOptions, questions_to_ask

EDITING = {
    "gedit": ("semantics", "quality"),
    "imgedit": ("score", ""),
    "rise": ("reasoning", "plausibility"),
}
"""Benchmarks of edits: their questions about the edit and about the look of the result."""


def drawn(checkpoint: SceneCheckpoint, request: ImageRequest) -> Rendered:
    """What the checkpoint draws, once for all that know it: a test has several such judges."""
    request = replace(request, sample=replace(request.sample, facts=_Facts(request.sample.facts)))
    return _drawn(checkpoint, request)


@lru_cache(maxsize=512)
def _drawn(checkpoint: SceneCheckpoint, request: ImageRequest) -> Rendered:
    return checkpoint.render_request(request)


class _Facts(dict[str, Any]):
    """Facts that can be a key."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(json.dumps(self, sort_keys=True))


def obeyed(checkpoint: SceneCheckpoint, requests: Iterable[ImageRequest]) -> dict[str, bool]:
    """Image id -> whether the drawn picture shows what its sample's own facts demand."""
    return {
        request.id: check_holds(request.sample.facts, drawn(checkpoint, request).truth)
        for request in requests
    }


def edited_right(
    checkpoint: SceneCheckpoint, requests: Iterable[ImageRequest]
) -> dict[str, tuple[bool, bool]]:
    """Image id -> whether the edit that was asked for is to be seen, and all else as it was."""
    found = {}
    for request in requests:
        facts, scene = request.sample.facts, checkpoint.scene_of(request)
        truth = drawn(checkpoint, request).truth
        done = all(edit_holds(check, scene, truth) for check in facts["check"])
        kept = rest_is_unchanged(_source(json.dumps(facts)), scene, SceneEdit.from_facts(facts))
        found[request.id] = (done, kept)
    return found


@cache
def _source(facts: str) -> Scene:
    """The scene before the edit of facts in JSON: many images of a test have the same."""
    return source_scene(json.loads(facts))


def replies(benchmark: str, checkpoint: SceneCheckpoint, request: ImageRequest) -> dict[str, str]:
    """Question id -> what one replies who knows what was drawn; of a judged benchmark by name."""
    if benchmark in EDITING:
        return edit_replies(benchmark, checkpoint, request)
    facts, truth = request.sample.facts, drawn(checkpoint, request).truth
    match benchmark:
        case "tiif" | "geneval2" | "corebench" | "cvtg" | "longtext" | "unigenbench":
            return {str(i): yes_no(check_holds(c, truth)) for i, c in enumerate(facts["check"])}
        case "oneig":
            checks = enumerate(facts["check"], start=1)
            return {str(number): yes_no(check_holds(c, truth)) for number, c in checks}
        case "dpg":
            pairs = zip(facts["propositions"], facts["check"], strict=True)
            return {one["id"]: yes_no(check_holds(check, truth)) for one, check in pairs}
        case "wise":
            return {"score": f"Score: {int(check_holds(facts, truth))}"}
        case "dvreward":
            return {
                name: yes_no(one.check is not None and check_holds(one.check, truth))
                for name, one in questions_to_ask(
                    questions_of(request.sample), VerificationOptions()
                )
            }
        case _:
            raise ValueError(f"nobody knows the truth of {benchmark!r}")


def edit_replies(
    benchmark: str, checkpoint: SceneCheckpoint, request: ImageRequest
) -> dict[str, str]:
    """The same of a benchmark of edits."""
    (right,) = edited_right(checkpoint, [request]).values()
    edit, look = EDITING[benchmark]
    said = {edit: json.dumps({"score": [10 * int(one) for one in right]})}
    if look and request.sample.group != "logical_reasoning":
        said[look] = '{"score": [10, 10]}'
    return said


def yes_no(truth: bool) -> str:
    return "yes" if truth else "no"


def scores(benchmark: str, sample: Sample, said: Mapping[str, str]) -> dict[str, float]:
    """Verdict id -> its value by hand, from what was replied to all questions about an image."""
    match benchmark:
        case "tiif":
            expected = sample.facts["answers"]
            return {i: float(expected[int(i)].casefold() == answer) for i, answer in said.items()}
        case "cvtg" | "longtext" | "oneig" if "text" in sample.facts:
            name = "score" if benchmark == "cvtg" else "text"
            return {name: sum(answer == "yes" for answer in said.values()) / len(said)}
        case "dpg" | "geneval2" | "corebench" | "unigenbench" | "oneig":
            return {name: float(answer == "yes") for name, answer in said.items()}
        case "wise":
            return {name: float(answer.removeprefix("Score: ")) for name, answer in said.items()}
        case "gedit" | "rise" | "imgedit":
            return edit_scores(benchmark, [json.loads(text)["score"] for text in said.values()])
        case "dvreward":
            means = []
            for aspect in "sq":
                of = [answer == "yes" for name, answer in said.items() if name.startswith(aspect)]
                means.append(sum(of) / len(of) if of else 1.0)
            return {"reward": math.sqrt(math.prod(means))}
        case _:
            raise ValueError(f"nobody knows the rules of {benchmark!r}")


def edit_scores(benchmark: str, marks: Sequence[Sequence[int]]) -> dict[str, float]:
    """The same of a benchmark of edits, from the marks of each reply."""
    if benchmark == "gedit":
        return {"overall": math.sqrt(math.prod(map(min, marks)))}
    if benchmark == "rise":
        return {"complete": float({mark for of in marks for mark in of} == {10})}
    ((done, kept),) = marks
    return {"score": 1 + 0.4 * (done + min(done, kept)) / 2}
