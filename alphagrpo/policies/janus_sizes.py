"""Sizes of a Janus, from its config.json or known of the released ones. Loads no weights."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from alphabench.core.errors import AlphaBenchError
from alphagrpo.policies.janus_policy import EXPERTS
from alphagrpo.policies.policy_protocols import PolicySizes, n_trained_parameters
from alphagrpo.recipe import PolicySettings
from alphatrainers.resource_plan import ModelSizes
from alphatrainers.settings import TrainingSettings

_PIXELS: Final = {"image_size": 384, "patch_size": 16}
_LLAMA: Final = {"model_type": "llama", "vocab_size": 102400}
_RELEASED: Final[Mapping[str, Mapping[str, Any]]] = {
    # Widths and depths as in the Janus-Pro report (arXiv 2501.17811); not read from released files.
    "1b": {
        "text_config": {
            **_LLAMA, "hidden_size": 2048, "intermediate_size": 5632,
            "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 16,
        },
        "vision_config": {**_PIXELS, "projection_dim": 2048},
        "vq_config": {"projection_dim": 2048, "image_token_embed_dim": 2048},
    },
    "7b": {
        "text_config": {
            **_LLAMA, "hidden_size": 4096, "intermediate_size": 11008,
            "num_hidden_layers": 30, "num_attention_heads": 32, "num_key_value_heads": 32,
        },
        "vision_config": {**_PIXELS, "projection_dim": 4096},
        "vq_config": {"projection_dim": 4096, "image_token_embed_dim": 4096},
    },
}  # fmt: skip
"""Size in the name of Janus-Pro -> its configuration in transformers' layout, as far as it decides
sizes."""


def janus_sizes(settings: PolicySettings, location: str, training: TrainingSettings) -> PolicySizes:
    """Sizes of a folder, or of the released Janus-Pro by its name.

    Raises:
        AlphaBenchError: it is neither.
    """
    file = Path(location).expanduser() / "config.json"
    if file.is_file():
        return _sizes(training, json.loads(file.read_text(encoding="utf-8")))
    released = re.search(r"janus-pro-(1b|7b)\b", location.casefold())
    if released is None:
        raise AlphaBenchError(
            f"the sizes of {settings.checkpoint!r} are not known without its weights",
            hint="--dry-run knows folders, and Janus-Pro-1B and 7B by their names",
        )
    return _sizes(training, _RELEASED[released.group(1)])


def _sizes(training: TrainingSettings, content: Mapping[str, Any]) -> PolicySizes:
    transformers: Any = importlib.import_module("transformers")
    config = transformers.JanusConfig(
        **{key: content[key] for key in ("text_config", "vision_config", "vq_config")},
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        network: Any = transformers.JanusForConditionalGeneration(config)
    text, model = config.text_config, network.model
    linear = {
        name: (part.in_features, part.out_features)
        for name, part in network.named_modules()
        if isinstance(part, nn.Linear)
    }
    # Of an image token; the head and the decoder's layers work on each.
    working = [model.language_model.layers, model.generation_aligner, model.generation_head]
    key_features = text.num_key_value_heads * (text.hidden_size // text.num_attention_heads)
    per_layer = 14 * text.hidden_size + 3 * text.intermediate_size
    side = config.vision_config.image_size
    patches = round(config.vision_config.num_image_tokens**0.5)
    sizes = ModelSizes(
        parameters=float(_count(network)),
        active_parameters=float(sum(map(_count, working))),
        trained_parameters=n_trained_parameters(training, linear, EXPERTS),
        latent_tokens=0,
        branches=(),
        read_tokens=0,
        context_bytes_per_token=2.0 * 2 * key_features * text.num_hidden_layers,
        activation_bytes_per_token=2.0 * per_layer * text.num_hidden_layers,
        checkpointed_bytes_per_token=2.0 * text.hidden_size * text.num_hidden_layers,
    )
    return PolicySizes(sizes=sizes, token_pixels=side // patches, image_size=(side, side))


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
