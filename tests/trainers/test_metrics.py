"""The log: one line a step, nothing made up, and the places beside it."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphatrainers.metrics import MetricsLog, Sums, joined_sums, open_sinks
from alphatrainers.settings import LoggingSettings


class Kept:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.written: list[tuple[int, Mapping[str, float]]] = []
        self.closed = False

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.written.append((step, values))

    def close(self) -> None:
        self.closed = True


def test_a_line_keeps_numbers_and_seconds_apart_and_leaves_out_what_is_not_finite(
    tmp_path: Path,
) -> None:
    sink = Kept()
    log = MetricsLog(tmp_path / "metrics.jsonl", [sink])
    values = {"b": math.nan, "a": 1.0, "c": math.inf}
    log.write(3, values, seconds={"rollout": 2.0}, memory={"process_peak_gib": 0.5})
    log.close()
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line == {
        "step": 3, "version": 2, "values": {"a": 1.0}, "seconds": {"rollout": 2.0},
        "memory": {"process_peak_gib": 0.5},
    }  # fmt: skip
    named = {"a": 1.0, "seconds/rollout": 2.0, "memory/process_peak_gib": 0.5}
    assert sink.written == [(3, named)]
    assert sink.closed


def test_means_are_over_all_processes_and_absent_where_nothing_was_counted() -> None:
    one, other = Sums(), Sums()
    one.add({"ratio": (3.0, 2.0), "kl": (0.0, 0.0)})
    other.add({"ratio": (7.0, 2.0)})
    assert joined_sums([one, other]).means() == {"ratio": 2.5}


def test_wandb_is_refused_where_it_is_not_installed(tmp_path: Path) -> None:
    if importlib.util.find_spec("wandb") is not None:
        pytest.skip("wandb is installed")
    with pytest.raises(AlphaBenchError, match="wandb is not installed"):
        open_sinks(LoggingSettings(tensorboard=False, wandb="project"), tmp_path, run="r")


def test_tensorboard_gets_the_numbers_where_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    (sink,) = open_sinks(LoggingSettings(), tmp_path, run="r")
    sink.write(0, {"a": 1.0})
    sink.close()
    assert any((tmp_path / "tensorboard").iterdir())
