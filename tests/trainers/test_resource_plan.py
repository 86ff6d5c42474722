"""The plan of a training: its work against the recorded cost model, and what it scales with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alphatrainers.image_algorithms import ImageLossSettings
from alphatrainers.resource_plan import ModelSizes, describe_plan, plan_resources
from alphatrainers.settings import (
    EmaSettings,
    TextLossSettings,
    TrainingSettings,
)

SEVEN_BILLION = ModelSizes(
    parameters=14e9,
    active_parameters=7e9,
    trained_parameters=1.6e8,
    latent_tokens=1026,
    branches=(2,) * 13 + (1, 1),
    window=range(10),
    read_tokens=0,
    context_bytes_per_token=57_344.0,
    activation_bytes_per_token=4e6,
    checkpointed_bytes_per_token=2e5,
    calls_per_image=10.0,
    judge_tokens_per_call=356.0,
    usd_per_million_tokens=0.5,
)


def sizes(**changes: Any) -> ModelSizes:
    fields = {name: getattr(SEVEN_BILLION, name) for name in ModelSizes.__slots__}
    return ModelSizes(**{**fields, **changes})


def training(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{"steps": 10, "text": TextLossSettings(kind="none"), **changes})


RECIPES = {
    "AlphaGRPO t2i (16 points, CFG, 10 trained)": sizes(),
    "AlphaGRPO reflect stage 2 (40 points, CFG text+img 3 branches, 5 trained)": sizes(
        branches=(3,) * 39, window=range(5)
    ),
    "UniGRPO-style (15 points, no CFG, 3 trained)": sizes(branches=(1,) * 14, window=range(3)),
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_work_is_that_of_the_recorded_cost_model(shared: Path, name: str) -> None:
    path = shared / "golden" / "trainer" / "cost_model.json"
    wanted = json.loads(path.read_text())[name]
    work = plan_resources(training(), RECIPES[name]).work
    assert work.sampled_images == pytest.approx(wanted["rollout_TFLOP"], abs=0.06)
    assert work.trained_images == pytest.approx(wanted["train_TFLOP"], abs=0.06)
    assert work.total == pytest.approx(wanted["total_TFLOP"], abs=0.06)


def test_awm_trains_without_guidance_at_its_own_levels() -> None:
    work = plan_resources(
        training(image=ImageLossSettings(kind="awm", levels=6)), SEVEN_BILLION
    ).work
    assert work.trained_images == pytest.approx(3 * 6 * 14.364, rel=1e-3)


def test_reference_and_old_weights_cost_a_replay_each() -> None:
    image = ImageLossSettings(kl_weights={"reference": 0.1, "old": 0.1})
    plain, more = (
        plan_resources(training(image=part), SEVEN_BILLION).work
        for part in (ImageLossSettings(), image)
    )
    assert more.other_weights == pytest.approx(2 * plain.trained_images / 3)


def test_sharding_divides_weights_and_recomputing_trades_memory_for_work() -> None:
    whole = plan_resources(training(lora=None, ema=EmaSettings()), SEVEN_BILLION, processes=4)
    parted = plan_resources(
        training(lora=None, ema=EmaSettings(), parallel="shard"), SEVEN_BILLION, processes=4
    )
    assert parted.memory.weights == pytest.approx(whole.memory.weights / 4)
    assert parted.memory.copies == pytest.approx(whole.memory.copies / 4)
    lean = plan_resources(training(recompute=True), SEVEN_BILLION)
    assert lean.memory.activations < whole.memory.activations
    assert lean.work.trained_images == pytest.approx(whole.work.trained_images * 4 / 3)


def test_devices_share_trajectories_and_change_neither_calls_nor_price() -> None:
    one, many = (plan_resources(training(), SEVEN_BILLION, processes=n) for n in (1, 5))
    assert (one.largest_share, many.largest_share) == (32 * 14, 7 * 14)
    assert (one.judge_calls, one.cost_usd) == (many.judge_calls, many.cost_usd)
    assert one.judge_calls == 4480
    assert one.cost_usd == pytest.approx(4480 * 356 * 10 * 0.5 / 1e6)


def test_the_plan_is_told_in_lines_and_says_that_it_estimates() -> None:
    text = describe_plan(plan_resources(training(), SEVEN_BILLION))
    assert "work a step" in text
    assert "448 (448 a device at most)" in text
    assert text.endswith("left out.")
