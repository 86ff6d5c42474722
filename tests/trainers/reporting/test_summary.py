"""The result of a training in one sentence."""

from __future__ import annotations

import pytest

from alphatrainers.reporting.history import CurvePoint, Rise
from alphatrainers.reporting.summary import outcome_sentence


def point(step: int, value: float | None, rise: Rise | None = None) -> CurvePoint:
    return CurvePoint(step=step, name="g", view="train", value=value, from_start=rise)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.2, "higher than before training"),
        (-0.2, -0.01, "lower than before training"),
        (-0.1, 0.2, "no clear difference from before training"),
    ],
)
def test_the_paired_interval_decides(low: float, high: float, verdict: str) -> None:
    last = point(20, 0.6, Rise((low + high) / 2, low, high, 9))
    assert verdict in outcome_sentence([point(0, 0.5), last])


def test_the_curve_that_decides_is_the_one_of_the_best_weights() -> None:
    def of(view: str, *values: float) -> list[CurvePoint]:
        return [
            CurvePoint(step=20 * n, name="g", view=view, value=value)
            for n, value in enumerate(values)
        ]

    points = [*of("train", 0.5, 0.6), *of("ema", 0.5, 0.7)]
    assert "→ 0.700" in outcome_sentence(points, "ema")
    assert "→ 0.600" in outcome_sentence(points)
    assert "→ 0.600" in outcome_sentence(points, "old"), "one that was not measured"


def test_the_last_measured_point_counts_not_the_best_one_and_not_a_gap() -> None:
    points = [point(0, 0.5), point(10, 0.9), point(20, 0.6), point(30, None)]
    assert outcome_sentence(points) == "Held-out score 0.500 → 0.600 after step 20 (g)."


def test_before_training_and_without_validations_nothing_is_claimed() -> None:
    assert outcome_sentence([]) == "No held-out score was measured."
    assert outcome_sentence([point(0, 0.5)]) == "Held-out score before training: 0.500 (g)."
