"""The log: one line a step, nothing made up, and the places beside it."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphatrainers.guards import Difference
from alphatrainers.metrics import MetricsLog, Sums, joined_sums, open_sinks
from alphatrainers.protocols import ValidationPoint
from alphatrainers.settings import LoggingSettings
from alphatrainers.validation_curve import MeasuredPoint


class Kept:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.written: list[tuple[int, Mapping[str, float]]] = []
        self.images: list[tuple[int, str, Image.Image]] = []
        self.closed = False

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.written.append((step, values))

    def write_image(self, step: int, name: str, image: Image.Image) -> None:
        self.images.append((step, name, image))

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
    assert sink.written == [(4, named)], "sinks count steps done"
    assert sink.closed


def test_validations_and_panels_go_to_the_sinks_and_a_gap_does_not() -> None:
    panel = Image.new("RGB", (4, 4))
    sink = Kept()
    log = MetricsLog(None, [sink])
    point = ValidationPoint(value=0.5, low=0.4, high=0.6, items={})
    rise = Difference(0.1, 0.0, 0.2, 9)
    known = MeasuredPoint("geneval:mini", "train", point, best=True, rise=rise)
    gap = MeasuredPoint("geneval:mini", "ema", None, best=False)
    log.write_validation(20, [known, gap], panel)
    name = "validation/geneval:mini/train"
    values = {
        f"{name}/score": 0.5, f"{name}/low": 0.4, f"{name}/high": 0.6, f"{name}/difference": 0.1,
    }  # fmt: skip
    assert sink.written == [(20, values)]
    assert sink.images == [(20, "panel", panel)]


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
    sink.write(1, {"a": 1.0})
    sink.write_image(1, "panel", Image.new("RGB", (4, 4)))
    sink.close()
    written = b"".join(file.read_bytes() for file in (tmp_path / "tensorboard").iterdir())
    assert b"panel" in written
    assert b"PNG" in written


def test_wandb_gets_numbers_and_panels_by_steps_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a module of that name that remembers; the real one needs an account."""
    (tmp_path / "wandb.py").write_text(
        "logged = []\n"
        "Image = repr\n"
        "class Run:\n"
        "    def log(self, values, step): logged.append((step, values))\n"
        "    def finish(self): logged.append('finished')\n"
        "def init(**settings): return Run()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    settings = LoggingSettings(tensorboard=False, wandb="project")
    (sink,) = open_sinks(settings, tmp_path, run="r")
    log = MetricsLog(None, [sink])
    log.write(0, {"grad_norm": 1.0}, seconds={})
    point = ValidationPoint(value=0.5, low=0.4, high=0.6, items={})
    log.write_validation(
        1, [MeasuredPoint("g", "train", point, best=True)], Image.new("RGB", (4, 4))
    )
    log.close()
    first, second, panel, last = sys.modules["wandb"].logged
    monkeypatch.delitem(sys.modules, "wandb")
    assert first == (1, {"grad_norm": 1.0})
    assert second[0] == 1
    assert second[1]["validation/g/train/score"] == 0.5
    assert (panel[0], list(panel[1])) == (1, ["panel"])
    assert last == "finished"
