"""Coroutines in the background: order, bounds, and an orderly end."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabench.judges.stream import in_order


@dataclass
class Sleeper:
    """Its work takes as long as the item says, in milliseconds; a negative one raises."""

    begun: list[int] = field(default_factory=list)
    closed: bool = False

    async def work(self, rank: int, item: int) -> tuple[int, int]:
        self.begun.append(rank)
        await asyncio.sleep(abs(item) / 1000)
        if item < 0:
            raise ValueError(f"item {rank}")
        return rank, item

    async def close(self) -> None:
        self.closed = True

    async def open(self) -> Sleeper:
        return self


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=25), st.integers(1, 30))
def test_results_come_in_order_whatever_takes_how_long(items: list[int], window: int) -> None:
    sleeper = Sleeper()
    assert list(in_order(items, sleeper.open, window=window)) == list(enumerate(items))
    assert sleeper.closed


def test_an_endless_source_is_read_only_as_far_as_the_window() -> None:
    sleeper = Sleeper()
    results = in_order(itertools.repeat(1), sleeper.open, window=10)
    assert [rank for rank, _ in itertools.islice(results, 5)] == [0, 1, 2, 3, 4]
    results.close()  # type: ignore[attr-defined]
    assert len(sleeper.begun) <= 15
    assert sleeper.closed


def test_an_exception_arrives_in_its_place_and_ends_the_stream() -> None:
    sleeper = Sleeper()
    results = in_order([3, 1, -1, 1], sleeper.open, window=4)
    assert [next(results), next(results)] == [(0, 3), (1, 1)]
    with pytest.raises(ValueError, match="item 2"):
        next(results)
    assert sleeper.closed


def test_an_exception_in_the_source_is_the_callers() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise KeyError("source")

    with pytest.raises(KeyError, match="source"):
        list(in_order(source(), Sleeper().open, window=4))


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    for _ in range(3):
        list(in_order([1, 2], Sleeper().open, window=2))
    assert threading.active_count() == before
