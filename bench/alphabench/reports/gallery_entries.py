"""The data of a gallery: what its script shows of each sample, image, verdict and reply.

It has two parts. Cards are read at once: prompts, states, reasons and where the images are. Details
are one line of JSON for each sample, read when an image is opened or searched: questions, replies,
what the generator noted, detected objects. Both are JSON in which no HTML can occur. Knows no
benchmark's rules: whatever a verdict's detail holds is shown under its own name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alphabench.core.files import well_formed
from alphabench.reports.gallery_images import ShownImage
from alphabench.reports.markdown import number
from alphabench.runs.stored_run import ImageResult, ImageState
from alphabench.types import FULL_MARKS, OUT_OF, Sample, Verdict

STATE_MARKS: Final[Mapping[ImageState, str]] = {
    "right": "✓",
    "partly": "◐",
    "wrong": "✕",
    "unscored": "–",
}
_OF_QUESTIONS: Final = ("question", "expected")
_OWN_KEYS: Final = ("reply", "thought", "reason", "answer", "p_yes")
_NOT_SHOWN: Final = (OUT_OF, "objects", "tokens", "model", "fingerprint")
_LONGEST_TEXT: Final = 8000
_DEEPEST: Final = 8
"""Levels of a detail or note that are shown; whatever lies deeper is an ellipsis."""
_UNSAFE: Final = re.compile(r"[<>&\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryEntry:
    """What is filtered and enlarged as one: an image, or a pair of them."""

    state: str
    """One of the page's states."""
    statuses: tuple[str, ...] = ()
    """Of an unscored one: why, as further states to filter by."""
    sides: Sequence[ImageResult]
    """One image, or the two of a comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GallerySample:
    """A sample with its entries."""

    sample: Sample
    score: float | None
    """What it is sorted by: a mean share of full marks, or a difference of two."""
    entries: Sequence[GalleryEntry]


def mean_share(image: ImageResult) -> float | None:
    """The mean share of full marks over all questions; None where one has no value."""
    if image.state == "unscored":
        return None
    shares = [_share(verdict) for verdict in image.verdicts if verdict.value is not None]
    return sum(shares) / len(shares)


def unscored_status(image: ImageResult) -> str:
    """Why an unscored image has no score: a verdict's status."""
    if image.absence is not None:
        return image.absence.status
    statuses = [verdict.status for verdict in image.verdicts if verdict.status != "scored"]
    return statuses[0] if statuses else "missing"


def state_words(image: ImageResult) -> str:
    """The state; with its status where it is unscored, with the mean where it is partly."""
    if image.state == "unscored":
        status = unscored_status(image)
        return f"unscored · {status}" if image.verdicts or image.absence else "unscored"
    if image.state != "partly":
        return image.state
    values = [verdict.value for verdict in image.verdicts if verdict.value is not None]
    marks = {verdict.number(OUT_OF, FULL_MARKS) for verdict in image.verdicts}
    full = max(marks)
    out_of = f" of {full:g}" if len(marks) == 1 and full != FULL_MARKS else ""
    return f"{image.state} · {number(sum(values) / len(values))}{out_of}"


def card_json(one: GallerySample, shown: Mapping[tuple[int, str], ShownImage]) -> str:
    """One sample as the page shows it at once.

    Args:
        one: the sample with its entries.
        shown: (side, image id) -> its image, for those that exist.
    """
    sample = one.sample
    return _json(
        {
            "id": sample.id,
            "prompt": sample.prompt,
            "group": sample.group,
            **({"score": round(one.score, 6)} if one.score is not None else {}),
            **({"edits": True} if sample.source_image is not None else {}),
            "entries": [
                {
                    "state": entry.state,
                    **({"statuses": list(entry.statuses)} if entry.statuses else {}),
                    "sides": [
                        _side(image, shown.get((side, image.image_id)))
                        for side, image in enumerate(entry.sides)
                    ],
                }
                for entry in one.entries
            ],
        }
    )


def detail_json(one: GallerySample, source: str | None) -> str:
    """One sample's line of details, with the data URI of its source image if it has one."""
    questions: dict[str, dict[str, Any]] = {}
    entries = [[_image_detail(image, questions) for image in entry.sides] for entry in one.entries]
    content = {
        "entries": entries,
        "questions": list(questions.values()),
        "facts": list(_facts(one.sample)),
        "source": source,
    }
    return _json({key: value for key, value in content.items() if value})


def _side(image: ImageResult, shown: ShownImage | None) -> dict[str, Any]:
    about: dict[str, Any] = {
        "id": image.image_id,
        "state": image.state,
        "says": f"{STATE_MARKS[image.state]} {state_words(image)}",
    }
    if reason := image.reason.strip():
        about["reason"] = reason[:_LONGEST_TEXT]
    if image.record is not None:
        about["seed"] = image.record.seed
    if shown is not None:
        about["src"] = shown.source
        if shown.file != shown.source:
            about["file"] = shown.file
        if shown.size is not None:
            about["size"] = shown.size
    return about


def _image_detail(image: ImageResult, questions: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The verdicts, and what the generator noted; adds what is asked to `questions`."""
    positions = {name: i for i, name in enumerate(questions)}
    verdicts = []
    for verdict in image.verdicts:
        if verdict.question_id not in questions:
            positions[verdict.question_id] = len(questions)
            asked = {key: verdict.detail[key] for key in _OF_QUESTIONS if key in verdict.detail}
            questions[verdict.question_id] = {
                "id": verdict.question_id,
                **{key: _text(value) for key, value in asked.items()},
            }
        verdicts.append(_verdict_detail(verdict, positions[verdict.question_id]))
    notes = image.record.notes if image.record is not None else {}
    content = {
        "verdicts": verdicts,
        "notes": [
            [name, text]
            for key, note in notes.items()
            if note is not False
            for name, text in _flat(key, note)
        ],
        "objects": list(_objects(image)),
    }
    return {key: value for key, value in content.items() if value}


def _verdict_detail(verdict: Verdict, position: int) -> dict[str, Any]:
    found: dict[str, Any] = {"q": position}
    if verdict.value is None:
        found["status"] = verdict.status
    else:
        found |= {"value": number(verdict.value), "share": round(_share(verdict), 4)}
        if (full := verdict.number(OUT_OF, FULL_MARKS)) != FULL_MARKS:
            found["out_of"] = f"{full:g}"
    return {**found, **_evidence(verdict.detail, _OF_QUESTIONS)}


def _evidence(
    detail: Mapping[str, Any], besides: Sequence[str] = (), depth: int = 0
) -> dict[str, Any]:
    """The reply and its like, the questions that a verdict was made of, and the rest by name."""
    own: dict[str, Any] = {}
    parts: list[dict[str, Any]] = []
    more: list[list[str]] = []
    for key, value in detail.items():
        if key in _OWN_KEYS:
            if (text := _text(value)) != "":
                own[key] = text
        elif depth < _DEEPEST and (inner := _inner_questions(key, value, depth + 1)):
            parts += inner
        elif key not in (*_NOT_SHOWN, *besides):
            more += [[name, text] for name, text in _flat(key, value)]
    return {**own, **({"parts": parts} if parts else {}), **({"more": more} if more else {})}


def _inner_questions(key: str, content: Any, depth: int) -> list[dict[str, Any]]:
    """Questions inside a verdict: a list of them, or one reply under its name; else empty."""
    if isinstance(content, Mapping) and "reply" in content:
        return [{"question": key.replace("_", " "), **_evidence(content, (), depth)}]
    if not isinstance(content, list) or not content:
        return []
    if not all(isinstance(one, Mapping) and "question" in one for one in content):
        return []
    return [_inner_question(one, depth) for one in content]


def _inner_question(content: Mapping[str, Any], depth: int) -> dict[str, Any]:
    asked = {"question": _text(content["question"])}
    if (status := content.get("status", "scored")) != "scored":
        asked["status"] = _text(status)
    return {**asked, **_evidence(content, ("question", "status", "id"), depth)}


def _share(verdict: Verdict) -> float:
    assert verdict.value is not None
    full = verdict.number(OUT_OF, FULL_MARKS)
    return verdict.value / full if full else verdict.value


def _flat(key: str, content: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Each value under its name, in the order of the data."""
    name = key.replace("_", " ")
    nested = isinstance(content, list) and any(isinstance(part, Mapping | list) for part in content)
    if depth >= _DEEPEST and (nested or isinstance(content, Mapping)):
        yield name, "…"
    elif isinstance(content, Mapping):
        for inner, value in content.items():
            if inner not in _NOT_SHOWN:
                yield from _flat(f"{name}: {inner}", value, depth + 1)
    elif nested:
        for place, value in enumerate(content, start=1):
            yield from _flat(f"{name} {place}", value, depth + 1)
    elif (text := _text(content)) != "":
        yield name, text


def _text(content: Any) -> str:
    if isinstance(content, bool):
        return "yes" if content else "no"
    if isinstance(content, float):
        return f"{content:.4g}"
    if isinstance(content, list):
        return ", ".join(map(_text, content))
    return "none" if content is None else str(content)[:_LONGEST_TEXT]


def _facts(sample: Sample) -> Iterator[tuple[str, str]]:
    """What the benchmark knows about the sample, where it is text or a number and no path."""
    for key, value in sample.facts.items():
        if value in (sample.prompt, sample.group):
            continue
        if isinstance(value, str) and Path(value).is_absolute():
            continue
        if isinstance(value, str | int | float):
            yield from _flat(key, value)


def _objects(image: ImageResult) -> Iterator[list[Any]]:
    """What the evaluator detected: [name, x1, y1, x2, y2, score], in pixels of the image."""
    for verdict in image.verdicts:
        objects = verdict.detail.get("objects")
        if not isinstance(objects, Mapping):
            continue
        for name, boxes in objects.items():
            for box in boxes if isinstance(boxes, list) else ():
                if _is_box(box):
                    yield [str(name), *(round(part, 3) for part in box)]


def _is_box(content: Any) -> bool:
    """`x1, y1, x2, y2, score`; other evaluators may store something else under the same name."""
    return (
        isinstance(content, list)
        and len(content) == 5
        and all(isinstance(part, int | float) and math.isfinite(part) for part in content)
    )


def _json(content: Any) -> str:
    """One line of JSON for a script element: without characters that HTML could act upon."""
    text = well_formed(json.dumps(content, ensure_ascii=False, separators=(",", ":")))
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
