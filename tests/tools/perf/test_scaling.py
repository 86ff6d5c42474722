"""The model of many devices: its sums by hand, and what no number of devices can change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tools.perf.scaling import MeasuredTimes, read_training, scaling_table, step_time

TIMES = MeasuredTimes(
    rollout=2.0, update=3.0, optimiser=0.5, judge_rate=1.0, judges=4.0, prompts=8, group=4,
    batch=2, gradient_bytes=1e9, bandwidth=1e9, validation_images=10, validate_every=5,
)  # fmt: skip


def test_the_phases_of_a_step_are_what_they_are_by_hand() -> None:
    alone, four = step_time(TIMES, 1), step_time(TIMES, 4)
    # 32 images; judges need 8 s, less than the rollout, and half a second for the last batch.
    assert tuple(alone) == (64.0, 0.5, 96.5, 0.0, 4.0)
    # The last batches of all devices, and a ring of 4: 2 * 3/4 of a gigabyte; 3 of 10 images each.
    assert tuple(four) == (16.0, 2.0, 24.5, 1.5, 1.2)


def test_more_devices_than_prompts_gain_nothing_but_validation() -> None:
    eight, many = step_time(TIMES, 8), step_time(TIMES, 80)
    assert (many.rollout, many.update, many.waiting) == (eight.rollout, eight.update, eight.waiting)
    assert many.validation < eight.validation


def test_slow_judges_bound_the_rate_of_images() -> None:
    slow = replace(TIMES, judges=0.1)
    spent = step_time(slow, 8)
    assert spent.rollout + spent.waiting == pytest.approx(320.0)


def test_the_times_of_a_training_are_read_from_its_metrics(tmp_path: Path) -> None:
    rows = [{"rollout": 99.0, "reward_wait": 9.0, "update": 99.0}] + [
        {"rollout": 64.0, "reward_wait": 0.5, "update": 96.0}
    ] * 2
    lines = [json.dumps({"seconds": row}) for row in rows]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    found = read_training(tmp_path, TIMES)
    assert (found.rollout, found.update, found.judge_rate) == (2.0, 3.0, 4.0)
    assert "| 64 |" in scaling_table(found)
