"""A unified model as a user's package brings it: `python:tests.support.outside_unified:open_it`.

Generates flat grey images, answers every question by yes, and refines by lightening. It can be
trained, through the toy policy, and exported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.models.unified_model import (
    Abilities,
    Answer,
    AskTask,
    Drawn,
    DrawTask,
    RefineTask,
    UnifiedModel,
)

STEP = 40
"""Grey levels that one refinement adds."""


class GreyModel:
    """An image as dark as its seed says."""

    def draw(self, tasks: Sequence[DrawTask], *, think: bool = False) -> list[Drawn]:
        del think
        return [Drawn(picture=grey(task.seed % 100)) for task in tasks]

    def answer(self, tasks: Sequence[AskTask]) -> list[Answer]:
        return [Answer(text="yes") for _ in tasks]


class Lightener:
    """Refines by adding to the grey level."""

    def refine(self, tasks: Sequence[RefineTask]) -> list[Drawn]:
        return [
            Drawn(picture=grey(level(task.image) + STEP), thought=f"lighter: {task.prompt}")
            for task in tasks
        ]


@dataclass(frozen=True, kw_only=True)
class GreyCheckpoint:
    """An `OpenedModel` that is a `RefinableModel` as well."""

    answers: bool = True
    name: str = "grey"
    think: bool = False
    batch_size: int = 4
    suggested_evaluator: str | None = None

    @property
    def abilities(self) -> Abilities:
        return Abilities(edits=False, thinks=False, answers=self.answers)

    @property
    def identity(self) -> Mapping[str, str]:
        return {"kind": "grey", "version": "1"}

    @property
    def licences(self) -> Mapping[str, str]:
        return {"grey": "MIT"}

    def suited_to(self, benchmark: str) -> GreyCheckpoint:
        del benchmark
        return replace(self)

    def load(self, device: str) -> GreyModel:
        del device
        return GreyModel()

    def refinement_identity(self) -> Mapping[str, str]:
        return {"refine.step": str(STEP)}

    def refiner(self, model: UnifiedModel) -> Lightener:
        assert isinstance(model, GreyModel)
        return Lightener()


def grey(value: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (value, value, value))


def level(image: Image.Image) -> int:
    return image.convert("L").tobytes()[0]


def open_it(*, device: str, answers: bool = True) -> UnifiedCheckpoint:
    """The factory that a `python:` checkpoint names."""
    return UnifiedCheckpoint(opened=GreyCheckpoint(answers=answers), device=device)
