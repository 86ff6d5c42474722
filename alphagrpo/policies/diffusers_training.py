"""Diffusers pipelines for the trainer: policy and export. Knows no task and no reward.

Validations generate with the weights in training, through `LiveDiffusers`.
"""

from __future__ import annotations

import importlib
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alphabench.checkpoints.diffusers import DiffusersCheckpoint
from alphabench.checkpoints.image_text_processor import replaced_processors
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Generator
from alphabench.types import ImageRequest, NotGenerated
from alphabench.weights.location import PipelineFiles
from alphabench.weights.strict_loading import quiet
from alphagrpo.policies.diffusers_families import FAMILIES
from alphagrpo.policies.diffusers_families.family_protocol import DiffusersFamily
from alphagrpo.policies.diffusers_policy import DiffusersPolicy
from alphagrpo.policies.handle import PolicyHandle, trained_digest
from alphagrpo.policies.policy_protocols import ExportableWeights

if TYPE_CHECKING:
    from PIL.Image import Image

_PACKAGE: Final = "alphagrpo.policies.diffusers_families"
_SOURCE_STEP: Final = 32
"""Pixels; what the sides of a source image are multiples of."""
_USUAL_SIDE: Final = 1024
"""Pixels of a pipeline that names no size of its own."""


def load_family(pipeline_class: str) -> DiffusersFamily:
    """The adapter of a class that `FAMILIES` names."""
    module, _, name = FAMILIES[pipeline_class].partition(":")
    found: DiffusersFamily = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), name)
    return found


def resized_to_area(image: Image, area: int) -> Image:
    """The source image of an edit with about `area` pixels, its shape kept to multiples of 32."""
    from PIL.Image import Resampling

    ratio = image.width / image.height
    sides = (math.sqrt(area * ratio), math.sqrt(area / ratio))
    width, height = (max(1, round(side / _SOURCE_STEP)) * _SOURCE_STEP for side in sides)
    return image.resize((width, height), Resampling.LANCZOS)


@dataclass(frozen=True, kw_only=True)
class DiffusersTraining:
    """A `TrainableCheckpoint` and `ExportableCheckpoint` over an opened pipeline."""

    checkpoint: DiffusersCheckpoint

    def check_trainable(self) -> None:
        """See `TrainableCheckpoint`."""
        name, family = self.checkpoint.source.name, self.checkpoint.source.index.pipeline_class
        if family not in FAMILIES:
            raise AlphaBenchError(
                f"{name!r} is a {family}, which cannot be trained",
                hint=f"train {', '.join(FAMILIES)}, nano or a BAGEL checkpoint",
            )
        if self.checkpoint.adapter is not None:
            raise AlphaBenchError(
                f"{name!r} comes with a LoRA, and a training puts its own on", hint="merge it first"
            )

    def open_policy(self, *, device: str) -> PolicyHandle:
        """See `TrainableCheckpoint`."""
        del device  # the checkpoint was opened for one
        self.check_trainable()
        with quiet():
            pipeline = self.checkpoint.pipeline()
        sampling = self.checkpoint.sampling
        cells = getattr(pipeline, "default_sample_size", None)
        own = cells * pipeline.vae_scale_factor if cells else _USUAL_SIDE
        family = load_family(self.checkpoint.source.index.pipeline_class)
        negative = sampling.negative_prompt or ""
        policy = DiffusersPolicy(
            pipeline,
            family,
            identity={
                "kind": "diffusers",
                "weights": self.checkpoint.source.identity(),
                "dtype": sampling.dtype,
                **({"negative_prompt": negative} if negative else {}),
            },
            longest=sampling.max_sequence_length or family.longest,
            negative_prompt=negative,
        )

        def schedule(n_steps: int, width: int, height: int) -> tuple[float, ...]:
            return family.noise_levels(pipeline, n_steps, width, height)

        size = (sampling.width or own, sampling.height or own)

        def resize(image: Image) -> Image:
            return resized_to_area(image, size[0] * size[1]) if family.edits else image

        def live() -> Generator:
            return LiveDiffusers(
                checkpoint=self.checkpoint, trained=trained_digest(pipeline.transformer)
            )

        return PolicyHandle(
            name=self.checkpoint.source.name,
            policy=policy,
            generator=live,
            size=size,
            resize=resize,
            think_prompt="",
            reflect_prompt="{prompt}",
            thinks=False,
            edits=family.edits,
            schedule=schedule,
        )

    def open_weights(self, *, device: str) -> ExportableWeights:
        """See `ExportableCheckpoint`."""
        del device
        pipeline = self.checkpoint.pipeline()

        def save(out: Path) -> None:
            if getattr(pipeline.transformer, "peft_config", None):
                del pipeline.transformer.peft_config
                pipeline.transformer._hf_peft_config_loaded = False
            pipeline.save_pretrained(out)
            _copy_processors(self.checkpoint.source, out)

        return ExportableWeights(module=pipeline.transformer, save=save)


def _copy_processors(source: PipelineFiles, out: Path) -> None:
    """Those of the base in full: one that was loaded without torchvision knows no videos."""
    folder = source.fetch()
    for name in replaced_processors(source.index.components):
        for file in source.needed:
            if file.startswith(f"{name}/"):
                shutil.copyfile(folder / file, out / file)


@dataclass(frozen=True, kw_only=True)
class LiveDiffusers:
    """The pipeline as a checkpoint of the harness, with the weights now in force."""

    checkpoint: DiffusersCheckpoint
    trained: str
    """Digest of the trained weights."""

    @property
    def identity(self) -> Mapping[str, str]:
        return {**self.checkpoint.identity, "trained": self.trained}

    @property
    def batch_size(self) -> int:
        return self.checkpoint.batch_size

    @property
    def licences(self) -> Mapping[str, str]:
        return self.checkpoint.licences

    def generate(self, requests: Sequence[ImageRequest]) -> Sequence[Image | NotGenerated]:
        """See `alphabench.types.Generator`."""
        return self.checkpoint.generate(requests)
