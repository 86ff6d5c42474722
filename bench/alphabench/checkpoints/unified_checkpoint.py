"""A unified multimodal model as a checkpoint: the one generator for BAGEL, Janus and their like.

Converts requests to generation tasks, and results to images with the model's thought attached.
Knows the protocol of `models.unified_model` and no architecture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from alphabench.checkpoints import refuse_edits
from alphabench.checkpoints.editing import open_source
from alphabench.models.unified_model import (
    GenerationResult,
    GenerationTask,
    UnifiedHandle,
    UnifiedModel,
)
from alphabench.types import NOTES, ImageRequest, NotGenerated

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(slots=True, kw_only=True, eq=False)
class UnifiedCheckpoint:
    """A model that loads at its first `generate`, and can be pickled until then."""

    handle: UnifiedHandle
    device: str
    _model: UnifiedModel | None = field(default=None, repr=False)

    @property
    def identity(self) -> Mapping[str, str]:
        return self.handle.identity

    @property
    def batch_size(self) -> int:
        return self.handle.batch_size

    @property
    def licences(self) -> Mapping[str, str]:
        return self.handle.licences

    @property
    def suggested_evaluator(self) -> str:
        """Empty for the benchmark's default."""
        return self.handle.suggested_evaluator or ""

    def for_benchmark(self, benchmark: str) -> UnifiedCheckpoint:
        """The same, with the settings published for `benchmark`; itself where it has them."""
        handle = self.handle.for_benchmark(benchmark)
        return self if handle is self.handle else replace(self, handle=handle)

    def model(self) -> UnifiedModel:
        """The loaded model, for uses beyond generation, such as answering.

        Raises:
            AlphaBenchError: it cannot be loaded.
        """
        if self._model is None:
            self._model = self.handle.load(self.device)
        return self._model

    def refusals(self, requests: Sequence[ImageRequest]) -> Mapping[str, str]:
        """None individually: a model that cannot edit refuses edits for the complete run.

        Raises:
            AlphaBenchError: a request edits an image.
        """
        if not self.handle.abilities.edits:
            refuse_edits(requests, self.handle.name)
        return {}

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        if not self.handle.abilities.edits:
            refuse_edits(requests, self.handle.name)
        tasks = [_task(request) for request in requests]
        results = self.model().generate(tasks, think=self.handle.think)
        return [_with_notes(one) if isinstance(one, GenerationResult) else one for one in results]


def _task(request: ImageRequest) -> GenerationTask:
    edited = request.sample.source_image is not None
    return GenerationTask(
        prompt=request.sample.prompt,
        seed=request.seed,
        source=open_source(request) if edited else None,
        width=request.width,
        height=request.height,
    )


def _with_notes(result: GenerationResult) -> Image:
    """The image with its thought attached, which the run stores."""
    if result.thought is not None:
        result.image.info[NOTES] = {"thought": result.thought, "thought_cut": result.thought_cut}
    return result.image
