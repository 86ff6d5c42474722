"""The data that benchmarks, checkpoints and evaluators exchange: samples, images, verdicts.

Frozen dataclasses only; `interfaces` says what the three parts must implement. Knows no file
format, no model and no command line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import FileState

Status = Literal["scored", "missing", "refused", "unparsed", "failed"]
"""Outcome of one question about one image; only `scored` carries a value.

missing: there is no image. refused: a model or filter declined. unparsed: the answer could not be
parsed. failed: an error, recorded in the detail.
"""
STATUSES: Final[tuple[Status, ...]] = get_args(Status)

NOTES: Final = "alphabench.notes"
"""Key of a generated Pillow image's `info` under which a generator records facts about the image
(names and JSON values, such as the model's chain of thought); saved with the image."""

REVISED_PROMPT: Final = "revised_prompt"
"""Name of a note: the prompt as the host rewrote it before generating."""

FULL_MARKS: Final = 1.0
"""The value of a verdict with full marks, unless its detail has `OUT_OF`."""
OUT_OF: Final = "out_of"
"""In a verdict's detail: its full marks, where they are not 1."""

ProtocolName = Literal["official", "strict"]
"""official: bug-compatible with upstream's code at the pinned commit.

strict: the same questions with upstream's bugs fixed.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One item of a benchmark: a prompt and the facts that its answers are checked against."""

    id: str
    """Unique within the benchmark, and safe as a folder name."""
    prompt: str
    group: str
    """The category under which the benchmark reports this sample."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the benchmark knows about the sample (JSON values); only the benchmark reads it."""
    source_image: Path | None = None
    """The image to edit, in editing benchmarks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One image to generate."""

    sample: Sample
    index: int
    """Index of the image among those of the sample, from 0."""
    seed: int
    """Seed of the image, 0 <= seed < 2**31."""
    width: int | None = None
    """In pixels; None leaves the size to the checkpoint."""
    height: int | None = None

    @property
    def id(self) -> str:
        return image_id(self.sample.id, self.index)


def image_id(sample_id: str, index: int) -> str:
    """The name of one image: `0007/2` is the third image of sample `0007`."""
    return f"{sample_id}/{index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedImage:
    """One image that was generated and saved."""

    request: ImageRequest
    path: Path
    sha256: str
    """SHA-256 of the saved file's bytes, in hexadecimal."""
    seconds: float
    """Wall time of its batch, divided by the batch size."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What the generator recorded under `NOTES`."""

    verified_state: FileState | None = None
    """The state of the file when its content was last known to have this sha256: while the file is
    in that state, its content need not be hashed again."""

    @property
    def id(self) -> str:
        return self.request.id


@dataclass(frozen=True, slots=True, kw_only=True)
class NotGenerated:
    """What a checkpoint returns instead of an image that it refused or failed to generate."""

    status: Literal["refused", "failed"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The scored answer to one question about one image, or why there is no score.

    Raises:
        ValueError: a value without status `scored`, or `scored` without a finite value.
    """

    image_id: str
    question_id: str
    value: float | None
    status: Status
    detail: Mapping[str, Any] = field(default_factory=dict)
    """JSON values: the evidence, or the reason why there is no value."""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"{self.status!r} is not a status; expected one of {STATUSES}")
        if (self.value is None) == (self.status == "scored"):
            raise ValueError(f"a {self.status!r} verdict cannot carry value={self.value!r}")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(
                "a value must be finite; an unscored verdict has another status, not NaN"
            )

    def number(self, key: str, default: float | None = None) -> float:
        """The number stored in the detail under `key`.

        Raises:
            AlphaBenchError: the entry is not a finite number, or it is missing and there is no
                default; a run folder may hold verdicts of another version or of another program.
        """
        value = self.detail.get(key, default)
        if isinstance(value, int | float) and math.isfinite(value):
            return value
        raise AlphaBenchError(
            f"the verdict {self.question_id!r} on image {self.image_id!r} holds no number {key!r}",
            hint="use the version of alphabench that wrote it, or score the run again",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A metric with its 95% interval and the counts behind it; None where nothing was scored."""

    value: float | None
    low: float | None
    high: float | None
    n_samples: int
    """Number of samples that contributed: the clusters of the bootstrap."""
    n_scored: int
    """Number of verdicts with a value."""
    n_expected: int
    """Number of verdicts had nothing been missing or failed."""

    def __post_init__(self) -> None:
        if (self.value is None) != (self.low is None) or (self.low is None) != (self.high is None):
            raise ValueError("an estimate needs both a value and an interval, or neither")
        if self.n_scored > self.n_expected:
            raise ValueError(f"{self.n_scored} scored of {self.n_expected} expected")

    def withheld(self) -> Estimate:
        """The same counts without a value."""
        return replace(self, value=None, low=None, high=None)

    def restated(self, value: float) -> Estimate:
        """The same estimate, its value summed in another order (upstream's, to the last bit)."""
        low, high = (value if end is None else end for end in (self.low, self.high))
        return replace(self, value=value, low=min(low, value), high=max(high, value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The metrics of one evaluator for one run."""

    benchmark: str
    split: str
    protocol: ProtocolName
    evaluator: str
    headline: Estimate
    groups: Mapping[str, Estimate]
    coverage: float
    """Scored verdicts divided by expected verdicts, from 0 to 1."""
    partial: bool
    """Not a score of the full benchmark: samples, images or verdicts are missing. Always true where
    coverage is below 1."""
    bounds: tuple[float, float] | None
    """The headline if all unscored verdicts had the worst, and the best, possible value."""
    statuses: Mapping[Status, int]
    """Number of expected verdicts by status."""
    extras: Mapping[str, Estimate] = field(default_factory=dict)
    """Further metrics that upstream prints beside the headline."""
    withheld: str = ""
    """Why there is no headline although something was scored; otherwise empty."""
    notes: tuple[str, ...] = ()
    """What a reader must know before quoting the metrics, one clause each."""

    def __post_init__(self) -> None:
        if self.coverage < 1:
            object.__setattr__(self, "partial", True)

    @property
    def incomplete(self) -> bool:
        """Whether some expected verdict has no value, for whatever reason."""
        unscored = (n for status, n in self.statuses.items() if status != "scored")
        return self.coverage < 1 or any(unscored)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Describes a benchmark: its source, and all that makes two of its results comparable."""

    name: str
    version: str
    split: str
    protocol: ProtocolName
    title: str
    licence: str
    """Licence of the data: an SPDX identifier or a phrase."""
    source: str
    """Origin of the data: repository and commit, or `alphabench` for splits of our own."""
    citation: str
    data_digest: str
    """SHA-256 over the data that decides prompts and answers."""
    images_per_sample: int
    evaluators: tuple[str, ...]
    """Names that `Benchmark.evaluator` accepts; the first is the default."""
    prompt_style: str = "original"
    """Who wrote the prompts; results with rewritten prompts are not comparable."""

    @property
    def id(self) -> str:
        return (
            f"{self.name}@{self.version}:{self.split}"
            if self.split
            else f"{self.name}@{self.version}"
        )
