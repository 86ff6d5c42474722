"""What several folders of one run hold together, unless they contradict each other.

Writes nothing and knows no file name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from alphabench.core.errors import AlphaBenchError
from alphabench.runs.store import ImageRecord, RunFolder, StoredVerdict
from alphabench.runs.stored_run import StoredRun
from alphabench.types import NotGenerated, Status

T = TypeVar("T")
_ANSWER_ORDER: Final[Sequence[Status]] = ("scored", "refused", "unparsed", "failed", "missing")
"""Of two verdicts on one question, the first counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedContent:
    """Images and verdicts of several folders, each once."""

    images: Mapping[str, ImageRecord]
    """Image id -> its record."""
    sources: Mapping[str, RunFolder]
    """Image id -> a folder with its file, of those that are merged."""
    not_made: Mapping[str, NotGenerated]
    """Image id -> why no folder has it."""
    verdicts: Mapping[str, Sequence[StoredVerdict]]
    """Evaluation -> one verdict for each question about an image."""
    identities: Mapping[str, Mapping[str, str]]
    """Evaluation -> its identity."""


def merged_content(existing: StoredRun | None, parts: Sequence[StoredRun]) -> MergedContent:
    """What the folders hold together.

    Args:
        existing: what the merged run's folder holds already.
        parts: what is merged into it.

    Raises:
        AlphaBenchError: two folders have different images under one id, different values on one
            question, or different evaluators under one name.
    """
    every = [*([existing] if existing is not None else []), *parts]
    images = _images(every)
    names = dict.fromkeys(name for run in every for name in run.evaluations())
    return MergedContent(
        images=images,
        sources={name: part.folder for part in reversed(parts) for name in part.images},
        not_made=_not_made(every, images),
        verdicts={name: list(_verdicts(every, name, images).values()) for name in names},
        identities={name: _identity(every, name) for name in names},
    )


def images_in_order(found: Mapping[str, T], order: Mapping[str, int]) -> dict[str, T]:
    """By the places of image ids; others come last, by name."""
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


def verdicts_in_order(
    verdicts: Iterable[StoredVerdict], order: Mapping[str, int]
) -> list[StoredVerdict]:
    """By the places of their images; those on one image stay in the order of their questions."""

    def place(stored: StoredVerdict) -> tuple[int, str]:
        name = stored.verdict.image_id
        return order.get(name, len(order)), name

    return sorted(verdicts, key=place)


def _images(runs: Sequence[StoredRun]) -> dict[str, ImageRecord]:
    images: dict[str, ImageRecord] = {}
    owners: dict[str, StoredRun] = {}
    id_of_path: dict[str, str] = {}
    for run in runs:
        for name, record in run.images.items():
            known = images.setdefault(name, record)
            owner = owners.setdefault(name, run)
            if known.sha256 != record.sha256:
                raise _contradiction(f"image {name}", owner, run, "")
            other = id_of_path.setdefault(record.path, name)
            if other != name or known.path != record.path:
                raise AlphaBenchError(
                    f"{str(run.root)!r} is damaged: the images {other} and {name} share a file",
                    hint="leave it out",
                )
    return images


def _not_made(
    runs: Sequence[StoredRun], images: Mapping[str, ImageRecord]
) -> dict[str, NotGenerated]:
    found: dict[str, NotGenerated] = {}
    for run in runs:
        for name, outcome in run.folder.not_made().items():
            if name not in images:
                known = found.get(name, outcome)
                found[name] = min(known, outcome, key=lambda one: (one.status, one.reason))
    return found


def _identity(runs: Sequence[StoredRun], evaluation: str) -> dict[str, str]:
    of_runs = [(run, run.folder.evaluation_identity(evaluation)) for run in runs]
    known = [(run, identity) for run, identity in of_runs if identity]
    for run, identity in known[1:]:
        if identity != known[0][1]:
            raise _contradiction(f"the evaluator of {evaluation}", known[0][0], run, "")
    return known[0][1]


def _verdicts(
    runs: Sequence[StoredRun], evaluation: str, images: Mapping[str, ImageRecord]
) -> dict[tuple[str, str], StoredVerdict]:
    """(Image, question) -> the verdict on the present content of the image."""
    found: dict[tuple[str, str], StoredVerdict] = {}
    owners: dict[tuple[str, str], StoredRun] = {}
    for run in runs:
        for stored in run.folder.verdicts(evaluation):
            verdict = stored.verdict
            about = (verdict.image_id, verdict.question_id)
            record = images.get(verdict.image_id)
            if record is not None and record.sha256 != stored.image_sha256:
                continue
            known = found.get(about)
            if known is None:
                found[about], owners[about] = stored, run
                continue
            values = known.verdict.value, verdict.value
            if None not in values and values[0] != values[1]:
                what = f"the verdict of {evaluation} on image {verdict.image_id}"
                raise _contradiction(what, owners[about], run, f" ({values[0]} and {values[1]})")
            if _rank(stored) < _rank(known):
                found[about], owners[about] = stored, run
    return found


def _rank(stored: StoredVerdict) -> tuple[int, str]:
    """Which of two verdicts counts, whatever the order in which they are read."""
    verdict = stored.verdict
    return _ANSWER_ORDER.index(verdict.status), json.dumps(stored.to_json(), sort_keys=True)


def _contradiction(what: str, one: StoredRun, other: StoredRun, values: str) -> AlphaBenchError:
    return AlphaBenchError(
        f"{what} differs between {str(one.root)!r} and {str(other.root)!r}{values}",
        hint="leave one of the two out, or name another folder with --out",
    )
