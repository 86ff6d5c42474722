"""Costs are booked, and a budget is not exceeded."""

from __future__ import annotations

import asyncio

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.openai.budget import Prices, SpendingAccount
from alphabench.questions import Reply, ReplySampling
from tests.judges.conftest import question

PRICES = Prices(tokens_in=2.0, tokens_out=8.0)


def reply(tokens_in: int = 100, tokens_out: int = 10) -> Reply:
    return Reply(text="7", model="m", tokens_in=tokens_in, tokens_out=tokens_out)


def test_the_true_cost_replaces_what_was_reserved() -> None:
    account = SpendingAccount(prices=PRICES)
    account.book(asyncio.run(account.reserve(question())), reply())
    account.book(asyncio.run(account.reserve(question())), None)
    assert account.spent_usd == pytest.approx((100 * 2 + 10 * 8) / 1e6)
    assert (account.reserved_usd, account.replies, account.tokens_in) == (0.0, 1, 100)


def test_the_next_question_is_refused_when_it_might_exceed_the_budget() -> None:
    costly = question(sampling=ReplySampling(max_tokens=1000))
    account = SpendingAccount(prices=PRICES, budget_usd=0.02)

    async def spend() -> None:
        while True:
            account.book(await account.reserve(costly), reply(tokens_out=1000))

    with pytest.raises(AlphaBenchError, match="budget") as stopped:
        asyncio.run(spend())
    assert account.replies == 2
    assert account.spent_usd <= 0.02
    assert "budget_usd" in stopped.value.hint


def test_requests_under_way_are_waited_for_before_the_budget_counts_as_used_up() -> None:
    costly = question(sampling=ReplySampling(max_tokens=1000))
    account = SpendingAccount(prices=PRICES, budget_usd=0.02)

    async def both() -> float:
        account.book(await account.reserve(costly), reply(tokens_out=1))
        reserved = [await account.reserve(costly), await account.reserve(costly)]
        third = asyncio.create_task(account.reserve(costly))
        await asyncio.sleep(0)
        assert not third.done()
        account.book(reserved[0], reply(tokens_out=1))
        return await third

    assert asyncio.run(both()) > 0


def test_the_first_question_goes_alone_and_tells_by_how_much_estimates_are_off() -> None:
    cheap = question("Q", sampling=ReplySampling(max_tokens=1))
    account = SpendingAccount(prices=PRICES, budget_usd=1.0)

    async def two() -> None:
        first = await account.reserve(cheap)
        second = asyncio.create_task(account.reserve(cheap))
        await asyncio.sleep(0)
        assert not second.done()
        account.book(first, reply(tokens_in=5000, tokens_out=1))
        assert await second == pytest.approx(account.spent_usd)

    asyncio.run(two())
