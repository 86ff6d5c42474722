"""Sizes of a pipeline of the SD3 family, from the shapes in its weight files. Loads no weights."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Final

from safetensors import safe_open

from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.diffusers import DiffusersCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.weights.location import PipelineFiles
from alphagrpo.policies.diffusers_training import DiffusersTraining, load_family
from alphagrpo.policies.policy_protocols import PolicySizes, n_trained_parameters
from alphagrpo.recipe import PolicySettings
from alphatrainers.resource_plan import ModelSizes
from alphatrainers.settings import TrainingSettings

_SD35_MEDIUM: Final = PolicySizes(
    # 2.5e9 in the transformer (half of it works on each token), the rest in its text encoders.
    sizes=ModelSizes(
        parameters=8.1e9,
        active_parameters=1.25e9,
        trained_parameters=2.4e7,
        latent_tokens=0,
        branches=(),
        read_tokens=0,
        activation_bytes_per_token=2.0 * 24 * 26 * 1536,
        checkpointed_bytes_per_token=2.0 * 24 * 1536,
    ),
    token_pixels=16,
    image_size=(1024, 1024),
)
"""stabilityai/stable-diffusion-3.5-medium, rounded, with LoRA of rank 32."""


def diffusers_sizes(
    settings: PolicySettings, location: str, training: TrainingSettings
) -> PolicySizes:
    """Sizes of a pipeline on this machine, or of the released SD3.5 medium by its name.

    Raises:
        AlphaBenchError: it is not on this machine, or of another family.
    """
    if re.search(r"stable-diffusion-3\.5-medium", location):
        return _SD35_MEDIUM
    generator = open_checkpoint(settings.checkpoint, options=settings.texts())
    assert isinstance(generator, DiffusersCheckpoint), "the kind of checkpoint says so"
    DiffusersTraining(checkpoint=generator).check_trainable()
    if generator.source.folder is None:
        raise AlphaBenchError(
            f"the sizes of {settings.checkpoint!r} are not known without its weights",
            hint="--dry-run knows folders, nano, BAGEL and stable-diffusion-3.5-medium",
        )
    return _sizes(training, generator.source, generator.source.folder)


def _sizes(training: TrainingSettings, source: PipelineFiles, folder: Path) -> PolicySizes:
    """ModelSizes by the shapes in the pipeline's files."""
    shapes = {
        (file.partition("/")[0], name): shape
        for file in source.needed
        if file.endswith(".safetensors")
        for name, shape in _shapes(folder / file).items()
    }
    experts = load_family(source.index.pipeline_class).experts
    config, vae = source.read_config("transformer"), source.read_config("vae")
    try:
        width = int(config["num_attention_heads"]) * int(config["attention_head_dim"])
        layers, patch = int(config["num_layers"]), int(config["patch_size"])
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        side = int(config["sample_size"]) * factor
    except (KeyError, TypeError, ValueError) as error:
        raise AlphaBenchError(
            f"the configuration of {source.name!r} does not tell its sizes ({error})",
            hint="--dry-run knows pipelines of the SD3 family",
        ) from error
    linear = {
        name.removesuffix(".weight"): (shape[1], shape[0])
        for (part, name), shape in shapes.items()
        if part == "transformer" and name.endswith(".weight") and len(shape) == 2
    }
    sizes = ModelSizes(
        parameters=float(sum(map(math.prod, shapes.values()))),
        # Half of them work on each token.
        active_parameters=sum(map(math.prod, linear.values())) / 2,
        trained_parameters=n_trained_parameters(training, linear, experts),
        latent_tokens=0,
        branches=(),
        read_tokens=0,
        activation_bytes_per_token=2.0 * layers * 26 * width,
        checkpointed_bytes_per_token=2.0 * layers * width,
    )
    return PolicySizes(sizes=sizes, token_pixels=factor * patch, image_size=(side, side))


def _shapes(file: Path) -> dict[str, list[int]]:
    with safe_open(file, framework="pt") as opened:
        return {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118
