"""Toy trainings against the metrics of the version before the restructuring, every algorithm.

Recorded on one machine to the last digit, under the names of then; compared to 1e-4, since another
CPU rounds otherwise.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alphatrainers.reporting.history import read_steps
from alphatrainers.reporting.old_metric_names import values_of_version_1
from tests.support.toy_training import train

RECORDED: dict[str, Any] = json.loads(
    Path(__file__).with_name("recorded_trainings.json").read_text(encoding="utf-8")
)
SPARED = {
    f"forward_passes/{one}"
    for one in ("before/texts", "ema/texts", "old/texts", "reference/velocities")
}
"""Counts of passes that no loss needed, which are not made any more."""


@pytest.mark.parametrize("name", RECORDED)
def test_a_training_has_the_metrics_of_the_version_before(name: str, tmp_path: Path) -> None:
    recorded = RECORDED[name]
    train(tmp_path / "run", "training.steps=2", "training.seed=1", *recorded["settings"])
    for line, old in zip(read_steps(tmp_path / "run"), recorded["values"], strict=True):
        values = values_of_version_1(old)
        for name_of_count in SPARED - line.values.keys():
            values.pop(name_of_count, None)
        found = {name: value for name, value in line.values.items() if name in values}
        assert sorted(found) == sorted(values), "every old number has a place"
        assert found == pytest.approx(values, rel=1e-4, abs=1e-7)
        new = line.values.keys() - values.keys()
        assert new <= {"reward/std", "learning_rate", "learning_rate/gen", "learning_rate/und"}
