"""How fast a judge is asked: up while it bears it, down when it objects."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.judges.openai.rate_limit import START, Clock, Gate, Pace
from tests.judges.conftest import FakeTime


def test_the_level_grows_by_half_a_round_up_to_the_most() -> None:
    pace = Pace(most=100)
    assert pace.limit == START
    for _ in range(START):
        pace.succeeded(0.1)
    assert pace.limit == 1.5 * START
    for _ in range(1000):
        pace.succeeded(0.1)
    assert pace.limit == 100
    assert Pace(most=4).limit == 4


def settled_level(bears: int, most: int = 256) -> float:
    """The level after a while at a host that refuses whatever goes beyond `bears` at once."""
    pace, now = Pace(most=most), 0.0
    levels = []
    for _ in range(300):
        now += 0.1
        level = int(pace.limit)
        for _ in range(min(level, bears)):
            pace.succeeded(0.1)
        for _ in range(max(0, level - bears)):
            pace.objected(sent_at=now - 0.001, now=now, retry_after=None)
        levels.append(min(level, bears))
    return sum(levels[100:]) / 200


@pytest.mark.parametrize("bears", [1, 3, 20, 32, 150])
def test_it_settles_near_what_the_host_bears(bears: int) -> None:
    assert settled_level(bears) >= 0.85 * bears


@given(st.lists(st.sampled_from(["good", "bad", "late"]), max_size=300), st.integers(1, 40))
def test_the_level_stays_between_one_and_the_most(events: list[str], most: int) -> None:
    pace, now = Pace(most=most), 0.0
    for event in events:
        now += 0.05
        if event == "good":
            pace.succeeded(0.2)
        else:
            pace.objected(sent_at=now - 0.1, now=now, retry_after=1.0 if event == "late" else None)
        assert 1.0 <= pace.limit <= most


def test_all_refusals_of_one_round_are_one_piece_of_news() -> None:
    pace = Pace(most=100)
    for _ in range(600):
        pace.succeeded(1.0)
    before = pace.limit
    for _ in range(50):
        pace.objected(sent_at=9.9, now=10.0, retry_after=None)
    assert pace.limit == before - 1


def test_after_the_first_refusals_the_limit_is_what_the_host_accepted() -> None:
    pace = Pace(most=100)
    pace.limit = 48.0
    for accepted in range(47, 31, -1):
        pace.objected(sent_at=9.9, now=10.0, retry_after=None, accepted=accepted)
    assert pace.limit == pace.ceiling == 32


def test_a_host_that_refuses_all_at_first_is_not_taken_to_bear_nothing() -> None:
    pace = Pace(most=100)
    for accepted in range(31, -1, -1):
        pace.objected(sent_at=9.9, now=10.0, retry_after=None, accepted=accepted)
    assert pace.limit == 16


def test_retry_after_holds_everybody_until_then(fake_time: FakeTime) -> None:
    async def turns() -> list[float]:
        gate = Gate(Pace(most=4), fake_time.clock)
        gate.pace.pause(7.0)
        times = []

        async def one(rank: int) -> None:
            async with gate.turn(rank):
                times.append(fake_time.seconds)

        await asyncio.gather(*(one(rank) for rank in range(3)))
        return times

    assert asyncio.run(turns()) == [7.0, 7.0, 7.0]


def test_no_more_go_at_once_than_the_level_and_the_earliest_first() -> None:
    async def turns() -> tuple[int, list[int]]:
        gate = Gate(Pace(most=3), Clock())
        most, order = 0, []

        async def one(rank: int) -> None:
            nonlocal most
            async with gate.turn(rank):
                most = max(most, gate.under_way)
                order.append(rank)
                await asyncio.sleep(0.001)

        await asyncio.gather(*(one(rank) for rank in (9, 8, 7, 3, 1, 2, 0)))
        return most, order

    most, order = asyncio.run(turns())
    assert most == 3
    assert order[3:] == [0, 1, 2, 3] or order == [9, 8, 7, 0, 1, 2, 3]


def test_a_turn_that_is_cancelled_frees_its_place() -> None:
    async def turns() -> int:
        gate = Gate(Pace(most=1), Clock())

        async def hold() -> None:
            async with gate.turn(0):
                await asyncio.sleep(10)

        tasks = [asyncio.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with gate.turn(0):
            return gate.under_way

    assert asyncio.run(turns()) == 1


def test_a_closed_gate_lets_nobody_through_until_it_opens() -> None:
    async def turns() -> list[str]:
        gate, seen = Gate(Pace(most=4), Clock()), list[str]()

        async def one() -> None:
            async with gate.turn(0):
                seen.append("through")

        gate.open(yes=False)
        task = asyncio.create_task(one())
        await asyncio.sleep(0)
        seen.append("opened")
        gate.open(yes=True)
        await task
        return seen

    assert asyncio.run(turns()) == ["opened", "through"]
