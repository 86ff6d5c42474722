"""Schedules and decays, by their laws."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphatrainers.algorithms.schedules import DECAYS, Decay, sigmas_of_points, sigmas_of_steps

SHIFTS = st.floats(0.1, 20.0)


@given(st.integers(2, 100), SHIFTS)
def test_a_schedule_falls_from_one_to_zero(n_points: int, shift: float) -> None:
    levels = sigmas_of_points(n_points, shift=shift)
    assert len(levels) == n_points
    assert (levels[0], levels[-1]) == (1.0, 0.0)
    assert all(high > low for high, low in pairwise(levels))
    assert levels == sigmas_of_steps(n_points - 1, shift=shift)


@given(SHIFTS)
def test_a_shift_and_its_inverse_mirror_each_other(shift: float) -> None:
    up = sigmas_of_points(9, shift=shift)
    down = sigmas_of_points(9, shift=1.0 / shift)
    assert up == pytest.approx([1.0 - level for level in reversed(down)], abs=1e-12)


def test_sixteen_points_of_bagel_are_fifteen_steps() -> None:
    assert len(sigmas_of_points(16, shift=3.0)) - 1 == 15


@pytest.mark.parametrize("shift", [0.0, -1.0, float("nan"), float("inf")])
def test_a_shift_that_is_no_positive_number_is_refused(shift: float) -> None:
    with pytest.raises(ValueError, match="positive number"):
        sigmas_of_points(4, shift=shift)


def test_a_schedule_without_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves no step"):
        sigmas_of_steps(0)


@given(st.sampled_from(sorted(DECAYS)), st.integers(0, 10_000))
def test_a_decay_never_falls_and_never_freezes_the_old_policy(name: str, step: int) -> None:
    decay = DECAYS[name]
    assert 0.0 <= decay.at(step) <= decay.at(step + 1) < 1.0


@pytest.mark.parametrize(("rate", "cap"), [(-1.0, 0.5), (0.1, 1.0), (0.1, -0.1)])
def test_a_decay_that_would_never_follow_is_refused(rate: float, cap: float) -> None:
    with pytest.raises(ValueError, match="is no decay"):
        Decay(rate=rate, cap=cap)
