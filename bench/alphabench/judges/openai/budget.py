"""What a judge costs, and the stop before a budget is exceeded. Knows no prices but those given."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from alphabench.core.errors import AlphaBenchError
from alphabench.questions import Question, Reply, most_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """In dollars for a million tokens."""

    tokens_in: float = 0.0
    tokens_out: float = 0.0

    def cost_usd(self, tokens_in: float, tokens_out: float) -> float:
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6


@dataclass(kw_only=True)
class SpendingAccount:
    """What was spent and what is reserved for requests under way; outlives one stream."""

    prices: Prices
    budget_usd: float | None = None
    extra_tokens: int = 0
    """What each question's bound on its reply is widened by."""
    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    replies: int = 0
    underestimate: float = 1.0
    """Largest ratio so far of a reply's cost to its estimated maximum."""
    _waiting: list[asyncio.Future[None]] = field(default_factory=list, repr=False)

    def most_usd(self, question: Question) -> float:
        """What the question may cost at most, by a high estimate of its tokens."""
        return self._most(question)

    async def reserve(self, question: Question) -> float:
        """Set aside what the question may cost at most; waits for requests under way.

        Returns:
            The sum, to be given to `book`.

        Raises:
            AlphaBenchError: even with nothing else under way it might exceed the budget.
        """
        while self.budget_usd is not None:
            most = self._most(question)
            # The first is sent alone: it shows by how much the estimates are off.
            if self._affords(most, self.budget_usd) and (self.replies or not self.reserved_usd):
                break
            if self.reserved_usd <= 0.0:
                raise AlphaBenchError(
                    f"the judge's budget of ${self.budget_usd:g} is used up "
                    f"(${self.spent_usd:.4f} spent; the next question may cost ${most:.4f})",
                    hint="raise budget_usd and give the same command again; answers are saved",
                )
            settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(settled)
            await settled
        reserved = self._most(question)
        self.reserved_usd += reserved
        return reserved

    def _affords(self, most: float, budget_usd: float) -> bool:
        return self.spent_usd + self.reserved_usd + most <= budget_usd

    def _most(self, question: Question) -> float:
        bound = most_tokens(question)
        cost_usd = self.prices.cost_usd(bound.tokens_in, bound.tokens_out + self.extra_tokens)
        return cost_usd * self.underestimate

    def book(self, reserved: float, reply: Reply | None) -> None:
        """Book the reply's true cost; None where no reply came."""
        # Never below zero by rounding: zero means that nothing is under way.
        self.reserved_usd = max(0.0, self.reserved_usd - reserved)
        if self.reserved_usd < 1e-12:
            self.reserved_usd = 0.0
        if reply is not None:
            self.replies += 1
            self.tokens_in += reply.tokens_in
            self.tokens_out += reply.tokens_out
            cost_usd = self.prices.cost_usd(reply.tokens_in, reply.tokens_out)
            self.spent_usd += cost_usd
            if reserved > 0.0:
                self.underestimate *= max(1.0, cost_usd / reserved)
        waiting, self._waiting = self._waiting, []
        for settled in waiting:
            if not settled.done():
                settled.set_result(None)
