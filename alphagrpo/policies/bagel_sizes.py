"""Sizes of a BAGEL, read from its JSON files or known of the released one. Loads no weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import nn

from alphabench.checkpoints.bagel import NANO
from alphabench.core.errors import AlphaBenchError
from alphabench.models.bagel.config import BAGEL_7B, BagelConfig
from alphabench.models.bagel.loading import read_sizes
from alphabench.models.bagel.model import Bagel, ImageMarks
from alphagrpo.policies.bagel_training_trace import trace_update
from alphagrpo.policies.policy_protocols import PolicySizes, n_trained_parameters
from alphagrpo.policies.unified_policy import EXPERTS
from alphagrpo.recipe import PolicySettings
from alphatrainers.resource_plan import ModelSizes
from alphatrainers.settings import TrainingSettings


def nano_sizes(settings: PolicySettings, location: str, training: TrainingSettings) -> PolicySizes:
    """Sizes of the model in this package; see `cost_estimate.SIZE_ESTIMATES`.

    Raises:
        AlphaBenchError: this copy of the package has no such model.
    """
    del settings, location
    if not NANO.is_dir():
        raise AlphaBenchError(
            "the nano model is not in this copy of the package",
            hint="install a released package",
        )
    return _sizes(training, read_sizes(NANO), image_size=(64, 64), width=4.0)


def bagel_sizes(settings: PolicySettings, location: str, training: TrainingSettings) -> PolicySizes:
    """Sizes of a folder, or of the released model where `location` is no folder here."""
    del settings
    folder = Path(location).expanduser()
    config = read_sizes(folder) if folder.is_dir() else BAGEL_7B
    return _sizes(training, config, image_size=(1024, 1024), width=2.0)


def _sizes(
    training: TrainingSettings, config: BagelConfig, *, image_size: tuple[int, int], width: float
) -> PolicySizes:
    """Sizes of one design; `width` is the bytes of one weight."""
    with torch.device("meta"):
        model = Bagel(config, ImageMarks(start=0, end=0))
    language = config.language
    linear = {
        name: (part.in_features, part.out_features)
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear)
    }
    trained = n_trained_parameters(training, linear, EXPERTS)
    # One expert of the two works on each token.
    decoder = sum(p.numel() for p in model.language_model.model.layers.parameters()) / 2
    per_layer = 14 * language.hidden_size + 3 * language.intermediate_size
    key_features = language.num_key_value_heads * language.head_size
    sizes = ModelSizes(
        parameters=float(sum(p.numel() for p in model.parameters())),
        active_parameters=decoder,
        trained_parameters=trained,
        bytes_per_parameter=width,
        latent_tokens=0,
        branches=(),
        read_tokens=0,
        context_bytes_per_token=2 * key_features * language.num_hidden_layers * width,
        activation_bytes_per_token=per_layer * language.num_hidden_layers * width,
        checkpointed_bytes_per_token=language.hidden_size * language.num_hidden_layers * width,
    )
    return PolicySizes(
        sizes=sizes,
        token_pixels=config.token_pixels,
        image_size=image_size,
        count_update=partial(trace_update, config),
    )
