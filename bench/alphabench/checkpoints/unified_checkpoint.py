"""A unified multimodal model as a checkpoint: the one generator for BAGEL, Janus and their like.

Turns requests into drawing tasks and back. What the model thought before a picture goes along with
the picture. Knows the protocol of `models.unified` and no architecture.
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
        """Empty where the benchmark's own is right."""
        return self.handle.suggested_evaluator or ""

    def for_benchmark(self, benchmark: str) -> UnifiedCheckpoint:
        """The same, sampled as was published for `benchmark`."""
        return replace(self, handle=self.handle.for_benchmark(benchmark))

    def model(self) -> UnifiedModel:
        """The loaded model, for what a generator does not do: answering, for one.

        Raises:
            AlphaBenchError: it cannot be loaded.
        """
        if self._model is None:
            self._model = self.handle.load(self.device)
        return self._model

    def refusals(self, requests: Sequence[ImageRequest]) -> Mapping[str, str]:
        """None is declined alone; edits are refused at once by a model that cannot edit.

        Raises:
            AlphaBenchError: a request asks to edit a picture.
        """
        if not self.handle.abilities.edits:
            refuse_edits(requests, self.handle.name)
        return {}

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        if not self.handle.abilities.edits:
            refuse_edits(requests, self.handle.name)
        tasks = [_task(request) for request in requests]
        made = self.model().generate(tasks, think=self.handle.think)
        return [_noted(one) if isinstance(one, GenerationResult) else one for one in made]


def _task(request: ImageRequest) -> GenerationTask:
    edited = request.sample.source_image is not None
    return GenerationTask(
        prompt=request.sample.prompt,
        seed=request.seed,
        source=open_source(request) if edited else None,
        width=request.width,
        height=request.height,
    )


def _noted(drawn: GenerationResult) -> Image:
    """The picture, which carries its thought to where it is stored."""
    if drawn.thought is not None:
        drawn.image.info[NOTES] = {"thought": drawn.thought, "thought_cut": drawn.thought_cut}
    return drawn.image
