"""One reward from the answers to a prompt's questions.

    geometric   semantic mean ^ w * quality mean ^ (1 - w)
    mean        w * semantic mean + (1 - w) * quality mean
    sum_mean    the mean over all questions

w is `semantic_weight`. The default, geometric with w = 1/2, is the released one: the square root of
the product (AlphaGRPO, arXiv 2605.12495). There, quality decides between images of a group that
show the same; a larger w lets it decide less, and w = 1 takes the semantic mean alone.

An unscored question is never a 0. By default a reward exists only when every question was answered:
if unanswered questions were left out, an image would gain from a question that the judge fails on,
and two images of one group would be compared on different questions. A trainer excludes an image
without a reward from its group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

Aggregation = Literal["geometric", "mean", "sum_mean"]
AGGREGATIONS: Final[tuple[Aggregation, ...]] = get_args(Aggregation)
_EQUAL: Final = 0.5
"""The released weight of each aspect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregationOptions:
    """How answers become a reward."""

    aggregate: Aggregation = "geometric"
    """geometric, mean or sum_mean."""
    semantic_weight: float = _EQUAL
    """Share of the semantic mean in `geometric` and `mean`; 1 leaves quality out. Where an aspect
    is left out, the other one counts in full."""
    min_coverage: float = 1.0
    """Least share of the questions that must be answered, above 0, for there to be a reward; then
    it rests on the answered ones. Every aspect that has questions needs one answer at least."""
    empty: Literal["full", "left_out"] = "full"
    """An aspect without any question counts as 1, as in the release, or is left out."""

    def __post_init__(self) -> None:
        if not 0.0 < self.min_coverage <= 1.0:
            raise ValueError(f"min_coverage={self.min_coverage!r} is not above 0 and at most 1")
        if not 0.0 <= self.semantic_weight <= 1.0:
            raise ValueError(f"semantic_weight={self.semantic_weight!r} is not within 0 and 1")
        if self.aggregate == "sum_mean" and self.semantic_weight != _EQUAL:
            raise ValueError("semantic_weight belongs to aggregate=geometric and aggregate=mean")

    @property
    def identity(self) -> dict[str, str]:
        """What decides the reward; without the weight where it is the released one."""
        weight = self.semantic_weight
        return {
            "aggregate": self.aggregate,
            "min_coverage": repr(self.min_coverage),
            "empty": self.empty,
            **({} if weight == _EQUAL else {"semantic_weight": repr(weight)}),
        }


AS_RELEASED: Final = AggregationOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregatedReward:
    """The reward from an image's answers; None wherever they do not suffice."""

    value: float | None
    semantic: float | None
    """Mean over the answered semantic questions."""
    quality: float | None
    n_answered: int
    n_asked: int

    @property
    def coverage(self) -> float:
        return self.n_answered / self.n_asked if self.n_asked else 0.0


def aggregate(
    semantic: Sequence[float | None],
    quality: Sequence[float | None],
    how: AggregationOptions = AS_RELEASED,
) -> AggregatedReward:
    """The reward from P(yes) of each question, None where it is unscored.

    Returns:
        A reward whose value is None when too few questions are answered, or there are none.

    Raises:
        ValueError: a probability that is not between 0 and 1.
    """
    answers = [p for p in (*semantic, *quality) if p is not None]
    if not all(0.0 <= p <= 1.0 for p in answers):
        raise ValueError(f"P(yes) lies between 0 and 1; got {answers}")
    reward = AggregatedReward(
        value=None,
        semantic=_mean(semantic),
        quality=_mean(quality),
        n_answered=len(answers),
        n_asked=len(semantic) + len(quality),
    )
    missing_aspect = (semantic and reward.semantic is None) or (quality and reward.quality is None)
    # Counts, not the quotient: 9 of 10 must satisfy 0.9 whatever floats make of it.
    enough = reward.n_answered >= math.ceil(how.min_coverage * reward.n_asked - 1e-9)
    if not answers or missing_aspect or not enough:
        return reward
    return AggregatedReward(
        value=_combined(reward, answers, how),
        semantic=reward.semantic,
        quality=reward.quality,
        n_answered=reward.n_answered,
        n_asked=reward.n_asked,
    )


def _combined(reward: AggregatedReward, answers: Sequence[float], how: AggregationOptions) -> float:
    if how.aggregate == "sum_mean":
        return math.fsum(answers) / len(answers)
    pair = [reward.semantic, reward.quality]
    if how.empty == "full":
        means = [1.0 if mean is None else mean for mean in pair]
    else:
        means = [mean for mean in pair if mean is not None]
    if len(means) == len(pair) and how.semantic_weight != _EQUAL:
        return _weighted(means[0], means[1], how)
    if how.aggregate == "geometric":
        return math.prod(means) ** (1.0 / len(means))
    return math.fsum(means) / len(means)


def _weighted(semantic: float, quality: float, how: AggregationOptions) -> float:
    weight = how.semantic_weight
    if how.aggregate == "geometric":
        return float(semantic**weight * quality ** (1.0 - weight))
    return weight * semantic + (1.0 - weight) * quality


def _mean(answers: Sequence[float | None]) -> float | None:
    known = [p for p in answers if p is not None]
    return math.fsum(known) / len(known) if known else None
