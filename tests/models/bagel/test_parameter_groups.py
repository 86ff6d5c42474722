"""Groups of weights: each has one, freezing is by name, and a LoRA finds its layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from alphabench.core.errors import AlphaBenchError
from alphabench.models.bagel.loading import LoadedBagel
from alphabench.models.bagel.model import Bagel, Grid
from alphabench.models.bagel.parameter_groups import (
    PARAMETER_GROUPS,
    group_of,
    group_sizes,
    lora_targets,
    train_only,
)


@pytest.fixture
def model(loaded: LoadedBagel) -> Iterator[Bagel]:
    before = {name: one.requires_grad for name, one in loaded.model.named_parameters()}
    yield loaded.model
    for name, parameter in loaded.model.named_parameters():
        parameter.requires_grad_(before[name])


def test_the_groups_hold_every_number_once(model: Bagel) -> None:
    sizes = group_sizes(model)
    assert sum(sizes.values()) == sum(one.numel() for one in model.parameters())
    assert all(sizes[group] > 0 for group in PARAMETER_GROUPS)
    assert sizes["understanding"] == sizes["generation"]
    assert sizes["words"] == 2 * 264 * 32


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("language_model.model.layers.0.self_attn.q_proj.weight", "understanding"),
        ("language_model.model.layers.1.mlp_moe_gen.up_proj.weight", "generation"),
        ("language_model.model.norm.weight", "understanding"),
        ("language_model.model.norm_moe_gen.weight", "generation"),
        ("language_model.lm_head", "words"),
        ("vit_pos_embed.pos_embed", "positions"),
        ("llm2vae", "latents"),
    ],
)
def test_a_name_determines_its_group(name: str, group: str) -> None:
    assert group_of(name) == group


def test_only_the_groups_that_are_named_learn(model: Bagel) -> None:
    counts = train_only(model, ["generation", "latents"])
    learning = {group_of(name) for name, one in model.named_parameters() if one.requires_grad}
    assert learning == {"generation", "latents"}
    sizes = group_sizes(model)
    assert counts == {group: sizes[group] if group in learning else 0 for group in PARAMETER_GROUPS}
    context = model.new_context(1)
    noise = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    loss: Any = model.velocity(
        context, model.canvas(context, [Grid(2, 3)]), noise, torch.ones(1)
    ).sum()
    loss.backward()
    moved = {group_of(name) for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad()
    assert moved == learning


@pytest.mark.parametrize(("name", "words"), [("generator", "'generation'"), ("positions", "named")])
def test_a_group_that_is_none_or_never_learns_is_refused(
    model: Bagel, name: str, words: str
) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        train_only(model, [name])


def test_lora_targets_are_the_linear_layers_of_the_chosen_experts(model: Bagel) -> None:
    both, one = lora_targets(model), lora_targets(model, ["generation"])
    assert len(both) == 2 * 2 * 7
    assert set(one) == {name for name in both if "_moe_gen" in name}
    assert len(lora_targets(model, ["understanding"], mlp=False)) == 2 * 4
    assert all(isinstance(model.get_submodule(name), torch.nn.Linear) for name in both)
