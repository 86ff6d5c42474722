"""A training's curves as charts."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from alphatrainers.reporting.history import CurvePoint, MetricsLine
from alphatrainers.reporting.plots import (
    metric_charts,
    reward_chart,
    reward_summary,
    smoothed,
    validation_charts,
)
from alphatrainers.reporting.svg import svg


def step(number: int, **values: float) -> MetricsLine:
    found = {f"reward/{name.replace('__', '/')}": value for name, value in values.items()}
    return MetricsLine(step=number, values=found, seconds={})


STEPS = [
    step(n, mean=n / 10, std=0.2, tags__mean=1.0, tags__std=0.2, tags__questions__mean=4.0)
    for n in range(20)
]


def test_rewards_are_shown_raw_and_smoothed_and_other_metrics_are_not_rewards() -> None:
    chart = reward_chart(STEPS)
    assert [line.name for line in chart.lines] == ["", "tags", "", "total"]
    raw, mean = chart.lines[2:]
    assert [raw.points[0], mean.points[-1]] == [(1, 0.0), (20, 1.7)]


def test_a_running_mean_looks_back_only_and_keeps_gaps() -> None:
    found = smoothed([(0, 2.0), (1, None), (2, 4.0), (3, 8.0)], over=3)
    assert found == [(0, 2.0), (1, None), (2, 3.0), (3, 6.0)]


def test_a_summary_is_the_mean_of_the_first_and_the_last_steps() -> None:
    assert reward_summary(STEPS) == {"tags": (1.0, 1.0), "total": (0.2, 1.7)}


def test_refined_images_have_a_chart_beside_those_that_they_started_from() -> None:
    steps = [
        MetricsLine(
            step=n,
            values={
                "refinement/refined/mean": 0.7 + n / 100,
                "refinement/initial/mean": 0.7,
                "refinement/improved_share": 0.4,
            },
            seconds={},
        )
        for n in range(3)
    ]
    chart, share = metric_charts(steps)
    assert [(line.name, line.points[-1]) for line in chart.lines] == [
        ("refined", (3, 0.72)),
        ("initial", (3, 0.7)),
    ]
    assert [line.name for line in share.lines] == ["share"]


def test_each_validation_has_a_chart_and_each_view_a_line() -> None:
    points = [
        CurvePoint(step=n, name=name, view=view, value=0.5, low=0.4, high=0.6)
        for n in (0, 10)
        for name in ("a", "b")
        for view in ("train", "ema")
    ]
    charts = validation_charts(points)
    assert [len(chart.lines) for chart in charts] == [2, 2]
    assert [bool(line.band) for line in charts[0].lines] == [True, False]
    ET.fromstring(svg([*charts, reward_chart(STEPS)], columns=3))
