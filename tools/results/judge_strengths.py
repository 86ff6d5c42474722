"""Rewards of the nano judge and of judges that are worse by a known noise, from kept log-odds.

Noise of size s: the log-odds of each yes/no question get a normal error of standard deviation s in
each call. The logits of each candidate reason and grade of a graded reply get one of s / sqrt(2),
so that the log-odds between any two candidates have the same error. Asks no judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from alphabench.reports.reward_fidelity import (
    RewardMetrics,
    best_of_difference,
    measure_reward,
    pair_accuracy_difference,
    tau_ceiling,
)
from alphabench.reports.reward_groups import RewardGroup, needed_group
from alphabench.statistics import DEFAULT, Bootstrap
from alphabench.types import Estimate
from alphagrpo.dvreward.aggregate import AggregationOptions, aggregate
from alphagrpo.holistic import HIGHEST
from tools.results.judge_logits import GradeLogits, KeptAnswers

STRENGTHS: Final = (0.0, 2.0, 4.0, 8.0)
"""Standard deviations of the noise on log-odds."""
CALLS: Final = 21
"""Noisy answers for each question: 21 single calls, or 7 means of 3."""
NOISE_SEED: Final = 18
REFERENCE: Final = 12
"""Group that would do without noise: that of nano-awm."""
MEAN_OF_3: Final = "holistic, mean of 3"
PAIRS: Final = (
    ("DVReward", "holistic"),
    ("DVReward", MEAN_OF_3),
    ("DVReward, semantic only", "DVReward"),
    ("DVReward, arithmetic", "DVReward"),
)
"""Rewards whose difference is shown."""
DETECTOR: Final = "the detector itself"
_DVREWARDS: Final = {
    "DVReward": AggregationOptions(),
    "DVReward, arithmetic": AggregationOptions(aggregate="mean"),
    "DVReward, semantic only": AggregationOptions(semantic_weight=1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StrengthResult:
    """All rewards of one judge."""

    noise: float
    flipped: float
    """Share of yes/no answers on another side of one half than without noise."""
    regraded: float
    """Share of grades that are others than without noise."""
    rewards: Mapping[str, Mapping[str, RewardMetrics]]
    """Reward -> `all` and each task."""
    pairs_right: Mapping[str, Estimate]
    """`A - B` -> difference of pairs right."""
    best_of_4: Mapping[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "noise": self.noise,
            "flipped": self.flipped,
            "regraded": self.regraded,
            "rewards": {
                name: {task: one.to_json() for task, one in tasks.items()}
                for name, tasks in self.rewards.items()
            },
            "pairs_right": {name: asdict(one) for name, one in self.pairs_right.items()},
            "best_of_4": {name: asdict(one) for name, one in self.best_of_4.items()},
        }


def measure_strengths(
    answers: Sequence[KeptAnswers],
    strengths: Sequence[float] = STRENGTHS,
    settings: Bootstrap = DEFAULT,
) -> list[StrengthResult]:
    """All rewards of the judge as it is, and of judges with more noise."""
    return [_measured(answers, noise, settings) for noise in strengths]


def _measured(answers: Sequence[KeptAnswers], noise: float, settings: Bootstrap) -> StrengthResult:
    columns, flipped, regraded = _noisy_rewards(answers, noise)
    groups = {name: groups_of(answers, rewards) for name, rewards in columns.items()}
    if noise:
        groups[MEAN_OF_3] = [one.averaged(3) for one in groups["holistic"]]
    else:
        groups[MEAN_OF_3] = groups["holistic"]
    order = [*_DVREWARDS, "holistic", MEAN_OF_3]
    groups = {name: groups[name] for name in order} | {
        DETECTOR: groups_of(answers, _truths(answers))
    }
    return StrengthResult(
        noise=noise,
        flipped=flipped,
        regraded=regraded,
        rewards={name: measure_reward(one, settings=settings) for name, one in groups.items()},
        pairs_right={
            f"{one} - {other}": pair_accuracy_difference(groups[one], groups[other], settings)
            for one, other in PAIRS
        },
        best_of_4={
            f"{one} - {other}": best_of_difference(groups[one], groups[other], 4, settings)
            for one, other in PAIRS
        },
    )


def attainable_tau(answers: Sequence[KeptAnswers], settings: Bootstrap = DEFAULT) -> Estimate:
    """The rank correlation of a perfect reward without ties."""
    return tau_ceiling(groups_of(answers, _truths(answers)), settings)


def groups_of(
    answers: Sequence[KeptAnswers], rewards: Sequence[Sequence[float]]
) -> list[RewardGroup]:
    """One group for each prompt, from one row of rewards for each answer."""
    members: dict[str, list[int]] = {}
    for index, one in enumerate(answers):
        members.setdefault(one.prompt, []).append(index)
    return [
        RewardGroup(
            prompt=prompt,
            task=answers[indices[0]].task,
            reward_IR=np.array([rewards[index] for index in indices], dtype=np.float64),
            truth_I=np.array([answers[index].truth for index in indices], dtype=np.float64),
        )
        for prompt, indices in members.items()
    ]


def _truths(answers: Sequence[KeptAnswers]) -> list[list[float]]:
    return [[one.truth] for one in answers]


def _noisy_rewards(
    answers: Sequence[KeptAnswers], noise: float
) -> tuple[dict[str, list[list[float]]], float, float]:
    """Reward -> for each image its value in each call; and how many answers the noise changed."""
    names = [*_DVREWARDS, "holistic"]
    columns: dict[str, list[list[float]]] = {name: [] for name in names}
    changes: list[bool] = []
    regraded: list[bool] = []
    for number, one in enumerate(answers):
        rng = np.random.default_rng([NOISE_SEED, number])
        rows: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(CALLS if noise else 1):
            semantic, quality = (_disturbed(v, noise, rng) for v in (one.semantic, one.quality))
            changes += flips(one.semantic, semantic) + flips(one.quality, quality)
            grades = [_grade(of, noise, rng) for of in (one.consistency, one.made)]
            regraded += [
                g != of.grade for g, of in zip(grades, (one.consistency, one.made), strict=True)
            ]
            for name, value in rewards_from_answers(semantic, quality, grades).items():
                rows[name].append(value)
        for name, row in rows.items():
            columns[name].append(row)
    return columns, float(np.mean(changes)), float(np.mean(regraded))


def rewards_from_answers(
    semantic: Sequence[float | None], quality: Sequence[float | None], grades: Sequence[int]
) -> dict[str, float]:
    """Each reward of an image from log-odds of yes and two grades; NaN where it is unscored."""
    chances = [[_probability(v) for v in part] for part in (semantic, quality)]
    found = {name: aggregate(chances[0], chances[1], how).value for name, how in _DVREWARDS.items()}
    values = {name: math.nan if value is None else value for name, value in found.items()}
    return {**values, "holistic": math.sqrt(grades[0] * grades[1]) / HIGHEST}


def _disturbed(
    values: Sequence[float | None], noise: float, rng: np.random.Generator
) -> list[float | None]:
    errors = noise * rng.normal(size=len(values))
    return [
        None if value is None else value + float(error)
        for value, error in zip(values, errors, strict=True)
    ]


def flips(before: Sequence[float | None], after: Sequence[float | None]) -> list[bool]:
    """For each answer whether it is on another side of one half."""
    return [
        (a > 0) != (b > 0)
        for a, b in zip(before, after, strict=True)
        if a is not None and b is not None
    ]


def _probability(log_odds: float | None) -> float | None:
    if log_odds is None:
        return None
    return 1.0 / (1.0 + math.exp(-min(max(log_odds, -60.0), 60.0)))


def _grade(of: GradeLogits, noise: float, rng: np.random.Generator) -> int:
    """The grade that the judge gives with this noise on every candidate."""
    size = noise / math.sqrt(2.0)
    reason = int(np.argmax(np.array(of.reasons) + size * rng.normal(size=len(of.reasons))))
    logits = np.array(of.grades[reason])
    return int(np.argmax(logits + size * rng.normal(size=len(logits))))


def group_needed(metrics: RewardMetrics) -> int | None:
    """Images that teach as much as `REFERENCE` without noise; None where that is not known."""
    parts = metrics.reliability
    if parts is None or parts.share.value is None:
        return None
    return needed_group(REFERENCE, parts.share.value)
