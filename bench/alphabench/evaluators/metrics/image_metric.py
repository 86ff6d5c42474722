"""Scores images by a metric: one number for an image and its prompt. Knows no model.

Higher is better for every metric. The numbers of two metrics have different scales, and those of
one metric are not calibrated across prompts: they compare images of the same prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Final, Literal, Protocol

from alphabench.core.errors import AlphaBenchError
from alphabench.images import UnreadableImageError, open_rgb
from alphabench.types import OUT_OF, GeneratedImage, Verdict

if TYPE_CHECKING:
    from PIL.Image import Image

SCORE: Final = "score"
"""The one question about each image."""
_SUBJECTS: Final = ("cat", "cup", "person")
"""The bundled photographs that the self-test scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricOptions:
    """Options of every metric."""

    dtype: Literal["float64", "float32", "float16", "bfloat16"] = "float32"
    """Precision of the network; the value itself is always computed in float32."""
    batch_size: int = 16
    """Images in one call; changes a value by rounding alone."""
    self_test: bool = True
    """Compare bundled photographs with their own and other descriptions before scoring."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}, and at least 1 is needed")


class ImageMetric(Protocol):
    """A model with a formula. Cheap to create; picklable until the first `measure`."""

    @property
    def identity(self) -> Mapping[str, str]:
        """Weights with their revision, library, precision and formula; loads nothing."""
        ...

    @property
    def licences(self) -> Mapping[str, str]:
        """See `alphabench.interfaces.Licensed`."""
        ...

    @property
    def reads_prompt(self) -> bool:
        """Whether the prompt has any effect."""
        ...

    def measure(self, images: Sequence[Image], prompts: Sequence[str]) -> list[float]:
        """The value of each RGB image with the prompt at the same position."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricEvaluator:
    """One `score` verdict for each image; can be pickled if its metric can."""

    metric: ImageMetric
    options: MetricOptions
    highest: float
    """The upper end of the metric's scale, which the gallery shows beside a value."""

    @property
    def identity(self) -> Mapping[str, str]:
        return {**self.metric.identity, "self_test": "on" if self.options.self_test else "off"}

    @property
    def licences(self) -> Mapping[str, str]:
        return self.metric.licences

    @property
    def batch_size(self) -> int:
        return self.options.batch_size

    def self_test(self) -> None:
        """See `run_metric_self_test`; does nothing under `self_test=off`."""
        if self.options.self_test:
            run_metric_self_test(self.metric)

    def evaluate(self, images: Sequence[GeneratedImage]) -> Iterator[Verdict]:
        """One verdict for each image, in order.

        An image that cannot be opened, or on which the model fails even when it is alone, is
        `failed`; so is one whose value is not finite.

        Raises:
            AlphaBenchError: the model reports what the user must fix.
        """
        for start in range(0, len(images), self.batch_size):
            yield from self._batch(images[start : start + self.batch_size])

    def _batch(self, images: Sequence[GeneratedImage]) -> list[Verdict]:
        decoded: list[tuple[GeneratedImage, Image]] = []
        verdicts: dict[str, Verdict] = {}
        for image in images:
            try:
                decoded.append((image, open_rgb(image.path)))
            except UnreadableImageError as error:
                verdicts[image.id] = _unmeasured(image, str(error))
        for verdict in self._measured(decoded):
            verdicts[verdict.image_id] = verdict
        return [verdicts[image.id] for image in images]

    def _measured(self, decoded: Sequence[tuple[GeneratedImage, Image]]) -> list[Verdict]:
        """Measures together; after an error each alone, so that one image fails no other."""
        if not decoded:
            return []
        prompts = [image.request.sample.prompt for image, _ in decoded]
        try:
            values = self.metric.measure([pixels for _, pixels in decoded], prompts)
        except AlphaBenchError:
            raise
        except Exception as error:  # noqa: BLE001  (the boundary to the model)
            if len(decoded) == 1:
                return [_unmeasured(decoded[0][0], f"{type(error).__name__}: {error}")]
            return [verdict for one in decoded for verdict in self._measured([one])]
        return [
            self._verdict(image, value) for (image, _), value in zip(decoded, values, strict=True)
        ]

    def _verdict(self, image: GeneratedImage, value: float) -> Verdict:
        if not math.isfinite(value):
            return _unmeasured(image, f"the model computes {value}, which is no number")
        return Verdict(
            image_id=image.id,
            question_id=SCORE,
            value=value,
            status="scored",
            detail={OUT_OF: self.highest},
        )


def run_metric_self_test(metric: ImageMetric) -> None:
    """Scores three bundled photographs, each with the descriptions of all three.

    Raises:
        AlphaBenchError: a value is not finite, or a metric that reads the prompt gives a photograph
            less with its own description than with another.
    """
    folder = resources.files("alphabench.evaluators.detection") / "self_test_images"
    photographs = [open_rgb((folder / f"{one}.jpg").read_bytes()) for one in _SUBJECTS]
    texts = [f"a photo of a {one}" for one in _SUBJECTS]
    for name, own, photograph in zip(_SUBJECTS, texts, photographs, strict=True):
        values = dict(zip(texts, metric.measure([photograph] * len(texts), texts), strict=True))
        wrong = not all(map(math.isfinite, values.values()))
        if wrong or (metric.reads_prompt and max(values, key=values.__getitem__) != own):
            shown = ", ".join(f"{text!r}: {value:.4f}" for text, value in values.items())
            raise AlphaBenchError(
                f"the self-test failed: the photograph of a {name} gets {shown}",
                hint="these weights or this build of torch must not score; self_test=off skips "
                "the test, and reports say so",
            )


def _unmeasured(image: GeneratedImage, reason: str) -> Verdict:
    return Verdict(
        image_id=image.id,
        question_id=SCORE,
        value=None,
        status="failed",
        detail={"reason": reason},
    )
