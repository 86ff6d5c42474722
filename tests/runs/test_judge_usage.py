"""What a judge was asked, over several processes."""

from __future__ import annotations

from dataclasses import dataclass, field

from alphabench.questions import JudgeUsage, remote_judge_of
from alphabench.runs.judge_usage import UsageMeter, this_process, usage_words


def used(replies: int, tokens: int, cost_usd: float | None = None) -> JudgeUsage:
    return JudgeUsage(replies=replies, tokens_in=tokens, tokens_out=0, cost_usd=cost_usd)


@dataclass
class Remote:
    usage: JudgeUsage = field(default_factory=lambda: used(0, 0, 0.0))
    address: str = "http://h/v1#m"


@dataclass
class Wrapper:
    judge: object


def test_the_judge_is_found_behind_whatever_wraps_it() -> None:
    judge = Remote()
    assert remote_judge_of(Wrapper(Wrapper(judge))) is judge
    assert remote_judge_of(Wrapper(object())) is None


def test_processes_are_added_up_each_with_its_newest_count() -> None:
    judge = Remote()
    meter = UsageMeter(Wrapper(judge))
    assert meter.words() == ""
    judge.usage = used(1, 10, 0.5)
    meter.receive(this_process(), used(1, 10, 0.5))  # the same judge: not counted twice
    meter.receive("a:7", used(2, 20, 1.0))
    meter.receive("a:7", used(3, 40, 2.0))
    meter.receive("b:7", used(1, 5, 0.25))
    assert meter.total() == used(5, 55, 2.75)
    assert meter.words() == "$2.75, 55 tokens"


def test_a_judge_that_is_not_remote_counts_nothing() -> None:
    meter = UsageMeter(object())
    assert meter.total() is None
    assert meter.words() == ""


def test_costs_and_tokens_are_short_and_an_unknown_cost_is_not_zero() -> None:
    assert usage_words(used(1, 912_345)) == "912k tokens"
    assert usage_words(used(1, 9_123, 0.00123)) == "$0.0012, 9,123 tokens"
    assert usage_words(used(1, 12_340_000, 1234.5)) == "$1234.50, 12.3M tokens"
    assert used(1, 1) + used(1, 1, 3.0) == used(2, 2, None)
