"""Metrics with confidence intervals: a stratified cluster bootstrap whose clusters are samples.

The images of one sample are not independent, so samples are resampled within each group, and the
benchmark's formula is computed anew for every replicate. Knows no benchmark and no file.

From the K samples of a group, K - 1 are resampled (Rao and Wu 1988): then the variance of a mean
over replicates is the unbiased s^2/K, also for small groups. Nothing scored gives None, never 0.

Shapes: R replicates, K samples of a group, D = K - 1 resampled samples, G groups.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alphabench.core.files import well_formed
from alphabench.types import Estimate, Sample, Status, Verdict

Means = Mapping[str, NDArray[np.float64]]
"""Group -> the group's mean in each replicate, (R,)."""
Formula = Callable[[Means], NDArray[np.float64]]
"""A benchmark's headline from the means of its groups: (R,) in, (R,) out.

It must not fall when a group's mean rises. A group without anything scored is absent.
"""
Expected = int | Callable[[Sample], int]
"""Verdicts that a complete sample has: the same for all, or by sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """How intervals are computed."""

    replicates: int = 2_000
    seed: int = 0
    """Fixed, so that a report computed twice is the same report."""
    level: float = 0.95
    """Probability that the interval is meant to cover."""
    value_range: tuple[float, float] = (0.0, 1.0)
    """The worst and the best value a verdict can have."""


DEFAULT: Final = Bootstrap()
_RESAMPLED_AT_ONCE: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One sample: the sum over its scored verdicts, and their number."""

    sample_id: str
    group: str
    total: float
    """Sum of the scored values; 0 when there are none."""
    n_scored: int
    n_expected: int

    def __post_init__(self) -> None:
        if not 0 <= self.n_scored <= self.n_expected:
            raise ValueError(f"{self.n_scored} scored of {self.n_expected} expected")
        if self.n_scored == 0 and self.total != 0:
            raise ValueError("without a scored verdict there is no total")

    @property
    def mean(self) -> float | None:
        """Of the scored values; None without one."""
        return self.total / self.n_scored if self.n_scored else None


def gather(
    samples: Iterable[Sample], verdicts: Iterable[Verdict], *, n_expected: Expected
) -> list[Cluster]:
    """One cluster for each sample, in order; verdicts about other samples are left out.

    Args:
        samples: all that were requested.
        verdicts: at most one for each image and question.
        n_expected: verdicts that a complete sample has; more are counted where they exist.
    """
    by_sample: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_sample.setdefault(sample_of(verdict), []).append(verdict)
    return [
        _cluster(sample, by_sample.get(sample.id, []), _expected(n_expected, sample))
        for sample in samples
    ]


def cluster_of(sample_id: str, values: Sequence[float | None], *, group: str = "all") -> Cluster:
    """One sample with its values; None stands for an expected verdict without one."""
    scored = [value for value in values if value is not None]
    return Cluster(
        sample_id=sample_id,
        group=group,
        total=float(sum(scored)),
        n_scored=len(scored),
        n_expected=len(values),
    )


def _expected(n_expected: Expected, sample: Sample) -> int:
    return n_expected if isinstance(n_expected, int) else n_expected(sample)


def sample_of(verdict: Verdict) -> str:
    """The id of the sample whose image the verdict is about."""
    return verdict.image_id.rpartition("/")[0]


def count_statuses(
    samples: Iterable[Sample], verdicts: Iterable[Verdict], *, n_expected: Expected
) -> dict[Status, int]:
    """Number of expected verdicts by status; one that does not exist counts as `missing`."""
    wanted = {sample.id: _expected(n_expected, sample) for sample in samples}
    given = dict.fromkeys(wanted, 0)
    counts: dict[Status, int] = {}
    for verdict in verdicts:
        if sample_of(verdict) in given:
            given[sample_of(verdict)] += 1
            counts[verdict.status] = counts.get(verdict.status, 0) + 1
    n_absent = sum(max(0, wanted[sample] - n) for sample, n in given.items())
    if n_absent:
        counts["missing"] = counts.get("missing", 0) + n_absent
    return counts


def mean_of_groups(means: Means) -> NDArray[np.float64]:
    """The mean over groups: each has the same weight, however many samples it has."""
    mean_R: NDArray[np.float64] = np.mean(np.stack(list(means.values())), axis=0)
    return mean_R


def no_headline(means: Means) -> NDArray[np.float64]:
    """The formula of a benchmark that has no headline: no number, whatever the groups are."""
    return np.full_like(next(iter(means.values())), np.nan)


def pooled(clusters: Iterable[Cluster]) -> Formula:
    """The mean over all scored verdicts: each group is weighted by its number of them."""
    weights: dict[str, float] = {}
    for cluster in clusters:
        weights[cluster.group] = weights.get(cluster.group, 0.0) + cluster.n_scored

    def formula(means: Means) -> NDArray[np.float64]:
        present = sorted(group for group in means if weights[group])
        weighted = np.stack([weights[group] * means[group] for group in present])
        total: NDArray[np.float64] = weighted.sum(axis=0) / sum(weights[g] for g in present)
        return total

    return formula


def estimate(
    clusters: Iterable[Cluster], formula: Formula, settings: Bootstrap = DEFAULT
) -> Estimate:
    """The formula's value and its interval.

    A group with a single sample gives no information about its spread: the lower end is computed
    with that group at the worst value, the upper end at the best. Where all samples of every group
    agree, resampling has no effect: see `_agreed`.

    Returns:
        An estimate whose value is None when nothing was scored. The order of `clusters` has no
        effect.
    """
    every = list(clusters)
    n_scored = sum(c.n_scored for c in every)
    n_expected = sum(c.n_expected for c in every)
    groups = grouped(c for c in every if c.n_scored)
    if not groups:
        return _nothing(n_expected)
    means = {name: mean_of(group) for name, group in groups.items()}
    resampled = {
        name: resampled_means(name, [group], settings)[0] for name, group in groups.items()
    }
    value = float(formula(means)[0])
    ends = [formula(with_singles(groups, resampled, w, settings)) for w in settings.value_range]
    if all(len(group) > 1 and agree(group, settings) for group in groups.values()):
        n_samples = sum(map(len, groups.values()))
        ends = [formula(_agreed(means, w, n_samples, settings)) for w in settings.value_range]
    low, high = _quantiles(ends[0], ends[1], value, settings)
    return Estimate(
        value=value,
        low=low,
        high=high,
        n_samples=sum(map(len, groups.values())),
        n_scored=n_scored,
        n_expected=n_expected,
    )


def over_all_groups(
    headline: Estimate, clusters: Iterable[Cluster], groups: Iterable[str], *, kind: str = "groups"
) -> tuple[Estimate, str]:
    """The estimate if each of `groups` has a scored verdict; otherwise no value, and the reason."""
    reason = unscored_groups(clusters, groups, kind=kind)
    return (headline.withheld(), reason) if reason else (headline, "")


def unscored_groups(clusters: Iterable[Cluster], groups: Iterable[str], *, kind: str) -> str:
    """The reason why a metric over all of `groups` has no value; empty where it has one.

    Args:
        clusters: all that were requested.
        groups: those that the metric needs.
        kind: what the benchmark calls them.

    Returns:
        Also empty where nothing at all was scored, which is reported elsewhere.
    """
    every, needed = list(clusters), set(groups)
    scored = {cluster.group for cluster in every if cluster.n_scored}
    absent = needed - {cluster.group for cluster in every if cluster.n_expected}
    unscored = needed - scored - absent
    missing = ((absent, "no sample"), (unscored, "no scored verdict"))
    clauses = [
        f"{len(names)} of {len(needed)} {kind} have {what}" for names, what in missing if names
    ]
    return " and ".join(clauses) if scored else ""


def group_estimates(
    clusters: Iterable[Cluster], settings: Bootstrap = DEFAULT
) -> dict[str, Estimate]:
    """The mean of every group, in the order in which groups first appear."""
    by_group: dict[str, list[Cluster]] = {}
    for cluster in clusters:
        by_group.setdefault(cluster.group, []).append(cluster)
    return {name: estimate(group, mean_of_groups, settings) for name, group in by_group.items()}


def bounds(
    clusters: Iterable[Cluster],
    formula: Formula,
    value_range: tuple[float, float] = DEFAULT.value_range,
    *,
    needed: Iterable[str] = (),
) -> tuple[float, float] | None:
    """The formula's value if every unscored verdict were the worst, and if it were the best.

    None without any expected verdict, or where a needed group has no sample: the result would be
    another formula's.
    """
    groups = grouped(c for c in clusters if c.n_expected)
    if not groups or not groups.keys() >= set(needed):
        return None
    worst, best = (
        float(formula({name: filled_mean(group, value) for name, group in groups.items()})[0])
        for value in value_range
    )
    return worst, best


def paired_difference(
    a: Iterable[Cluster], b: Iterable[Cluster], formula: Formula, settings: Bootstrap = DEFAULT
) -> Estimate:
    """The formula's value for `a` minus that for `b`, over the samples scored in both.

    Both use the same resampling, so the difficulty of a sample that both share cancels out.

    Returns:
        An estimate whose `n_samples` are the pairs; `n_scored` and `n_expected` count the verdicts
        of both sides, `n_expected` also those of samples without a partner. None without a pair,
        and where the formula is `no_headline`.
    """
    left, right = _unique(a), _unique(b)
    shared = sorted(k for k in left.keys() & right.keys() if left[k].n_scored and right[k].n_scored)
    n_expected = sum(c.n_expected for c in (*left.values(), *right.values()))
    if not shared:
        return _nothing(n_expected)
    ours, theirs = grouped(left[k] for k in shared), grouped(right[k] for k in shared)
    both = {name: resampled_means(name, [ours[name], theirs[name]], settings) for name in ours}
    our_means, their_means = ({n: means[i] for n, means in both.items()} for i in (0, 1))

    def of(
        side: Mapping[str, list[Cluster]], means: Mapping[str, NDArray[np.float64]], single: float
    ) -> NDArray[np.float64]:
        return formula(with_singles(side, means, single, settings))

    def value_of(side: Mapping[str, list[Cluster]]) -> float:
        return float(formula({n: mean_of(c) for n, c in side.items()})[0])

    value = value_of(ours) - value_of(theirs)
    worst, best = settings.value_range
    low, high = _quantiles(
        of(ours, our_means, worst) - of(theirs, their_means, best),
        of(ours, our_means, best) - of(theirs, their_means, worst),
        value,
        settings,
    )
    difference = Estimate(
        value=value,
        low=low,
        high=high,
        n_samples=len(shared),
        n_scored=sum(left[k].n_scored + right[k].n_scored for k in shared),
        n_expected=n_expected,
    )
    return difference if np.isfinite(value) else difference.withheld()


def _cluster(sample: Sample, verdicts: Sequence[Verdict], n_expected: int) -> Cluster:
    if len({(v.image_id, v.question_id) for v in verdicts}) < len(verdicts):
        raise ValueError(f"an image of sample {sample.id!r} was scored twice on one question")
    values = [v.value for v in verdicts if v.value is not None]
    return Cluster(
        sample_id=sample.id,
        group=sample.group,
        total=float(sum(sorted(values))),
        n_scored=len(values),
        n_expected=max(n_expected, len(verdicts)),
    )


def _unique(clusters: Iterable[Cluster]) -> dict[tuple[str, str], Cluster]:
    every = list(clusters)
    found = {(c.group, c.sample_id): c for c in every}
    if len(found) < len(every):
        raise ValueError("a sample occurs twice in one group")
    return found


def grouped(clusters: Iterable[Cluster]) -> dict[str, list[Cluster]]:
    """Groups and their samples in alphabetical order: the order of input must have no effect."""
    groups: dict[str, list[Cluster]] = {}
    for (group, _), cluster in sorted(_unique(clusters).items()):
        groups.setdefault(group, []).append(cluster)
    return groups


def resampled_means(
    group: str, sides: Sequence[Sequence[Cluster]], settings: Bootstrap
) -> list[NDArray[np.float64]]:
    """(R,) means of resampled samples, for each of several measurements of the same K samples.

    A replicate resamples K - 1 of them, the same for each side. Each group has a separate random
    stream, used for a few replicates at a time: memory does not grow with replicates x samples.
    """
    rng = np.random.default_rng([settings.seed, zlib.crc32(well_formed(group).encode())])
    sums = [_sums(clusters) for clusters in sides]
    means = [np.empty(settings.replicates) for _ in sides]
    n_resampled = len(sides[0]) - 1
    rows = max(1, _RESAMPLED_AT_ONCE // max(1, n_resampled))
    for first in range(0, settings.replicates, rows):
        part = slice(first, min(first + rows, settings.replicates))
        size = (part.stop - part.start, n_resampled)
        resampled_RD = rng.integers(0, len(sides[0]), size=size)
        for mean_R, (total_K, scored_K) in zip(means, sums, strict=True):
            with np.errstate(invalid="ignore"):  # a group of one sample has nothing to resample
                mean_R[part] = total_K[resampled_RD].sum(axis=1) / scored_K[resampled_RD].sum(
                    axis=1
                )
    return means


def resampled_counts(n_units: int, settings: Bootstrap) -> NDArray[np.float64]:
    """(1 + R, N): ones, then how often each of N units is among N - 1 resampled (Rao and Wu 1988).

    A single unit says nothing about others: ones alone.
    """
    once = np.ones((1, n_units))
    if n_units < 2:
        return once
    rng = np.random.default_rng([settings.seed, n_units])
    chances = np.full(n_units, 1.0 / n_units)
    counts_RN = rng.multinomial(n_units - 1, chances, size=settings.replicates)
    return np.concatenate([once, counts_RN.astype(np.float64)])


def estimate_of(
    values: NDArray[np.float64], counts: Mapping[str, int], settings: Bootstrap
) -> Estimate:
    """An estimate from a figure's values for the rows of `resampled_counts`.

    Args:
        values: (1 + R,), the figure itself first. Replicates in which it is not finite are ignored.
        counts: `n_samples`, `n_scored` and `n_expected`.
        settings: of the bootstrap.

    Returns:
        None as its value where the figure does not exist or nothing was resampled.
    """
    value, replicates = float(values[0]), values[1:][np.isfinite(values[1:])]
    if not np.isfinite(value) or not len(replicates):
        return Estimate(value=None, low=None, high=None, **counts)
    low, high = _quantiles(replicates, replicates, value, settings)
    return Estimate(value=value, low=low, high=high, **counts)


def joint_estimate(
    groups: Mapping[str, Sequence[Cluster]], formula: Formula, settings: Bootstrap = DEFAULT
) -> Estimate:
    """As `estimate`, where all groups measure the same samples: one is resampled with all measures.

    Args:
        groups: of each, the same samples in one order, of which the same are scored.
        formula: such as a product of several ratios; its values are within the settings' range.
        settings: of the bootstrap.

    Returns:
        An estimate whose counts are those of the first group.
    """
    first = next(iter(groups.values()))
    scored = [[(c.total, c.n_scored) for c in group if c.n_scored] for group in groups.values()]
    if not scored[0]:
        return _nothing(sum(cluster.n_expected for cluster in first))
    sums_GK2 = np.array(scored, dtype=np.float64)

    def values_of(totals_GR2: NDArray[np.float64]) -> NDArray[np.float64]:
        return formula(dict(zip(groups, totals_GR2[..., 0] / totals_GR2[..., 1], strict=True)))

    values = values_of(resampled_counts(len(scored[0]), settings) @ sums_GK2)
    value, replicates = float(values[0]), values[1:]
    low, high = settings.value_range
    if len(replicates) and np.ptp(values_of(sums_GK2)) <= 1e-9 * (high - low):
        share = _agreed_share(len(scored[0]), settings)
        low, high = value + share * (low - value), value + share * (high - value)
    elif len(replicates):
        low, high = _quantiles(replicates, replicates, value, settings)
    return Estimate(
        value=value,
        low=low,
        high=high,
        n_samples=len(scored[0]),
        n_scored=sum(cluster.n_scored for cluster in first),
        n_expected=sum(cluster.n_expected for cluster in first),
    )


def _sums(clusters: Sequence[Cluster]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(K,) totals, and the numbers of verdicts that they sum."""
    total_K = np.array([c.total for c in clusters], dtype=np.float64)
    return total_K, np.array([c.n_scored for c in clusters], dtype=np.float64)


def mean_of(clusters: Sequence[Cluster]) -> NDArray[np.float64]:
    """(1,), over all clusters."""
    total_K, scored_K = _sums(clusters)
    return np.array([total_K.sum() / scored_K.sum()])


def with_singles(
    groups: Mapping[str, Sequence[Cluster]],
    resampled: Mapping[str, NDArray[np.float64]],
    single: float,
    settings: Bootstrap,
) -> Means:
    """The resampled means, with `single` for a group of one sample, which cannot be resampled."""
    alone_R = np.full(settings.replicates, single, dtype=np.float64)
    return {name: alone_R if len(group) == 1 else resampled[name] for name, group in groups.items()}


def agree(clusters: Sequence[Cluster], settings: Bootstrap) -> bool:
    """Whether all of these samples, each scored, have the same mean."""
    means = [c.total / c.n_scored for c in clusters]
    worst, best = settings.value_range
    return max(means) - min(means) <= 1e-9 * (best - worst)  # apart from rounding


def _agreed(means: Means, extreme: float, n_samples: int, settings: Bootstrap) -> Means:
    """The means, moved towards an extreme value as far as N samples that all agree allow.

    If a share q of all samples differs, N samples agree with probability (1 - q)^N; the exact
    (Clopper and Pearson 1934) bound is the q at which this equals the tail's probability.
    """
    share = _agreed_share(n_samples, settings)
    return {name: mean_R + share * (extreme - mean_R) for name, mean_R in means.items()}


def _agreed_share(n_samples: int, settings: Bootstrap) -> float:
    tail = (1.0 - settings.level) / 2.0
    return 1.0 - float(tail ** (1.0 / n_samples))


def filled_mean(clusters: Sequence[Cluster], value: float) -> NDArray[np.float64]:
    """(1,), over all clusters, with a value for each unscored verdict."""
    n_expected = sum(c.n_expected for c in clusters)
    n_unscored = n_expected - sum(c.n_scored for c in clusters)
    return np.array([(sum(c.total for c in clusters) + value * n_unscored) / n_expected])


def _quantiles(
    lower_R: NDArray[np.float64], upper_R: NDArray[np.float64], value: float, settings: Bootstrap
) -> tuple[float, float]:
    tail = (1.0 - settings.level) / 2.0
    low, high = float(np.quantile(lower_R, tail)), float(np.quantile(upper_R, 1.0 - tail))
    return min(low, value), max(high, value)


def _nothing(n_expected: int) -> Estimate:
    return Estimate(value=None, low=None, high=None, n_samples=0, n_scored=0, n_expected=n_expected)
