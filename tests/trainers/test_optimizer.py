"""One update: learning rates by expert, clipping, warm-up, and nothing from a broken gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from alphabench.core.errors import TrainingStoppedError
from alphatrainers.distributed import Processes
from alphatrainers.optimizer import WeightOptimizer
from alphatrainers.settings import OptimiserSettings, TrainingSettings
from alphatrainers.weight_sets import WeightSets
from tests.support.toy_policy import ToyPolicy


def built(**settings: Any) -> tuple[WeightSets, WeightOptimizer]:
    optimiser = OptimiserSettings(**{"weight_decay": 0.0, **settings})
    training = TrainingSettings(steps=1, lora=None, optimiser=optimiser)
    weights = WeightSets(ToyPolicy(), training, views=frozenset({"old"}), processes=Processes())
    return weights, WeightOptimizer(weights, optimiser, Processes(), n_updates=5)


def give(weights: WeightSets, value: float) -> None:
    for parameter in weights.trained.values():
        parameter.grad = torch.full_like(parameter, value)


def moved(weights: WeightSets, before: dict[str, torch.Tensor], expert: str) -> float:
    """Largest change of an expert's parameters."""
    names = [name for name, owner in weights.expert_of.items() if owner == expert]
    after = weights.values("train")
    return max(float((after[name] - before[name]).abs().max()) for name in names)


def size_of_update(weights: WeightSets, engine: WeightOptimizer) -> float:
    before = weights.values("train")
    give(weights, 1.0)
    engine.update()
    return moved(weights, before, "gen")


def test_each_expert_moves_at_its_own_rate() -> None:
    weights, engine = built(lr=1e-2, experts={"und": 1e-4})
    before = weights.values("train")
    give(weights, 1.0)
    engine.update()
    # Adam's first step is the learning rate in every element.
    assert moved(weights, before, "gen") == pytest.approx(1e-2, rel=1e-3)
    assert moved(weights, before, "und") == pytest.approx(1e-4, rel=1e-3)
    assert not weights.equals_trained("old")


def test_the_gradient_is_scaled_to_its_norm_over_all_parameters() -> None:
    weights, engine = built(gradient_norm=0.5)
    give(weights, 2.0)
    number = sum(parameter.numel() for parameter in weights.trained.values())
    assert engine.update() == pytest.approx(2.0 * number**0.5)
    moments = [v for key, v in engine.state().items() if key.startswith("exp_avg.")]
    norm = torch.cat([moment.flatten() for moment in moments]).norm() / 0.1
    assert float(norm) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing_and_stops(broken: float) -> None:
    weights, engine = built()
    before = weights.values("train")
    give(weights, broken)
    with pytest.raises(TrainingStoppedError, match="the gradient of update 0"):
        engine.update()
    after = weights.values("train")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert engine.state() == {}


def test_the_rate_rises_over_the_warm_up() -> None:
    weights, engine = built(lr=1e-2, warmup_updates=4)
    steps = [size_of_update(weights, engine) for _ in range(5)]
    assert steps == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01], rel=1e-2)


@pytest.mark.parametrize(
    ("warmup", "expected"),
    [(0, [0.01, 0.008, 0.006, 0.004, 0.002]), (2, [0.005, 0.01, 0.01, 0.02 / 3, 0.01 / 3])],
)
def test_a_linear_schedule_falls_to_nothing_after_the_last_update(
    warmup: int, expected: list[float]
) -> None:
    weights, engine = built(lr=1e-2, warmup_updates=warmup, schedule="linear")
    assert [size_of_update(weights, engine) for _ in range(5)] == pytest.approx(expected, rel=1e-2)


def test_a_restored_optimizer_goes_on_as_the_uninterrupted_one() -> None:
    (one, engine), (other, restored) = built(), built()
    for value in (1.0, -0.5):
        give(one, value)
        engine.update()
    other.load("train", one.values("train"))
    restored.restore(engine.state(), updates=engine.updates)
    for weights, each in ((one, engine), (other, restored)):
        give(weights, 0.25)
        each.update()
    values = one.values("train"), other.values("train")
    assert all(torch.equal(values[0][name], values[1][name]) for name in values[0])
    assert engine.checksum() == restored.checksum()
