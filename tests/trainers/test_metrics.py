"""The log: one line a step, nothing made up, and the places beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from alphatrainers.guards import Difference
from alphatrainers.metrics import MetricsLog, Sums, joined_sums
from alphatrainers.protocols import ValidationPoint
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


def test_a_tracker_that_fails_is_reported_once_and_the_training_goes_on(tmp_path: Path) -> None:
    class Away(Kept):
        def write(self, step: int, values: Mapping[str, float]) -> None:
            raise ConnectionError("no route")

    said: list[str] = []
    away, kept = Away(), Kept()
    log = MetricsLog(tmp_path / "metrics.jsonl", [away, kept], report=said.append)
    for step in range(3):
        log.write(step, {"a": 1.0}, seconds={})
    log.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3
    assert [step for step, _ in kept.written] == [1, 2, 3]
    assert kept.closed
    assert len(said) == 1
    assert said[0].startswith("Away gets nothing more from this training: ConnectionError")
