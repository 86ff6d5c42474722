"""Charts: complete SVG, round ticks, gaps that stay gaps."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphatrainers.reporting.svg import Chart, Line, svg, ticks

CURVE = [(0.0, 0.1), (1.0, 0.4), (2.0, None), (3.0, 0.3), (4.0, 0.2)]


def svg_of(*lines: Line, zero: bool = False) -> str:
    return svg([Chart(title="a < b", x="steps", y="score", lines=lines, zero=zero)])


def tags(text: str) -> list[str]:
    return [element.tag.rpartition("}")[2] for element in ET.fromstring(text).iter()]


@given(st.floats(-1e6, 1e6), st.just(0.0) | st.floats(1e-3, 1e6))
def test_ticks_are_evenly_apart_and_enclose_the_values(low: float, span: float) -> None:
    values = ticks(low, low + span)
    assert 2 <= len(values) <= 8
    slack = 1e-6 * max(1.0, abs(low), abs(low + span))
    assert values[0] <= low + slack
    assert values[-1] >= low + span - slack
    steps = [after - before for before, after in itertools.pairwise(values)]
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-3)


def test_an_axis_of_two_steps_has_no_mark_between_them() -> None:
    assert ticks(1, 2, whole=True) == [1.0, 2.0]
    assert ticks(0, 60, whole=True) == ticks(0, 60)


def test_numbers_too_small_for_decimals_keep_within_the_margin() -> None:
    tiny = Chart(title="tiny", x="x", y="y", lines=[Line(name="", points=[(0, 0.0), (1, 8e-14)])])
    assert ">8e-14</text>" in svg([tiny])


def test_a_gap_parts_a_curve_and_its_title_is_escaped() -> None:
    text = svg_of(Line(name="x", points=CURVE))
    assert tags(text).count("polyline") == 2
    assert "a &lt; b" in text


def test_a_point_between_two_gaps_is_still_to_be_seen() -> None:
    text = svg_of(Line(name="x", points=[(0, None), (1, 0.5), (2, None)]))
    assert tags(text).count("circle") == 1


def test_bands_bars_and_dots_appear_only_where_requested() -> None:
    plain = svg_of(Line(name="x", points=CURVE))
    ends = [(0.0, 0.0, 0.2), (1.0, 0.3, 0.5)]
    rich = svg_of(Line(name="x", points=CURVE, band=ends, bars=ends, dots=True))
    assert tags(plain).count("polygon") == tags(plain).count("circle") == 0
    assert tags(rich).count("polygon") == 1
    assert tags(rich).count("circle") == 4
    assert tags(rich).count("line") - tags(plain).count("line") >= 2 * 3


def test_everything_lies_within_the_chart() -> None:
    text = svg_of(Line(name="x" * 30, points=[(0, -5.0), (100, 900.0)], dots=True), zero=True)
    for x, y in re.findall(r'cx="([\d.-]+)" cy="([\d.-]+)"', text):
        assert 0 < float(x) < 480
        assert 0 < float(y) < 330


def test_a_chart_without_values_says_so() -> None:
    text = svg_of(Line(name="x", points=[(0, None)]))
    assert "nothing measured" in text
    assert "polyline" not in text


def test_more_lines_than_colours_are_distinguished_by_dashes() -> None:
    text = svg_of(*(Line(name=str(n), points=[(0, 0), (1, n)], colour=n) for n in range(8)))
    strokes = re.findall(r'<polyline [^>]*?(stroke="[^>]*)/>', text)
    assert len(set(strokes)) == 8


def test_several_charts_stand_side_by_side() -> None:
    one = Chart(title="t", x="x", y="y", lines=[Line(name="n", points=CURVE)])
    root = ET.fromstring(svg([one, one, one], columns=2))
    assert root.get("viewBox") == "0 0 960 660"
