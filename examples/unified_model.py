"""A unified model of your own: it generates images, answers questions about them and refines them.

    cd examples
    alphabench run geneval:mini --ckpt python:unified_model:open_tints --limit 6
    alphabench run geneval:mini --ckpt python:unified_model:open_tints --limit 6 --refine self

The model fills each image with the first colour that its prompt names. It has no weights, so that
the file shows the protocols and nothing else. docs/extending/unified_model.md walks through it, and
through `trainable_model.py`, which adds training.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image

from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.models.unified_model import (
    Abilities,
    AnswerTask,
    GenerationResult,
    GenerationTask,
    RefineTask,
    TextAnswer,
    UnifiedModel,
)

COLOURS: Final = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (240, 210, 40),
}
GREY: Final = (128, 128, 128)


def first_colour(text: str) -> tuple[int, int, int]:
    """The first colour that a text names; grey if it names none."""
    words = re.findall(r"[a-z]+", text.casefold())
    return next((COLOURS[word] for word in words if word in COLOURS), GREY)


class TintModel:
    """Loaded weights behind two methods. Each result depends on its own task alone."""

    def generate(
        self, tasks: Sequence[GenerationTask], *, think: bool = False
    ) -> list[GenerationResult]:
        """One image for each task, in order. All randomness comes from the task's seed."""
        assert not think, "`abilities` says that it does not think"
        return [GenerationResult(image=self._tint(task)) for task in tasks]

    def answer(self, tasks: Sequence[AnswerTask]) -> list[TextAnswer]:
        """One text for each task, in order: whether the image has the colour of the question."""
        return [TextAnswer(text=self._yes_or_no(task)) for task in tasks]

    def _tint(self, task: GenerationTask) -> Image.Image:
        size = (task.width or 64, task.height or 64)
        strength = random.Random(task.seed).random()  # noqa: S311  no secret
        return Image.blend(
            Image.new("RGB", size, GREY),
            Image.new("RGB", size, first_colour(task.prompt)),
            strength,
        )

    def _yes_or_no(self, task: AnswerTask) -> str:
        seen = task.images[-1].resize((1, 1)).tobytes()
        wanted = first_colour(task.text)
        furthest = max(abs(one - other) for one, other in zip(seen, wanted, strict=True))
        return "yes" if furthest < 64 else "no"


class TintRefiner:
    """Moves an image half-way to the colour that its prompt names."""

    def refine(self, tasks: Sequence[RefineTask]) -> list[GenerationResult]:
        """One improved image for each task, with the reflection as its thought."""
        return [
            GenerationResult(
                image=Image.blend(
                    task.image, Image.new("RGB", task.image.size, first_colour(task.prompt)), 0.5
                ),
                thought="The colour is too weak. Make it stronger.",
            )
            for task in tasks
        ]


@dataclass(frozen=True, kw_only=True)
class TintHandle:
    """What is known before the weights load: a `UnifiedHandle` that is also a `RefinableModel`."""

    batch_size: int = 8
    name: str = "tints"
    think: bool = False
    suggested_evaluator: str | None = "nano"
    """The detector for small synthetic images, instead of the benchmark's default."""

    @property
    def abilities(self) -> Abilities:
        return Abilities(edits=False, thinks=False, answers=True)

    @property
    def identity(self) -> Mapping[str, str]:
        """Everything that decides a pixel. Runs with different identities are never mixed."""
        return {"kind": "tints", "version": "1"}

    @property
    def licences(self) -> Mapping[str, str]:
        return {"tints": "Apache-2.0"}

    def for_benchmark(self, benchmark: str) -> TintHandle:
        """The settings published for a benchmark; this model has none."""
        del benchmark
        return self

    def load(self, device: str) -> TintModel:
        """A real model loads its weights here, and refuses here what is missing or too large."""
        if device != "cpu":
            raise AlphaBenchError("this example runs on the CPU", hint="add --devices cpu")
        return TintModel()

    def refinement_identity(self) -> Mapping[str, str]:
        return {"refine.step": "0.5"}

    def refiner(self, model: UnifiedModel) -> TintRefiner:
        assert isinstance(model, TintModel)
        return TintRefiner()


def open_tints(*, device: str, batch_size: int = 8) -> UnifiedCheckpoint:
    """What `--ckpt python:unified_model:open_tints` calls; `batch_size` is set with `--set`."""
    return UnifiedCheckpoint(handle=TintHandle(batch_size=batch_size), device=device)
