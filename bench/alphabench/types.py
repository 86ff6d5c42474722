"""The vocabulary: what a benchmark asks, what a checkpoint makes, what an evaluator says.

Frozen data and three protocols, one method deep. Knows no file, no model and no command line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, get_args, runtime_checkable

from alphabench.core.errors import AlphaBenchError

if TYPE_CHECKING:
    from PIL.Image import Image

    from alphabench.questions import Judge

Status = Literal["scored", "missing", "refused", "unparsed", "failed"]
"""What became of one question about one image; only `scored` carries a value.

missing: there is no image. refused: a model or filter declined. unparsed: the answer could not be
read. failed: an error, kept in the detail.
"""
STATUSES: Final[tuple[Status, ...]] = get_args(Status)

NOTES: Final = "alphabench.notes"
"""Key of a generated picture's `info` under which a generator leaves what is worth keeping about it
(JSON values by name, such as what a model thought first); stored beside the picture."""

REVISED_PROMPT: Final = "revised_prompt"
"""Among the notes: the prompt as a host rewrote it before it generated."""

FULL_MARKS: Final = 1.0
"""The value of a verdict with full marks, unless its detail has `OUT_OF`."""
OUT_OF: Final = "out_of"
"""In a verdict's detail: its full marks, where they are not 1."""

ProtocolName = Literal["official", "strict"]
"""official: bug-compatible with upstream's code at the pinned commit.

strict: the same questions, repaired.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One item of a benchmark: a prompt, and what its answers are checked against."""

    id: str
    """Unique within the benchmark, and safe as a folder name."""
    prompt: str
    group: str
    """The category under which the benchmark reports this sample."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The benchmark's own knowledge of the sample (JSON values); only the benchmark reads it."""
    source_image: Path | None = None
    """The picture to edit, for editing benchmarks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One image to be made."""

    sample: Sample
    index: int
    """Which of the sample's images, from 0."""
    seed: int
    """Decides the image together with the checkpoint; 0 <= seed < 2**31."""
    width: int | None = None
    """Pixels; None leaves the size to the checkpoint."""
    height: int | None = None

    @property
    def id(self) -> str:
        return image_id(self.sample.id, self.index)


def image_id(sample_id: str, index: int) -> str:
    """The name of one image: `0007/2` is the third image of sample `0007`."""
    return f"{sample_id}/{index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedImage:
    """One image that was made and stored."""

    request: ImageRequest
    path: Path
    sha256: str
    """Of the stored file's bytes, in hexadecimal."""
    seconds: float
    """Wall time of its batch, divided by the batch's length."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What the generator left under `NOTES`."""

    @property
    def id(self) -> str:
        return self.request.id


@dataclass(frozen=True, slots=True, kw_only=True)
class NotMade:
    """What a checkpoint returns in the place of an image that it would not or could not make."""

    status: Literal["refused", "failed"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer to one question about one image; a failure cannot carry a number.

    Raises:
        ValueError: a value without status `scored`, or `scored` without a finite value.
    """

    image_id: str
    question_id: str
    value: float | None
    status: Status
    detail: Mapping[str, Any] = field(default_factory=dict)
    """JSON values: the evidence, or why there is no value."""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"{self.status!r} is no status; one of {STATUSES}")
        if (self.value is None) == (self.status == "scored"):
            raise ValueError(f"a {self.status!r} verdict cannot carry value={self.value!r}")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError("a value is finite; being unscored is a status, not a NaN")

    def number(self, key: str, default: float | None = None) -> float:
        """A number of the detail.

        Raises:
            AlphaBenchError: it is none, or lacking without a default; a folder may hold verdicts
                of another version, or of somebody else.
        """
        value = self.detail.get(key, default)
        if isinstance(value, int | float) and math.isfinite(value):
            return value
        raise AlphaBenchError(
            f"the verdict {self.question_id!r} on image {self.image_id!r} holds no number {key!r}",
            hint="use the version of alphabench that made it, or score the run again",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its 95% interval and what it rests on; None where nothing was scored."""

    value: float | None
    low: float | None
    high: float | None
    n_samples: int
    """Samples that contributed: the clusters of the bootstrap."""
    n_scored: int
    """Verdicts with a value."""
    n_expected: int
    """Verdicts there would be had nothing been missing or failed."""

    def __post_init__(self) -> None:
        if (self.value is None) != (self.low is None) or (self.low is None) != (self.high is None):
            raise ValueError("an estimate has a value and an interval, or neither")
        if self.n_scored > self.n_expected:
            raise ValueError(f"{self.n_scored} scored of {self.n_expected} expected")

    def withheld(self) -> Estimate:
        """The same account without a value."""
        return replace(self, value=None, low=None, high=None)

    def restated(self, value: float) -> Estimate:
        """The same estimate, its value added up in another order (upstream's, to the last bit)."""
        low, high = (value if end is None else end for end in (self.low, self.high))
        return replace(self, value=value, low=min(low, value), high=max(high, value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one evaluator found in one run."""

    benchmark: str
    split: str
    protocol: ProtocolName
    evaluator: str
    headline: Estimate
    groups: Mapping[str, Estimate]
    coverage: float
    """Scored over expected verdicts, 0 to 1."""
    partial: bool
    """Not a score of the whole benchmark: samples, images or verdicts of it are lacking. Always
    so where coverage is below 1."""
    bounds: tuple[float, float] | None
    """The headline had every unscored verdict been the worst, and the best, possible value."""
    statuses: Mapping[Status, int]
    """Expected verdicts by what became of them."""
    extras: Mapping[str, Estimate] = field(default_factory=dict)
    """Further figures that upstream prints beside the headline."""
    withheld: str = ""
    """Why there is no headline although something was scored; else empty."""
    notes: tuple[str, ...] = ()
    """What else a reader must know before quoting the figures, a clause each."""

    def __post_init__(self) -> None:
        if self.coverage < 1:
            object.__setattr__(self, "partial", True)

    @property
    def incomplete(self) -> bool:
        """Some expected verdict has no value, for whatever reason."""
        unscored = (n for status, n in self.statuses.items() if status != "scored")
        return self.coverage < 1 or any(unscored)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a benchmark is, and what makes two of its results comparable."""

    name: str
    version: str
    split: str
    protocol: ProtocolName
    title: str
    licence: str
    """Of the data, as an SPDX identifier or in words."""
    source: str
    """Where the data comes from: repository and commit, or `alphabench` for authored splits."""
    citation: str
    data_digest: str
    """sha256 over the data that decides prompts and answers."""
    images_per_sample: int
    evaluators: tuple[str, ...]
    """Names that `evaluator` accepts; the first is the default."""
    prompt_style: str = "original"
    """Whose words the prompts are; a rewritten prompt is another measurement."""

    @property
    def id(self) -> str:
        return (
            f"{self.name}@{self.version}:{self.split}"
            if self.split
            else f"{self.name}@{self.version}"
        )


class Benchmark(Protocol):
    """What to ask, and what the answers mean."""

    @property
    def card(self) -> Card: ...

    def samples(self) -> Sequence[Sample]:
        """All samples, in the benchmark's own order."""
        ...

    def questions(self, sample: Sample) -> Sequence[str]:
        """The ids of the questions that are put about each image of `sample`, in order."""
        ...

    def evaluator(
        self, spec: str | None = None, *, judge: Judge | None = None, device: str = "cpu"
    ) -> Evaluator:
        """An evaluator by name with options, `name?key=value&...`; None takes the default.

        Cheap: models load at the first `evaluate`. The result can be pickled until then.

        Raises:
            AlphaBenchError: unknown name or option, weights that cannot be had, or no judge where
                one is needed.
        """
        ...

    def summarise(
        self, samples: Sequence[Sample], verdicts: Sequence[Verdict], *, evaluator: str
    ) -> Report:
        """The report over `samples`.

        Args:
            samples: those that the run was asked for; fewer than all make the report partial.
            verdicts: one for each question about each of their images, whatever its status.
            evaluator: its name, for the report.
        """
        ...


class Generator(Protocol):
    """An opened checkpoint: what can make an image.

    Opening is cheap (names, options and digests are checked); weights load at the first
    `generate`. An instance can be pickled until then.
    """

    @property
    def identity(self) -> Mapping[str, str]:
        """All that decides the pixels beside prompt, seed and size; enters the fingerprint."""
        ...

    @property
    def batch_size(self) -> int:
        """How many requests it likes in one call; changes no image."""
        ...

    def generate(self, requests: Sequence[ImageRequest]) -> Sequence[Image | NotMade]:
        """One RGB image, or why there is none, for each request in order.

        An image depends on its own request alone: batch and order change nothing. An exception
        means the whole call failed; the caller then tries smaller calls.
        """
        ...


@runtime_checkable
class Selective(Protocol):
    """A generator that knows beforehand what it cannot make (a folder with gaps, a small world).

    Or an evaluator that knows what it cannot score, whatever the image shows.
    """

    def unable(self, requests: Sequence[ImageRequest]) -> Mapping[str, str]:
        """Image id -> why, for each request it would refuse.

        Raises:
            AlphaBenchError: what is lacking makes the run pointless until the user acts.
        """
        ...


@runtime_checkable
class SuggestsEvaluator(Protocol):
    """A generator whose images another evaluator than the benchmark's default should examine."""

    @property
    def suggested_evaluator(self) -> str: ...


@runtime_checkable
class Suitable(Protocol):
    """A generator whose published settings differ from benchmark to benchmark."""

    def suited_to(self, benchmark: str) -> Generator:
        """The same checkpoint as it is meant to be sampled for `benchmark` (a card's name)."""
        ...


@runtime_checkable
class Licensed(Protocol):
    """A generator or evaluator that knows under which licences its models are."""

    @property
    def licences(self) -> Mapping[str, str]:
        """Model -> licence, as an SPDX identifier or in words; `unknown` where it is."""
        ...


class Evaluator(Protocol):
    """What can examine an image."""

    @property
    def identity(self) -> Mapping[str, str]:
        """Models, revisions, thresholds, library versions: all that decides a verdict."""
        ...

    @property
    def batch_size(self) -> int:
        """How many images it likes in one call; changes no verdict."""
        ...

    def self_test(self) -> None:
        """Examine bundled images with known answers.

        Raises:
            AlphaBenchError: an answer is wrong; this build must not score.
        """
        ...

    def evaluate(self, images: Sequence[GeneratedImage]) -> Iterator[Verdict]:
        """One verdict for each question about each image, in order.

        A question that cannot be answered gets its status, never a number.
        """
        ...
