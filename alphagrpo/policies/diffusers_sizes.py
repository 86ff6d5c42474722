"""Sizes of a diffusers pipeline, from the shapes in its weight files. Loads no weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from safetensors import safe_open

from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.diffusers import DiffusersCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.weights.location import PipelineFiles
from alphagrpo.policies.diffusers_training import DiffusersTraining, load_family
from alphagrpo.policies.policy_protocols import PolicySizes, n_trained_parameters
from alphagrpo.policies.released_pipelines import BYTES, WIDTHS_PER_LAYER, released_sizes
from alphagrpo.recipe import PolicySettings
from alphatrainers.resource_plan import ModelSizes
from alphatrainers.settings import TrainingSettings

_TWO_STREAMS: Final = "transformer_blocks."
"""Layers with weights of their own for text and image: half of them work on each token."""
_USUAL_SIDE: Final = 1024
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
    """Sizes of a pipeline on this machine, or of a released one by its name.

    Raises:
        AlphaBenchError: it is not on this machine, or of another family.
    """
    if re.search(r"stable-diffusion-3\.5-medium", location):
        return _SD35_MEDIUM
    if not Path(location).exists() and (known := released_sizes(location, training)) is not None:
        return known
    generator = open_checkpoint(settings.checkpoint, options=settings.texts())
    assert isinstance(generator, DiffusersCheckpoint), "the kind of checkpoint says so"
    DiffusersTraining(checkpoint=generator).check_trainable()
    if generator.source.folder is None:
        raise AlphaBenchError(
            f"the sizes of {settings.checkpoint!r} are not known without its weights",
            hint="--dry-run knows folders, nano, BAGEL and the models that recipes name",
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
        own = _shape_of(config, vae)
    except (KeyError, TypeError, ValueError) as error:
        raise AlphaBenchError(
            f"the configuration of {source.name!r} does not tell its sizes ({error})",
            hint="--dry-run knows pipelines that can be trained",
        ) from error
    linear = {
        name.removesuffix(".weight"): (shape[1], shape[0])
        for (part, name), shape in shapes.items()
        if part == "transformer" and name.endswith(".weight") and len(shape) == 2
    }
    sizes = ModelSizes(
        parameters=float(sum(map(math.prod, shapes.values()))),
        active_parameters=sum(
            math.prod(sides) / (2 if name.startswith(_TWO_STREAMS) else 1)
            for name, sides in linear.items()
        ),
        trained_parameters=n_trained_parameters(training, linear, experts),
        latent_tokens=0,
        branches=(),
        read_tokens=0,
        activation_bytes_per_token=BYTES * own.layers * WIDTHS_PER_LAYER * own.width,
        checkpointed_bytes_per_token=BYTES * own.layers * own.width,
    )
    return PolicySizes(sizes=sizes, token_pixels=own.token_pixels, image_size=(own.side, own.side))


class _Shape(NamedTuple):
    layers: int
    width: int
    token_pixels: int
    side: int
    """Pixels of an image where the recipe names no size."""


def _shape_of(config: Mapping[str, Any], vae: Mapping[str, Any]) -> _Shape:
    """Of a transformer and its autoencoder, by their configurations.

    Raises:
        KeyError: an entry is missing.
    """
    if "dim" in config:  # Z-Image
        width = int(config["dim"])
        layers = int(config["n_layers"]) + 2 * int(config["n_refiner_layers"])
    else:
        width = int(config["num_attention_heads"]) * int(config["attention_head_dim"])
        layers = int(config["num_layers"]) + int(config.get("num_single_layers", 0))
    if "block_out_channels" in vae:
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
    else:
        factor = 2 ** len(vae["temperal_downsample"])
    if "sample_size" not in config:  # packed in patches of 2 x 2
        return _Shape(layers, width, 2 * factor, _USUAL_SIDE)
    side = int(config["sample_size"]) * factor
    return _Shape(layers, width, factor * int(config["patch_size"]), side)


def _shapes(file: Path) -> dict[str, list[int]]:
    with safe_open(file, framework="pt") as opened:
        return {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118
