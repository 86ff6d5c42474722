"""What a worker does with a batch: generate and store images, or score them.

Both are opened once on a device and picklable until then. Writes image files; which of them count
is for the driver to record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from alphabench.core.errors import AlphaBenchError
from alphabench.images import UnreadableImageError, image_of
from alphabench.interfaces import Evaluator, Generator, HasAddress
from alphabench.questions import JudgeUsage, remote_judge_of
from alphabench.runs.device_use import make_current
from alphabench.runs.judge_usage import this_process
from alphabench.runs.self_test import require_self_test
from alphabench.runs.staged_work import FinishedEarly
from alphabench.runs.store import save_image
from alphabench.types import NOTES, GeneratedImage, ImageRequest, NotGenerated, Verdict

if TYPE_CHECKING:
    from PIL.Image import Image


class _Generated(NamedTuple):
    images: Sequence[Image | NotGenerated]
    seconds: float
    """Of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageGeneration:
    """A `StagedHandler`: generates images, and then encodes and stores them."""

    generator: Generator
    root: Path
    """Of the run folder."""
    run: str
    """The run's fingerprint."""
    record: Callable[[GeneratedImage], None] | None = None
    """Called with each image that is stored, in the thread that stores it."""

    def __call__(self, requests: Sequence[ImageRequest]) -> list[GeneratedImage | NotGenerated]:
        begun = self.begin(requests)
        if isinstance(begun, FinishedEarly):
            return list(begun.results)
        return self.finish(requests, begun)

    def begin(self, requests: Sequence[ImageRequest]) -> _Generated | FinishedEarly:
        """Generate."""
        began = time.perf_counter()
        images = list(self.generator.generate(requests))
        if len(images) != len(requests):
            raise ValueError(f"generate gave {len(images)} images for {len(requests)} requests")
        if all(isinstance(image, NotGenerated) for image in images):
            return FinishedEarly(images)
        return _Generated(images, (time.perf_counter() - began) / len(requests))

    def finish(
        self, requests: Sequence[ImageRequest], generated: _Generated
    ) -> list[GeneratedImage | NotGenerated]:
        """Encode and store."""
        return [
            self._stored(request, image, generated.seconds)
            for request, image in zip(requests, generated.images, strict=True)
        ]

    def _stored(
        self, request: ImageRequest, image: Image | NotGenerated, seconds: float
    ) -> GeneratedImage | NotGenerated:
        if isinstance(image, NotGenerated):
            return image
        try:
            image = image_of(image)  # the user's own code may return an array
            path, sha256 = save_image(self.root, request, image, run=self.run)
        except UnreadableImageError as error:
            return NotGenerated(status="failed", reason=f"the image is unusable: {error}")
        made = GeneratedImage(
            request=request,
            path=path,
            sha256=sha256,
            seconds=seconds,
            notes=image.info.get(NOTES, {}),
        )
        if self.record is not None:
            self.record(made)
        return made


def open_generation(
    open_generator: Callable[..., Generator],
    root: Path,
    run: str,
    device: str,
    *,
    record: Callable[[GeneratedImage], None] | None = None,
) -> ImageGeneration:
    """The handler that generates and stores images.

    Args:
        open_generator: called with `device=`.
        root: of the run folder.
        run: its fingerprint.
        device: of the worker.
        record: see `ImageGeneration`; only for a handler of this process.
    """
    generator = open_generator(device=device)
    if not isinstance(generator, HasAddress):
        make_current(device)
    return ImageGeneration(generator=generator, root=root, run=run, record=record)


class ScoredImage(NamedTuple):
    """The verdicts on one image, with what the judge of that process was asked until then."""

    verdicts: list[Verdict]
    usage: JudgeUsage | None
    process: str


def open_scoring(
    open_evaluator: Callable[..., Evaluator], device: str
) -> Callable[[Sequence[GeneratedImage]], list[Any]]:
    """The handler that scores images: a `ScoredImage` for each, or the error that stopped it.

    Args:
        open_evaluator: called with `device=`; must pass its self-test.
        device: of the worker.
    """
    evaluator = open_evaluator(device=device)
    judge = remote_judge_of(evaluator)
    if judge is None:
        make_current(device)
    require_self_test(evaluator)

    def evaluate(images: Sequence[GeneratedImage]) -> list[Any]:
        by_image: dict[str, list[Verdict]] = {image.id: [] for image in images}

        def scored(image: GeneratedImage) -> ScoredImage:
            usage = None if judge is None else judge.usage
            return ScoredImage(by_image[image.id], usage, this_process())

        try:
            for verdict in evaluator.evaluate(images):
                by_image[verdict.image_id].append(verdict)
        except AlphaBenchError as error:
            # FinishedEarly images keep their verdicts: the judge's answers may have cost money.
            return [scored(image) if by_image[image.id] else error for image in images]
        return [scored(image) for image in images]

    return evaluate
