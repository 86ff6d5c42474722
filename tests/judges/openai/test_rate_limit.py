"""How many requests a judge gets at once: more while it can take them, fewer when it refuses."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.judges.openai.rate_limit import START, Clock, ConcurrencyLimit, Gate
from tests.judges.conftest import FakeTime


def test_the_limit_grows_by_half_a_round_trip_up_to_the_maximum() -> None:
    limit = ConcurrencyLimit(maximum=100)
    assert limit.current == START
    for _ in range(START):
        limit.succeeded(0.1)
    assert limit.current == 1.5 * START
    for _ in range(1000):
        limit.succeeded(0.1)
    assert limit.current == 100
    assert ConcurrencyLimit(maximum=4).current == 4


def level_after_a_while(capacity: int, maximum: int = 256) -> float:
    """The mean level at a host that refuses whatever exceeds `capacity` at once."""
    limit, now = ConcurrencyLimit(maximum=maximum), 0.0
    levels = []
    for _ in range(300):
        now += 0.1
        level = int(limit.current)
        for _ in range(min(level, capacity)):
            limit.succeeded(0.1)
        for _ in range(max(0, level - capacity)):
            limit.refused(sent_at=now - 0.001, now=now, retry_after=None)
        levels.append(min(level, capacity))
    return sum(levels[100:]) / 200


@pytest.mark.parametrize("capacity", [1, 3, 20, 32, 150])
def test_it_converges_near_the_capacity_of_the_host(capacity: int) -> None:
    assert level_after_a_while(capacity) >= 0.85 * capacity


@given(st.lists(st.sampled_from(["good", "bad", "late"]), max_size=300), st.integers(1, 40))
def test_the_limit_stays_between_one_and_the_maximum(events: list[str], maximum: int) -> None:
    limit, now = ConcurrencyLimit(maximum=maximum), 0.0
    for event in events:
        now += 0.05
        if event == "good":
            limit.succeeded(0.2)
        else:
            limit.refused(sent_at=now - 0.1, now=now, retry_after=1.0 if event == "late" else None)
        assert 1.0 <= limit.current <= maximum


def test_all_refusals_of_one_round_trip_count_as_one() -> None:
    limit = ConcurrencyLimit(maximum=100)
    for _ in range(600):
        limit.succeeded(1.0)
    before = limit.current
    for _ in range(50):
        limit.refused(sent_at=9.9, now=10.0, retry_after=None)
    assert limit.current == before - 1


def test_after_the_first_refusals_the_limit_is_what_the_host_accepted() -> None:
    limit = ConcurrencyLimit(maximum=100)
    limit.current = 48.0
    for accepted in range(47, 31, -1):
        limit.refused(sent_at=9.9, now=10.0, retry_after=None, accepted=accepted)
    assert limit.current == limit.ceiling == 32


def test_a_host_that_refuses_everything_at_first_still_gets_half_of_it() -> None:
    limit = ConcurrencyLimit(maximum=100)
    for accepted in range(31, -1, -1):
        limit.refused(sent_at=9.9, now=10.0, retry_after=None, accepted=accepted)
    assert limit.current == 16


def test_retry_after_holds_all_requests_until_then(fake_time: FakeTime) -> None:
    async def sent() -> list[float]:
        gate = Gate(ConcurrencyLimit(maximum=4), fake_time.clock)
        gate.limit.pause(7.0)
        times = []

        async def send(rank: int) -> None:
            async with gate.slot(rank):
                times.append(fake_time.seconds)

        await asyncio.gather(*(send(rank) for rank in range(3)))
        return times

    assert asyncio.run(sent()) == [7.0, 7.0, 7.0]


def test_no_more_than_the_limit_are_sent_at_once_and_the_earliest_first() -> None:
    async def sent() -> tuple[int, list[int]]:
        gate = Gate(ConcurrencyLimit(maximum=3), Clock())
        most, order = 0, []

        async def send(rank: int) -> None:
            nonlocal most
            async with gate.slot(rank):
                most = max(most, gate.under_way)
                order.append(rank)
                await asyncio.sleep(0.001)

        await asyncio.gather(*(send(rank) for rank in (9, 8, 7, 3, 1, 2, 0)))
        return most, order

    most, order = asyncio.run(sent())
    assert most == 3
    assert order[3:] == [0, 1, 2, 3] or order == [9, 8, 7, 0, 1, 2, 3]


def test_a_cancelled_request_frees_its_slot() -> None:
    async def under_way() -> int:
        gate = Gate(ConcurrencyLimit(maximum=1), Clock())

        async def hold() -> None:
            async with gate.slot(0):
                await asyncio.sleep(10)

        tasks = [asyncio.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with gate.slot(0):
            return gate.under_way

    assert asyncio.run(under_way()) == 1


def test_a_closed_gate_lets_no_request_pass_until_it_opens() -> None:
    async def events() -> list[str]:
        gate, seen = Gate(ConcurrencyLimit(maximum=4), Clock()), list[str]()

        async def send() -> None:
            async with gate.slot(0):
                seen.append("passed")

        gate.close()
        task = asyncio.create_task(send())
        await asyncio.sleep(0)
        seen.append("opened")
        gate.open()
        await task
        return seen

    assert asyncio.run(events()) == ["opened", "passed"]
