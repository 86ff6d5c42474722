"""What became of each image of a run, joined from its images, attempts and verdicts.

The pages for people are built on it. Knows no benchmark's rules: an image is right when every
question about it was answered with full marks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from alphabench.runs.store import ImageRecord, RunFolder
from alphabench.types import NotMade, Sample, Verdict, image_id

State = Literal["right", "partly", "wrong", "unscored"]
FULL_MARKS: Final = 1.0
OUT_OF: Final = "out_of"
"""In a verdict's detail: its full marks, where they are not 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedImage:
    """One image that the run was to make."""

    image_id: str
    record: ImageRecord | None
    """None where no image was made."""
    not_made: NotMade | None
    verdicts: Sequence[Verdict]

    @property
    def state(self) -> State:
        """`unscored` as soon as one question has no value, or none was asked.

        Else right with full marks for all, wrong without any, and `partly` between.
        """
        known = [
            (v.value, v.number(OUT_OF, FULL_MARKS)) for v in self.verdicts if v.value is not None
        ]
        if not known or len(known) < len(self.verdicts):
            return "unscored"
        if all(value >= full for value, full in known):
            return "right"
        return "partly" if any(value for value, _ in known) else "wrong"

    @property
    def reason(self) -> str:
        """Why it is wrong or unscored, in the words of whoever found so; may be empty."""
        if self.not_made is not None:
            return f"no image ({self.not_made.status}): {self.not_made.reason}"
        if not self.verdicts:
            return "not scored yet" if self.record else "not made yet"
        return "\n".join(filter(None, (_words(verdict) for verdict in self.verdicts)))


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedSample:
    """One sample and all its images, by index."""

    sample: Sample
    images: Sequence[JudgedImage]


def judged_samples(
    folder: RunFolder, samples: Sequence[Sample], *, evaluation: str | None
) -> list[JudgedSample]:
    """Every expected image of `samples`, whether it was made or not.

    Args:
        samples: those of the run, in the order wanted.
        evaluation: whose verdicts; None leaves all images unscored.
    """
    records, not_made = folder.images(), folder.not_made()
    verdicts: dict[str, list[Verdict]] = {}
    for verdict in current_verdicts(folder, evaluation) if evaluation else []:
        verdicts.setdefault(verdict.image_id, []).append(verdict)
    n_images = images_per_sample(folder)

    def judged(name: str) -> JudgedImage:
        return JudgedImage(
            image_id=name,
            record=records.get(name),
            not_made=not_made.get(name),
            verdicts=verdicts.get(name, ()),
        )

    return [
        JudgedSample(sample=s, images=[judged(image_id(s.id, i)) for i in range(n_images)])
        for s in samples
    ]


def images_per_sample(folder: RunFolder) -> int:
    """How many images the run was to make of each sample."""
    return int(folder.manifest.pixels["benchmark.images_per_sample"])


def current_verdicts(folder: RunFolder, evaluation: str) -> list[Verdict]:
    """The newest verdicts; those about an earlier content of an image are left out."""
    records = folder.images()
    return [
        stored.verdict
        for stored in folder.verdicts(evaluation)
        if stored.verdict.image_id not in records
        or records[stored.verdict.image_id].sha256 == stored.image_sha256
    ]


def why(detail: Mapping[str, Any]) -> str:
    """The reason that a verdict's detail gives; empty where it gives none."""
    reason = detail.get("reason", "")
    return reason if isinstance(reason, str) else str(reason)


def _words(verdict: Verdict) -> str:
    reason = why(verdict.detail)
    if verdict.status == "scored":
        return reason
    return f"{verdict.status}: {reason or 'no reason given'}"
