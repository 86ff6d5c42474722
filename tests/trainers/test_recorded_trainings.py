"""Toy trainings against the metrics of the version before the restructuring, every algorithm.

Recorded on one machine to the last digit; compared to 1e-4, since another CPU rounds otherwise.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.toy_training import train

RECORDED: dict[str, Any] = json.loads(
    Path(__file__).with_name("recorded_trainings.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", RECORDED)
def test_a_training_has_the_metrics_of_the_version_before(name: str, tmp_path: Path) -> None:
    recorded = RECORDED[name]
    train(tmp_path / "run", "training.steps=2", "training.seed=1", *recorded["settings"])
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    for line, values in zip(lines, recorded["values"], strict=True):
        found = json.loads(line)["values"]
        assert list(found) == list(values)
        assert found == pytest.approx(values, rel=1e-4, abs=1e-7)
