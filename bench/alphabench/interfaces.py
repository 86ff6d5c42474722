"""What a benchmark, a generator (checkpoint) and an evaluator must implement.

Protocols only, each as small as possible; optional abilities are protocols of their own that are
checked with `isinstance`. Knows no implementation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from alphabench.questions import Judge
from alphabench.types import (
    Card,
    GeneratedImage,
    ImageRequest,
    NotGenerated,
    Report,
    Sample,
    Verdict,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from alphabench.weights.memory import WeightSize


class Benchmark(Protocol):
    """The prompts to generate, the questions about the images, and how to score the answers."""

    @property
    def card(self) -> Card: ...

    def samples(self) -> Sequence[Sample]:
        """All samples, in the benchmark's own order."""
        ...

    def questions(self, sample: Sample) -> Sequence[str]:
        """The ids of the questions about each image of `sample`, in order."""
        ...

    def evaluator(
        self, spec: str | None = None, *, judge: Judge | None = None, device: str = "cpu"
    ) -> Evaluator:
        """An evaluator by name with options, `name?key=value&...`; None takes the default.

        Cheap: models load at the first `evaluate`, and the evaluator can be pickled before that.

        Raises:
            AlphaBenchError: unknown name or option, weights that are not available, or no judge
                where one is needed.
        """
        ...

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """The report over `samples`.

        Args:
            samples: the samples of the run; if some are left out, the report is partial.
            verdicts: one for each question about each of their images, of any status.
            evaluator: the name of the evaluator, for the report.
            all_samples: what `samples()` returned, which is not called again.
        """
        ...


@runtime_checkable
class PortableBenchmark(Protocol):
    """A benchmark that is data alone, so that a run folder keeps a copy and needs nothing else."""

    @property
    def portable(self) -> str:
        """The whole benchmark as JSON text."""
        ...


class Generator(Protocol):
    """A checkpoint that can generate images.

    Creating one is cheap (names, options and digests are checked); weights load at the first
    `generate`, and the generator can be pickled before that.
    """

    @property
    def identity(self) -> Mapping[str, str]:
        """All that decides the pixels besides prompt, seed and size; part of the fingerprint."""
        ...

    @property
    def batch_size(self) -> int:
        """Preferred number of requests in one call; does not affect any image."""
        ...

    def generate(self, requests: Sequence[ImageRequest]) -> Sequence[Image | NotGenerated]:
        """One RGB image, or the reason why there is none, for each request in order.

        An image depends only on its own request, not on the batch or the order. An exception
        means that the whole call failed; the caller then retries with smaller batches.
        """
        ...


@runtime_checkable
class Selective(Protocol):
    """A generator that can list unsupported requests before generating.

    For example a folder with missing images, or a small synthetic world. Also an evaluator that
    can list the requests whose images it cannot score, whatever they show.
    """

    def refusals(self, requests: Sequence[ImageRequest]) -> Mapping[str, str]:
        """Image id -> reason, for each request that would be refused.

        Raises:
            AlphaBenchError: so much is missing that the run is pointless until the user acts.
        """
        ...


@runtime_checkable
class SuggestsEvaluator(Protocol):
    """A generator whose images need another evaluator than the benchmark's default."""

    @property
    def suggested_evaluator(self) -> str: ...


@runtime_checkable
class AdaptsToBenchmark(Protocol):
    """A generator whose published settings differ from benchmark to benchmark."""

    def for_benchmark(self, benchmark: str) -> Generator:
        """The same checkpoint with the settings published for `benchmark` (a card's name)."""
        ...


@runtime_checkable
class Licensed(Protocol):
    """A generator or evaluator that states the licences of its models."""

    @property
    def licences(self) -> Mapping[str, str]:
        """Model -> licence: an SPDX identifier, a phrase, or `unknown`."""
        ...


@runtime_checkable
class ShowsSettings(Protocol):
    """A generator that can say how it will sample before its weights load."""

    @property
    def settings(self) -> Mapping[str, str]:
        """Setting -> its value, as text."""
        ...

    @property
    def default_settings(self) -> Mapping[str, str]:
        """The same without the user's options."""
        ...


@runtime_checkable
class MeasuresWeights(Protocol):
    """A generator that knows the size of its weights before they load."""

    def weight_size(self) -> WeightSize | None:
        """None where the files are not on this machine."""
        ...


@runtime_checkable
class CountsMemory(Protocol):
    """A generator that can count the memory of a generation before its weights load."""

    def peak_bytes(self) -> int | None:
        """Bytes of one batch at its peak, weights included; seconds of work.

        None where the files are not on this machine.
        """
        ...


@runtime_checkable
class HasAddress(Protocol):
    """A generator behind a network address."""

    @property
    def address(self) -> str:
        """For the user: `https://host/v1#model`."""
        ...


@runtime_checkable
class CanBeRetired(Protocol):
    """A generator or judge behind an address, whose model the host may switch off."""

    def check_retirement(self, *, asks_host: bool = True) -> None:
        """Warn in the last days of the model, before anything is generated or asked.

        Args:
            asks_host: also look at the host's own list of models.

        Raises:
            AlphaBenchError: the host has switched it off.
        """
        ...


class Evaluator(Protocol):
    """Scores images."""

    @property
    def identity(self) -> Mapping[str, str]:
        """Models, revisions, thresholds, library versions: everything that decides a verdict."""
        ...

    @property
    def batch_size(self) -> int:
        """Preferred number of images in one call; does not affect any verdict."""
        ...

    def self_test(self) -> None:
        """Scores bundled images with known answers.

        Raises:
            AlphaBenchError: an answer is wrong, so this installation must not score.
        """
        ...

    def evaluate(self, images: Sequence[GeneratedImage]) -> Iterator[Verdict]:
        """One verdict for each question about each image, in order.

        A question that cannot be answered gets a status other than `scored`, never a number.
        """
        ...


@runtime_checkable
class ScoresStreams(Protocol):
    """An evaluator that can begin to score images before the last of them exists."""

    def evaluate_stream(self, images: Iterable[GeneratedImage]) -> Iterator[Verdict]:
        """See `Evaluator.evaluate`; images are read as verdicts are consumed, or earlier."""
        ...
