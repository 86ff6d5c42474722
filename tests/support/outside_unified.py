"""A unified model as a user's package brings it: `python:tests.support.outside_unified:open_it`.

Generates flat grey images, answers every question by yes, and refines by lightening. It is trained
through the toy policy, and exported as one file of tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from safetensors.torch import save_file

from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.models.unified_model import (
    Abilities,
    AnswerTask,
    GenerationResult,
    GenerationTask,
    RefineTask,
    TextAnswer,
    UnifiedModel,
)
from alphagrpo.policies.handle import PolicyHandle, trained_digest
from alphagrpo.policies.policy_protocols import ExportableWeights, PolicySizes
from alphatrainers.resource_plan import ModelSizes
from alphatrainers.settings import TrainingSettings
from tests.support.toy_policy import ToyPolicy

STEP = 40
"""Grey levels that one refinement adds."""


class GreyModel:
    """An image as dark as its seed says."""

    def generate(
        self, tasks: Sequence[GenerationTask], *, think: bool = False
    ) -> list[GenerationResult]:
        del think
        return [GenerationResult(image=grey(task.seed % 100)) for task in tasks]

    def answer(self, tasks: Sequence[AnswerTask]) -> list[TextAnswer]:
        return [TextAnswer(text="yes") for _ in tasks]


class Lightener:
    """Refines by adding to the grey level."""

    def refine(self, tasks: Sequence[RefineTask]) -> list[GenerationResult]:
        return [
            GenerationResult(
                image=grey(level(task.image) + STEP), thought=f"lighter: {task.prompt}"
            )
            for task in tasks
        ]


@dataclass(frozen=True, kw_only=True)
class GreyCheckpoint:
    """An `UnifiedHandle` that implements every optional protocol."""

    answers: bool = True
    trained: str = ""
    """Digest of the weights in training."""
    name: str = "grey"
    think: bool = False
    batch_size: int = 4
    suggested_evaluator: str | None = None

    @property
    def abilities(self) -> Abilities:
        return Abilities(edits=False, thinks=False, answers=self.answers)

    @property
    def identity(self) -> Mapping[str, str]:
        return {"kind": "grey", "version": "1", "trained": self.trained}

    @property
    def licences(self) -> Mapping[str, str]:
        return {"grey": "MIT"}

    def for_benchmark(self, benchmark: str) -> GreyCheckpoint:
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

    def check_trainable(self) -> None:
        return None

    def open_policy(self, *, device: str) -> PolicyHandle:
        policy = ToyPolicy()

        def live() -> UnifiedCheckpoint:
            now = replace(self, trained=trained_digest(policy.module))
            return UnifiedCheckpoint(handle=now, device=device)

        return PolicyHandle(
            name=self.name,
            policy=policy,
            generator=live,
            size=(4, 4),
            resize=lambda image: image.resize((4, 4)),
            think_prompt="think",
            reflect_prompt="{prompt} again",
            thinks=True,
            edits=True,
        )

    def open_weights(self, *, device: str) -> ExportableWeights:
        del device
        module = ToyPolicy().module

        def save(folder: Path) -> None:
            folder.mkdir(parents=True)
            save_file(module.state_dict(), folder / "grey.safetensors")

        return ExportableWeights(module=module, save=save)

    def policy_sizes(self, training: TrainingSettings) -> PolicySizes:
        del training
        sizes = ModelSizes(
            parameters=4e6,
            active_parameters=2e6,
            trained_parameters=1e3,
            latent_tokens=0,
            branches=(),
            read_tokens=0,
        )
        return PolicySizes(sizes=sizes, token_pixels=2, image_size=(4, 4))


def grey(value: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (value, value, value))


def level(image: Image.Image) -> int:
    return image.convert("L").tobytes()[0]


def open_it(*, device: str, answers: bool = True) -> UnifiedCheckpoint:
    """The factory that a `python:` checkpoint names."""
    return UnifiedCheckpoint(handle=GreyCheckpoint(answers=answers), device=device)
