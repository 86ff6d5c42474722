"""What the judge of a command was asked so far, over all worker processes. Knows no judge."""

from __future__ import annotations

import os
import platform

from alphabench.questions import JudgeUsage, remote_judge_of


def this_process() -> str:
    """A name that no other process has, on this machine or on another."""
    return f"{platform.node()}:{os.getpid()}"


class UsageMeter:
    """Adds up the judge's usage in this process and what worker processes report."""

    def __init__(self, evaluator: object) -> None:
        """Nothing is asked yet.

        Args:
            evaluator: whose judge is meant; may have none.
        """
        self._judge = remote_judge_of(evaluator)
        self._reported: dict[str, JudgeUsage] = {}

    def receive(self, process: str, usage: JudgeUsage | None) -> None:
        """A worker process has used so much until now."""
        if usage is not None and process != this_process():
            self._reported[process] = usage

    def total(self) -> JudgeUsage | None:
        """None where the judge is not remote, or there is none."""
        if self._judge is None:
            return None
        total = self._judge.usage
        for usage in self._reported.values():
            total += usage
        return total

    def words(self) -> str:
        """Cost and tokens in a few words; empty before the first answer."""
        total = self.total()
        return "" if total is None or not total.replies else usage_words(total)


def usage_words(usage: JudgeUsage) -> str:
    """`$1.23, 912k tokens`; without the cost where it is not known."""
    tokens = f"{_count(usage.tokens_in + usage.tokens_out)} tokens"
    return tokens if usage.cost_usd is None else f"${_dollars(usage.cost_usd)}, {tokens}"


def _dollars(cost_usd: float) -> str:
    return f"{cost_usd:.2f}" if cost_usd >= 1 or not cost_usd else f"{cost_usd:.2g}"


def _count(number: int) -> str:
    if number < 10_000:
        return f"{number:,}"
    return f"{number / 1e3:.0f}k" if number < 999_500 else f"{number / 1e6:.1f}M"
