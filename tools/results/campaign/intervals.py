"""Means and paired differences over seeds, with intervals that hold for other prompts and seeds.

The design is crossed: every seed of every condition is scored on the same samples. A replicate
resamples both factors, independently of one another (the pigeonhole bootstrap, Owen 2007): samples
within each group, the same ones for all runs, and seeds, the same ones for both sides of a
difference. Of K, K - 1 are resampled in both (Rao and Wu 1988, see `alphabench.statistics`), so
that two or three seeds do not look more alike than they are. With one seed, or for a checkpoint as
it is, only samples are resampled: then the interval says nothing about other seeds.

Shapes: R replicates, S seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphabench.statistics import (
    Bootstrap,
    Cluster,
    Formula,
    agree,
    estimate,
    grouped,
    mean_of,
    paired_difference,
    resampled_means,
    with_singles,
)
from alphabench.types import Estimate

Run = Sequence[Cluster]
"""The scores of one seed, by sample."""


class _Values(NamedTuple):
    """The formula's values of a run."""

    value: float
    worst_R: NDArray[np.float64]
    """With a group of one sample, which cannot be resampled, at the worst value."""
    best_R: NDArray[np.float64]


def mean_over_seeds(runs: Sequence[Run], formula: Formula, settings: Bootstrap) -> Estimate:
    """The formula's mean over runs; each run over the samples that are scored in all of them.

    Of one run it is the harness's own estimate; so it is where all samples of all runs agree and
    resampling has no effect.

    Returns:
        None as its value where no sample is.
    """
    if len(runs) == 1:
        return estimate(runs[0], formula, settings)
    shared = _shared(runs)
    if not shared:
        return _nothing(runs)
    if all(agree(group, settings) for group in grouped(_joined(shared)).values()):
        return estimate(_pooled(shared), formula, settings)
    values = _values_of(shared, formula, settings)
    value = float(np.mean([one.value for one in values]))
    worst_R = _over_seeds([one.worst_R for one in values], settings)
    best_R = _over_seeds([one.best_R for one in values], settings)
    return _estimate(value, worst_R, best_R, shared, settings, runs)


def difference_over_seeds(
    ours: Sequence[Run], theirs: Sequence[Run], formula: Formula, settings: Bootstrap
) -> Estimate:
    """The formula for `ours` minus that for `theirs`, paired by sample and by seed.

    Args:
        ours: one run a seed.
        theirs: of the same seeds, in the same order; or a single run, which has no seed.
        formula: of the benchmark.
        settings: of the bootstrap.

    Returns:
        None as its value where no sample is scored in all runs.
    """
    if len(ours) == 1 and len(theirs) == 1:
        return paired_difference(ours[0], theirs[0], formula, settings)
    other = list(theirs) * len(ours) if len(theirs) == 1 else list(theirs)
    every = [*ours, *other]
    shared = _shared(every)
    if not shared:
        return _nothing(every)
    values = _values_of(shared, formula, settings)
    pairs = list(zip(values[: len(ours)], values[len(ours) :], strict=True))
    value = float(np.mean([one.value - two.value for one, two in pairs]))
    worst_R = _over_seeds([one.worst_R - two.best_R for one, two in pairs], settings)
    best_R = _over_seeds([one.best_R - two.worst_R for one, two in pairs], settings)
    return _estimate(value, worst_R, best_R, shared, settings, every)


def _shared(runs: Sequence[Run]) -> list[list[Cluster]]:
    """Each run's samples that are scored in all, in one order."""
    by_key = [{(c.group, c.sample_id): c for c in run if c.n_scored} for run in runs]
    keys = sorted(set.intersection(*(set(one) for one in by_key))) if by_key else []
    return [[one[key] for key in keys] for one in by_key] if keys else []


def _joined(runs: Sequence[Sequence[Cluster]]) -> list[Cluster]:
    """The samples of all runs as if they were different ones."""
    return [
        replace(cluster, sample_id=f"{number}/{cluster.sample_id}")
        for number, run in enumerate(runs)
        for cluster in run
    ]


def _pooled(runs: Sequence[Sequence[Cluster]]) -> list[Cluster]:
    """Each sample with the scores of all runs."""
    return [
        replace(
            several[0],
            total=sum(one.total for one in several),
            n_scored=sum(one.n_scored for one in several),
            n_expected=sum(one.n_expected for one in several),
        )
        for several in zip(*runs, strict=True)
    ]


def _values_of(
    runs: Sequence[Sequence[Cluster]], formula: Formula, settings: Bootstrap
) -> list[_Values]:
    by_group = [grouped(run) for run in runs]
    resampled = {
        group: resampled_means(group, [one[group] for one in by_group], settings)
        for group in by_group[0]
    }
    values = []
    for number, groups in enumerate(by_group):
        means = {group: found[number] for group, found in resampled.items()}
        ends = [
            formula(with_singles(groups, means, extreme, settings))
            for extreme in settings.value_range
        ]
        exact = formula({group: mean_of(clusters) for group, clusters in groups.items()})
        values.append(_Values(float(exact[0]), ends[0], ends[1]))
    return values


def _over_seeds(values: Sequence[NDArray[np.float64]], settings: Bootstrap) -> NDArray[np.float64]:
    """(R,) means over S - 1 of S resampled seeds; of one seed, itself."""
    n_seeds = len(values)
    if n_seeds == 1:
        return values[0]
    values_SR = np.stack(list(values))
    chosen = np.random.default_rng([settings.seed, n_seeds]).integers(
        0, n_seeds, size=(n_seeds - 1, settings.replicates)
    )
    mean_R: NDArray[np.float64] = np.take_along_axis(values_SR, chosen, axis=0).mean(axis=0)
    return mean_R


def _estimate(
    value: float,
    worst_R: NDArray[np.float64],
    best_R: NDArray[np.float64],
    shared: Sequence[Sequence[Cluster]],
    settings: Bootstrap,
    runs: Sequence[Run],
) -> Estimate:
    tail = (1.0 - settings.level) / 2.0
    low, high = float(np.quantile(worst_R, tail)), float(np.quantile(best_R, 1.0 - tail))
    return Estimate(
        value=value,
        low=min(low, value),
        high=max(high, value),
        n_samples=len(shared[0]),
        n_scored=sum(cluster.n_scored for run in shared for cluster in run),
        n_expected=sum(cluster.n_expected for run in runs for cluster in run),
    )


def _nothing(runs: Sequence[Run]) -> Estimate:
    n_expected = sum(cluster.n_expected for run in runs for cluster in run)
    return Estimate(value=None, low=None, high=None, n_samples=0, n_scored=0, n_expected=n_expected)
