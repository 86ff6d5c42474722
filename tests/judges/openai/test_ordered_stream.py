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

from alphabench.judges.openai.ordered_stream import in_order


@dataclass
class Sleeper:
    """Its work takes as long as the item says, in milliseconds; a negative one raises."""

    begun: list[int] = field(default_factory=list)
    closed: bool = False
    stopped_by: Exception | None = None

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


def missed(item: int) -> tuple[int, int]:
    return -1, item


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=25), st.integers(1, 30))
def test_results_come_in_order_whatever_takes_how_long(items: list[int], window: int) -> None:
    sleeper = Sleeper()
    assert list(in_order(items, sleeper.open, window=window, missed=missed)) == list(
        enumerate(items)
    )
    assert sleeper.closed


def test_an_endless_source_is_read_only_as_far_as_the_window() -> None:
    sleeper = Sleeper()
    results = in_order(itertools.repeat(1), sleeper.open, window=10, missed=missed)
    assert [rank for rank, _ in itertools.islice(results, 5)] == [0, 1, 2, 3, 4]
    results.close()  # type: ignore[attr-defined]
    assert len(sleeper.begun) <= 15
    assert sleeper.closed


def test_an_exception_costs_its_own_result_alone_and_ends_the_stream() -> None:
    sleeper = Sleeper()
    results = in_order([3, 1, -1, 1, *[1] * 9], sleeper.open, window=4, missed=missed)
    given: list[tuple[int, int]] = []
    with pytest.raises(ValueError, match="item 2"):
        iter_with(results, given)
    assert given[:4] == [(0, 3), (1, 1), (-1, -1), (3, 1)]
    assert len(given) == len(sleeper.begun) <= 7
    assert sleeper.closed


def iter_with(results: Iterator[tuple[int, int]], given: list[tuple[int, int]]) -> None:
    """Collects until the exception, to which a plain `list` would lose the results."""
    for result in results:
        given.append(result)


def test_a_worker_that_is_stopped_gives_what_it_has_and_then_says_why() -> None:
    @dataclass
    class Stopping(Sleeper):
        async def work(self, rank: int, item: int) -> tuple[int, int]:
            if rank == 2:
                self.stopped_by = KeyError("full")
            return await super().work(rank, item)

    worker, given = Stopping(), list[tuple[int, int]]()
    with pytest.raises(KeyError, match="full"):
        iter_with(in_order([1] * 50, worker.open, window=4, missed=missed), given)
    assert given == [(rank, 1) for rank in worker.begun]
    assert 3 <= len(given) <= 8


def test_an_exception_in_the_source_is_the_callers() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise KeyError("source")

    with pytest.raises(KeyError, match="source"):
        list(in_order(source(), Sleeper().open, window=4, missed=missed))


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    for _ in range(3):
        list(in_order([1, 2], Sleeper().open, window=2, missed=missed))
    assert threading.active_count() == before
