"""The protocols of detectors and colour readers. Knows no model and no benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from alphabench.detections.objects import DetectedObject, Thresholds

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image


class Detector(Protocol):
    """Finds objects. Cheap to make; weights load at the first `detect`; picklable until then."""

    @property
    def identity(self) -> Mapping[str, str]: ...

    @property
    def thresholds(self) -> Thresholds: ...

    def detect(self, images: Sequence[Image]) -> list[list[DetectedObject]]:
        """All objects of each RGB image, unfiltered; the batch changes no result."""
        ...

    def self_test(self, colours: ColourReader) -> None:
        """Evaluates bundled images with known answers, colours included.

        Raises:
            AlphaBenchError: an answer is wrong; this build must not score.
        """
        ...


@runtime_checkable
class LimitedVocabulary(Protocol):
    """A detector that knows fewer categories than the 80 of COCO."""

    @property
    def categories(self) -> frozenset[str]:
        """All categories that it can detect."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColourQuery:
    """Which colour has this object?"""

    image: Image
    found: DetectedObject


class ColourReader(Protocol):
    """Names colours. Cheap to make; weights load at the first `read`; picklable until then."""

    @property
    def identity(self) -> Mapping[str, str]: ...

    def read(self, queries: Sequence[ColourQuery]) -> list[str]:
        """One of `COLOURS` for each query, in order; the batch changes no result."""
        ...


class OpenDetector(Protocol):
    """What the registry names as a detector's evaluator. Loads nothing yet."""

    def __call__(
        self, options: Mapping[str, str], *, device: str, cache_dir: Path
    ) -> tuple[Detector, ColourReader]:
        """Open it.

        Args:
            options: as the user typed them.
            device: of torch: `cpu`, `cuda:1`.
            cache_dir: where `alphabench fetch` puts weights.

        Raises:
            AlphaBenchError: an unknown option or a value that does not fit.
        """
        ...
