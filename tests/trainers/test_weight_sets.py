"""Weights: which modules match, which train, which are in force, and how they are saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from alphabench.core.errors import AlphaBenchError
from alphatrainers import lora_adapters
from alphatrainers.checkpoint import TrainingFolder, WeightsFormat
from alphatrainers.distributed import Processes
from alphatrainers.protocols import WeightView
from alphatrainers.settings import LoraSettings, OptimiserSettings, TrainingSettings
from alphatrainers.weight_sets import WeightSets
from tests.support.toy_policy import ToyPolicy


def weights_of(policy: ToyPolicy, *views: str, lora: bool = True, **rates: float) -> WeightSets:
    settings = TrainingSettings(
        steps=1,
        lora=LoraSettings(rank=2, alpha=4.0) if lora else None,
        optimiser=OptimiserSettings(experts=rates),
    )
    return WeightSets(policy, settings, views=frozenset(views), processes=Processes())


def move(weights: WeightSets) -> None:
    with torch.no_grad():
        for parameter in weights.trained.values():
            parameter.add_(0.25)
    weights.mark_changed()


class Unbound(ToyPolicy):
    """An expert whose name fits nothing."""

    @property
    def experts(self) -> Mapping[str, str]:
        return {"und": r"cell\.mix", "gen": r"paynter\..*"}


class Twofold(ToyPolicy):
    """Two experts that claim one module."""

    @property
    def experts(self) -> Mapping[str, str]:
        return {"und": r"cell\.mix", "gen": r".*\.mix"}


@pytest.mark.parametrize("lora", [True, False])
def test_an_expert_that_matches_no_module_is_refused(lora: bool) -> None:
    with pytest.raises(AlphaBenchError, match=r"'gen' matches no module by its pattern 'paynter"):
        weights_of(Unbound(), lora=lora)


def test_full_training_in_half_precision_is_refused() -> None:
    half = ToyPolicy(dtype=torch.bfloat16)
    with pytest.raises(AlphaBenchError, match="bfloat16"):
        weights_of(half, lora=False)
    assert {value.dtype for value in weights_of(half).trained.values()} == {torch.float32}


def test_an_expert_with_learning_rate_0_may_match_nothing_and_is_not_trained() -> None:
    weights = weights_of(Unbound(), gen=0.0)
    assert set(weights.expert_of.values()) == {"und"}


def test_a_module_of_two_experts_is_refused() -> None:
    with pytest.raises(AlphaBenchError, match="belongs to experts"):
        weights_of(Twofold())


def test_a_rate_for_an_unknown_expert_names_the_nearest() -> None:
    with pytest.raises(AlphaBenchError, match="did you mean 'und'"):
        weights_of(ToyPolicy(), unt=1e-5)


def test_all_experts_at_rate_0_are_refused() -> None:
    with pytest.raises(AlphaBenchError, match="every expert"):
        weights_of(ToyPolicy(), und=0.0, gen=0.0)


def test_only_the_adapters_or_only_the_experts_get_gradients() -> None:
    for lora in (True, False):
        policy = ToyPolicy()
        weights = weights_of(policy, lora=lora)
        wanted = {n for n, p in policy.module.named_parameters() if p.requires_grad}
        assert wanted == set(weights.trained)
        assert all(("lora_" in name) == lora for name in wanted)
        assert not any(name.startswith("tokens") for name in wanted)


@pytest.mark.parametrize("lora", [True, False])
def test_a_view_puts_its_weights_in_force_and_restores_the_trained_ones(lora: bool) -> None:
    policy = ToyPolicy()
    inside = torch.ones(1, 12)
    weights = weights_of(policy, "old", "reference", lora=lora)
    layer = policy.module.get_submodule("painter.leave")
    before = layer(inside)
    move(weights)
    moved = layer(inside)
    assert not torch.equal(before, moved)
    views: list[WeightView] = ["old", "reference"]
    for view in views:
        with weights.view(view):
            assert torch.equal(layer(inside), before)
        assert torch.equal(layer(inside), moved)
    assert all(p.requires_grad for p in weights.trained.values())


def test_the_weights_come_back_when_the_block_fails() -> None:
    policy = ToyPolicy()
    weights = weights_of(policy, "old", "reference")
    move(weights)
    moved = weights.values("train")
    views: list[WeightView] = ["old", "reference"]
    for view in views:
        with pytest.raises(RuntimeError, match="judge"), weights.view(view):
            raise RuntimeError("judge")
        for name, value in weights.values("train").items():
            assert torch.equal(value, moved[name])


def test_a_copy_follows_at_its_own_speed_and_says_when_it_is_the_trained_one() -> None:
    weights = weights_of(ToyPolicy(), "old", "ema")
    assert weights.equals_trained("old")
    start = weights.values("train")
    move(weights)
    assert not weights.equals_trained("old")
    weights.move_copy("old", decay=0.0)
    weights.move_copy("ema", decay=0.75)
    assert weights.equals_trained("old")
    assert not weights.equals_trained("ema")
    for name, value in weights.values("ema").items():
        assert torch.allclose(value, start[name] + 0.0625)


@pytest.mark.parametrize("lora", [True, False])
def test_what_is_saved_is_loaded_again(lora: bool) -> None:
    first, second = (weights_of(ToyPolicy(), "old", lora=lora) for _ in range(2))
    move(first)
    for view in first.saved_views:
        second.load(view, first.values(view))
    for view in first.saved_views:
        for name, value in first.values(view).items():
            assert torch.equal(second.values(view)[name], value)
    assert not second.equals_trained("old")
    with pytest.raises(ValueError, match="other parameters"):
        second.load("train", {"nothing": torch.zeros(1)})


def test_exported_adapters_get_their_names_back() -> None:
    values = weights_of(ToyPolicy()).values("train")
    assert lora_adapters.imported(lora_adapters.exported(values)).keys() == values.keys()
    assert all("default" not in name for name in lora_adapters.exported(values))


def test_adapters_of_one_seed_are_equal_and_leave_the_random_state_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second = (weights_of(ToyPolicy()).values("train") for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), state)


def test_peft_loads_the_best_weights(tmp_path: Path) -> None:
    policy = ToyPolicy()
    weights = weights_of(policy)
    move(weights)
    layout = WeightsFormat(
        LoraSettings(rank=2, alpha=4.0), lora_adapters.target_names(weights.trained)
    )
    folder = TrainingFolder(tmp_path).save_best(1, weights.values("train"), layout, view="train")
    plain = ToyPolicy().module
    loaded = PeftModel.from_pretrained(plain, str(folder))
    inside = torch.randn(3, 12, generator=torch.Generator().manual_seed(1))
    for name in ("painter.leave", "cell.mix"):
        wanted = policy.module.get_submodule(name)(inside)
        assert torch.equal(loaded.get_submodule(f"base_model.model.{name}")(inside), wanted)
