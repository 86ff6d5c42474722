"""What a reward knows: how well it orders images of one prompt, with 95% intervals, by task.

Metrics of groups that were scored already (`reward_groups`); prompts are the unit of the bootstrap.
Each metric is the mean over prompts, each of which counts the same. A metric of a prompt whose
reward was asked for several times is the mean over these repeats: that of one call. Knows no judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np

from alphabench.reports.reward_groups import (
    Floats,
    Reliability,
    RewardGroup,
    best_of_n,
    kendall_tau_b,
    pair_accuracy,
    reliability,
)
from alphabench.statistics import (
    DEFAULT,
    Bootstrap,
    Cluster,
    estimate,
    mean_of_groups,
    paired_difference,
)
from alphabench.types import Estimate

ALL_TASKS: Final = "all"
BEST_OF: Final = (2, 4, 8)
"""Numbers of images of which the one with the highest reward is taken."""
_GroupMetric = Callable[[Floats, Floats], float]
"""Rewards and truths of a group's images -> a number, NaN where there is none."""
_TAU_RANGE: Final = (-1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardMetrics:
    """One reward on some prompts. An estimate's `n_samples` are the prompts that it rests on."""

    n_prompts: int
    n_ordered: int
    """Prompts whose images differ in truth; the others say nothing about order."""
    n_flat: float
    """Prompts all of whose images have the same reward, in the mean over repeats: no advantage."""
    unscored: float
    """Share of rewards that are missing."""
    pair_accuracy: Estimate
    """Chance to order two images right whose truth differs; 0.5 is guessing."""
    rank_correlation: Estimate
    """Kendall's tau-b with the truth."""
    mean_truth: Estimate
    """Of an image at random."""
    best_of: Mapping[int, Estimate]
    """N -> truth of the image with the highest reward among N."""
    reliability: Reliability | None
    """None where the reward was asked for once."""

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {**asdict(self), "best_of": {str(n): asdict(e) for n, e in self.best_of.items()}}


def measure_reward(
    groups: Sequence[RewardGroup], *, sizes: Sequence[int] = BEST_OF, settings: Bootstrap = DEFAULT
) -> dict[str, RewardMetrics]:
    """The metrics over all prompts, and those of each task in order of first appearance.

    Args:
        groups: of one reward, each prompt once.
        sizes: N of best-of-N; prompts with fewer scored images are left out of that number.
        settings: of the bootstrap.
    """
    tasks = list(dict.fromkeys(group.task for group in groups))
    parts = {ALL_TASKS: list(groups)}
    if len(tasks) > 1:
        parts |= {task: [one for one in groups if one.task == task] for task in tasks}
    return {task: _metrics(part, sizes, settings) for task, part in parts.items()}


def pair_accuracy_difference(
    one: Sequence[RewardGroup], other: Sequence[RewardGroup], settings: Bootstrap = DEFAULT
) -> Estimate:
    """How much more often `one` orders two images right, paired by prompt."""
    ours, theirs = (_clusters(side, pair_accuracy) for side in (one, other))
    return paired_difference(ours, theirs, mean_of_groups, settings)


def best_of_difference(
    one: Sequence[RewardGroup],
    other: Sequence[RewardGroup],
    n: int,
    settings: Bootstrap = DEFAULT,
) -> Estimate:
    """How much better the best of `n` is by `one`, paired by prompt."""
    ours, theirs = (_clusters(side, partial(_best_of, n)) for side in (one, other))
    of_truth = _in_range(settings, [*one, *other])
    return paired_difference(ours, theirs, mean_of_groups, of_truth)


def tau_ceiling(groups: Sequence[RewardGroup], settings: Bootstrap = DEFAULT) -> Estimate:
    """The rank correlation of a reward without ties that orders every pair right."""

    def ceiling(reward_I: Floats, truth_I: Floats) -> float:
        del reward_I
        return kendall_tau_b(truth_I + np.linspace(0.0, 1e-6, len(truth_I)), truth_I)

    return _mean(groups, ceiling, replace(settings, value_range=_TAU_RANGE))


def _metrics(
    groups: Sequence[RewardGroup], sizes: Sequence[int], settings: Bootstrap
) -> RewardMetrics:
    of_truth = _in_range(settings, groups)
    missing = [float(np.isnan(group.reward_IR).mean()) for group in groups]
    return RewardMetrics(
        n_prompts=len(groups),
        n_ordered=sum(group.is_ordered for group in groups),
        n_flat=math.fsum(_flat_share(group) for group in groups),
        unscored=math.fsum(missing) / len(groups) if groups else 0.0,
        pair_accuracy=_mean(groups, pair_accuracy, settings),
        rank_correlation=_mean(groups, kendall_tau_b, replace(settings, value_range=_TAU_RANGE)),
        mean_truth=_mean(groups, partial(_best_of, 1), of_truth),
        best_of={n: _mean(groups, partial(_best_of, n), of_truth) for n in sizes},
        reliability=reliability(groups, settings),
    )


def _best_of(n: int, reward_I: Floats, truth_I: Floats) -> float:
    return best_of_n(reward_I, truth_I, n)


def _flat_share(group: RewardGroup) -> float:
    """Share of the repeats in which two or more rewards are all the same."""
    scored = [reward_I[np.isfinite(reward_I)] for reward_I in group.reward_IR.T]
    flat = [len(reward_I) > 1 and float(np.ptp(reward_I)) == 0.0 for reward_I in scored]
    return sum(flat) / len(flat) if flat else 0.0


def _mean(groups: Sequence[RewardGroup], metric: _GroupMetric, settings: Bootstrap) -> Estimate:
    return estimate(_clusters(groups, metric), mean_of_groups, settings)


def _clusters(groups: Sequence[RewardGroup], metric: _GroupMetric) -> list[Cluster]:
    """One for each prompt: the mean of the metric over its repeats."""
    clusters = []
    for group in groups:
        values = [metric(reward_I, truth_I) for reward_I, truth_I in group.repeats()]
        known = [value for value in values if math.isfinite(value)]
        clusters.append(
            Cluster(
                sample_id=group.prompt,
                group=ALL_TASKS,
                total=math.fsum(known) / len(known) if known else 0.0,
                n_scored=int(bool(known)),
                n_expected=1,
            )
        )
    return clusters


def _in_range(settings: Bootstrap, groups: Sequence[RewardGroup]) -> Bootstrap:
    """The settings with the range of the truth, which is 0 to 1 unless it exceeds that."""
    known = [one[np.isfinite(one)] for one in (group.truth_I for group in groups)]
    values = np.concatenate([*known, np.array([0.0, 1.0])])
    return replace(settings, value_range=(float(values.min()), float(values.max())))
