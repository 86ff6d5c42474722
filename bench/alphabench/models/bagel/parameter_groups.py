"""The parameter groups of a BAGEL-type model: to freeze, to train, to adapt with a LoRA.

Each parameter belongs to exactly one group. Knows no trainer and no adapter library.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final, Literal, get_args

from torch import nn

from alphabench.core.errors import unknown_name
from alphabench.models.bagel.decoder import GENERATION

ParameterGroup = Literal[
    "understanding", "generation", "words", "vit", "connector", "latents", "time", "positions"
]
"""understanding, generation: the two experts, their final norms among them.

words: token embeddings and vocabulary head. vit: the vision encoder. connector: from it into the
decoder. latents: in and out of latent tokens. time: the embedding of times. positions: the fixed
tables, which nothing trains.
"""
PARAMETER_GROUPS: Final[tuple[ParameterGroup, ...]] = get_args(ParameterGroup)
FIXED: Final[ParameterGroup] = "positions"
_STARTS: Final[Mapping[str, ParameterGroup]] = {
    "language_model.lm_head.": "words",
    "language_model.model.embed_tokens.": "words",
    "vit_model.": "vit",
    "connector.": "connector",
    "vae2llm.": "latents",
    "llm2vae.": "latents",
    "time_embedder.": "time",
    "vit_pos_embed.": "positions",
    "latent_pos_embed.": "positions",
}
Expert = Literal["understanding", "generation"]
EXPERTS: Final[tuple[Expert, ...]] = get_args(Expert)
_ATTENTION: Final = ("q_proj", "k_proj", "v_proj", "o_proj")
_MLP: Final = ("gate_proj", "up_proj", "down_proj")


def group_of(name: str) -> ParameterGroup:
    """The group of a parameter or module, by its full name in the model."""
    for start, group in _STARTS.items():
        if f"{name}.".startswith(start):
            return group
    return "generation" if GENERATION in name else "understanding"


def group_sizes(model: nn.Module) -> dict[ParameterGroup, int]:
    """How many parameters each group has."""
    sizes: Counter[ParameterGroup] = Counter()
    for name, parameter in model.named_parameters():
        sizes[group_of(name)] += parameter.numel()
    return {group: sizes[group] for group in PARAMETER_GROUPS}


def train_only(model: nn.Module, groups: Collection[str]) -> dict[ParameterGroup, int]:
    """Train these groups and freeze all others; called before any adapter is added.

    Returns:
        How many parameters of each group are trained now.

    Raises:
        AlphaBenchError: an unknown group, or that of the fixed tables.
    """
    trainable = [group for group in PARAMETER_GROUPS if group != FIXED]
    for name in groups:
        if name not in trainable:
            raise unknown_name("group of weights to train", name, trainable)
    counts: Counter[ParameterGroup] = Counter()
    for name, parameter in model.named_parameters():
        group = group_of(name)
        parameter.requires_grad_(group in groups)
        counts[group] += parameter.numel() if group in groups else 0
    return {group: counts[group] for group in PARAMETER_GROUPS}


def lora_targets(
    model: nn.Module, experts: Collection[Expert] = EXPERTS, *, mlp: bool = True
) -> list[str]:
    """Full names of the linear layers of these experts, in all layers: the targets of a LoRA.

    Args:
        model: a `Bagel`.
        experts: whose layers.
        mlp: the MLPs too, not only attention.
    """
    leaves = _ATTENTION + _MLP if mlp else _ATTENTION
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.startswith("language_model.model.layers.")
        and name.rpartition(".")[2].removesuffix(GENERATION) in leaves
        and group_of(name) in experts
    ]
