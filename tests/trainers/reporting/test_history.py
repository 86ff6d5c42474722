"""A training's folder read back, and its curve in a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alphabench.core.errors import AlphaBenchError
from alphatrainers.reporting.history import (
    CurvePoint,
    Rise,
    curve_text,
    curves,
    images_at,
    read_points,
    read_steps,
)

LINE: dict[str, Any] = {
    "step": 20, "name": "b", "view": "train", "seconds": {"point": 2.0}, "value": 0.6, "low": 0.5,
    "high": 0.7, "samples": 9, "best": True, "below_best": None, "folder": "validation/x",
    "from_start": {"value": 0.1, "low": -0.1, "high": 0.3, "pairs": 9},
}  # fmt: skip


def point(step: int, value: float | None, *, view: str = "train") -> CurvePoint:
    if value is None:
        return CurvePoint(step=step, name="b", view=view, value=None)
    rise = Rise(value - 0.2, value - 0.3, value - 0.1, 9)
    return CurvePoint(
        step=step, name="b", view=view, value=value, low=value - 0.1, high=value + 0.1,
        from_start=rise,
    )  # fmt: skip


def test_written_lines_are_read_and_an_incomplete_last_line_is_not(tmp_path: Path) -> None:
    fall = {"value": -0.2, "low": -0.3, "high": -0.1, "pairs": 9}
    gap = {"step": 40, "name": "b", "view": "train", "seconds": {}, "value": None}
    gap["below_best"] = fall
    text = "\n".join([json.dumps(LINE), json.dumps(gap), '{"step": 60, "na'])
    (tmp_path / "validation.jsonl").write_text(text)
    first, second = read_points(tmp_path)
    assert (first.value, first.folder, first.seconds["point"]) == (0.6, "validation/x", 2.0)
    assert first.from_start == Rise(0.1, -0.1, 0.3, 9)
    assert (first.below_best, second.below_best) == (None, Rise(-0.2, -0.3, -0.1, 9))
    assert (second.step, second.value, second.low, second.from_start) == (40, None, None, None)


@pytest.mark.parametrize(
    "line", ["{oops", "[]", "{}", '{"step": 1}', json.dumps({**LINE, "value": "x"}), "[" * 99_999]
)
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "validation.jsonl").write_text(f"{json.dumps(LINE)}\n{line}\n{json.dumps(LINE)}\n")
    with pytest.raises(AlphaBenchError, match="line 2 of"):
        read_points(tmp_path)


def test_keys_of_another_version_are_passed_over(tmp_path: Path) -> None:
    rise = {**LINE["from_start"], "more": 1}
    row = json.dumps({**LINE, "more": 1, "from_start": rise})
    (tmp_path / "validation.jsonl").write_text(f"\ufeff{row}\n\n")
    assert read_points(tmp_path)[0].from_start == Rise(0.1, -0.1, 0.3, 9)


def test_a_folder_without_a_validation_has_no_points(tmp_path: Path) -> None:
    assert read_points(tmp_path) == []
    assert read_steps(tmp_path) == []


def test_images_are_counted_by_steps_done(tmp_path: Path) -> None:
    rows = [{"step": n, "values": {"images": 96.0 * (n + 1)}, "seconds": {}} for n in range(2)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert images_at(read_steps(tmp_path)) == {0: 0, 1: 96, 2: 192}


def test_views_of_one_validation_are_curves_apart() -> None:
    found = curves([point(0, 0.2), point(0, 0.2, view="ema"), point(9, 0.4)])
    assert [p.step for p in found["b", "train"]] == [0, 9]
    assert [p.step for p in found["b", "ema"]] == [0]


def test_a_curve_in_a_terminal_shows_each_point_between_its_ends_and_names_gaps() -> None:
    text = curve_text([point(0, 0.2), point(10, 0.5), point(20, None)])
    head, scale, first, second, gap = text.splitlines()
    assert "held out" in head
    assert "0.10" in scale
    assert "0.60" in scale
    assert "0.200" in first
    assert "+" not in first, "the first point is compared with nothing"
    assert second.endswith("0.300 [+0.200, +0.400]")
    assert first.index("●") < second.index("●")
    assert first.count("─") == second.count("─") > 10, "equal intervals are equally wide"
    assert "could not be measured" in gap
    assert max(map(len, text.splitlines())) <= 100


def test_a_curve_without_any_spread_is_plotted_as_well() -> None:
    flat = CurvePoint(step=0, name="b", view="train", value=0.5, low=0.5, high=0.5)
    assert "0.500" in curve_text([flat])
