"""What the answers of a judge cost, shared among the scores that they led to."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

from alphabench.judges.handshake import VettedJudge
from alphabench.judges.openai.budget import Prices, SpendingAccount
from alphabench.questions import Judge
from alphatrainers.protocols import Score


@runtime_checkable
class AccountingJudge(Protocol):
    """A judge that records what its answers cost."""

    account: SpendingAccount


def spent_usd(judge: object) -> float | None:
    """What a judge has cost since it was opened; None where its prices are not known."""
    if isinstance(judge, VettedJudge):
        return spent_usd(judge.tested)
    if not isinstance(judge, AccountingJudge) or judge.account.prices == Prices():
        return None
    return judge.account.spent_usd


def with_costs(scores: list[Score], judge: Judge | None, spent_before: float | None) -> list[Score]:
    """The scores, each with an equal share of what was spent on them together."""
    spent = spent_usd(judge)
    if spent is None or spent_before is None or not scores:
        return scores
    return [replace(one, cost_usd=(spent - spent_before) / len(scores)) for one in scores]
