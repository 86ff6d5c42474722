"""Windows of trained steps."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphatrainers.algorithms.windows import (
    legal_starts,
    progressive_window,
    random_window,
    static_window,
)

COUNTS = st.integers(1, 12)


def test_a_static_window_stays() -> None:
    assert list(static_window(10, start=2, size=3)) == [2, 3, 4]


@pytest.mark.parametrize(("start", "size"), [(8, 3), (-1, 2), (0, 0)])
def test_a_static_window_outside_the_trajectory_is_refused(start: int, size: int) -> None:
    with pytest.raises(ValueError, match="is not within 10"):
        static_window(10, start=start, size=size)


@pytest.mark.parametrize(("size", "low", "high"), [(6, 0, 5), (2, 0, 11), (0, 0, 5), (2, -1, 5)])
def test_a_range_that_holds_no_window_is_refused(size: int, low: int, high: int) -> None:
    with pytest.raises(ValueError, match="fits between"):
        legal_starts(10, size=size, low=low, high=high)


def test_a_random_window_takes_every_legal_start_about_equally_often() -> None:
    starts = Counter(
        random_window(39, size=5, low=0, high=15, seed=3, rollout=rollout).start
        for rollout in range(2200)
    )
    assert sorted(starts) == list(range(11))
    assert all(140 < count < 260 for count in starts.values())


@given(st.integers(), st.integers(0, 10_000))
def test_a_random_window_depends_on_seed_and_rollout_alone(seed: int, rollout: int) -> None:
    first, again = (
        random_window(15, size=4, low=1, high=11, seed=seed, rollout=rollout) for _ in range(2)
    )
    assert first == again
    assert first.start >= 1
    assert first.stop <= 11


@given(st.integers(0, 500), COUNTS, COUNTS, COUNTS, COUNTS)
def test_a_progressive_window_that_restarts_is_never_empty(
    iteration: int, n_steps: int, size: int, iterations: int, stride: int
) -> None:
    window = progressive_window(
        iteration, n_steps=n_steps, size=size, iterations=iterations, stride=stride
    )
    assert 0 < len(window) <= size
    assert window.stop <= n_steps


def test_the_released_roll_back_skips_the_empty_window_where_no_position_is_the_end() -> None:
    found = [
        list(progressive_window(i, n_steps=5, size=2, iterations=1, stride=2, at_end="released"))
        for i in range(4)
    ]
    assert found == [[0, 1], [2, 3], [4], [0, 1]]


def test_unknown_ends_and_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="is unknown"):
        progressive_window(0, n_steps=5, size=2, iterations=1, stride=1, at_end="stop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        progressive_window(0, n_steps=5, size=2, iterations=1, stride=0)
