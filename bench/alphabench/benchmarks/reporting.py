"""Builds reports: the rules that are the same for all benchmarks.

Knows no formula: headline, groups and bounds are computed by the benchmark.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from alphabench import statistics
from alphabench.interfaces import Benchmark
from alphabench.statistics import DEFAULT, Bootstrap, Cluster, Formula, mean_of_groups
from alphabench.types import Estimate, ProtocolName, Report, Sample, Status, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportScope:
    """What a report is about, and how much of it was scored."""

    benchmark: str
    split: str
    protocol: ProtocolName
    evaluator: str
    """Its name, or that of a published result."""
    statuses: Mapping[Status, int]
    """Expected verdicts by status."""
    has_all_samples: bool
    """Whether every sample of the split takes part."""


def run_scope(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    verdicts: Sequence[Verdict],
    *,
    evaluator: str,
    all_samples: Sequence[Sample],
) -> ReportScope:
    """The scope of `Benchmark.summarise`, whose arguments these are.

    A verdict is expected for each question about each image of the card.
    """
    card = benchmark.card
    return ReportScope(
        benchmark=card.name,
        split=card.split,
        protocol=card.protocol,
        evaluator=evaluator,
        statuses=statistics.count_statuses(
            samples,
            verdicts,
            n_expected=lambda one: card.images_per_sample * len(benchmark.questions(one)),
        ),
        has_all_samples=len(samples) >= len(all_samples),
    )


def published_scope(
    benchmark: str,
    what: str,
    n_scored: int,
    n_expected: int,
    *,
    split: str = "",
    has_all_samples: bool = True,
) -> ReportScope:
    """The scope of a published result, in which what is not scored could not be read.

    Args:
        benchmark: its name.
        what: which result, if upstream has several kinds.
        n_scored: verdicts with a value.
        n_expected: all verdicts.
        split: of the benchmark.
        has_all_samples: whether it is a result on the whole split.
    """
    return ReportScope(
        benchmark=benchmark,
        split=split,
        protocol="official",
        evaluator=f"published scores ({what})",
        statuses={"scored": n_scored, "unparsed": n_expected - n_scored},
        has_all_samples=has_all_samples,
    )


def build_report(
    scope: ReportScope,
    headline: Estimate,
    groups: Mapping[str, Estimate],
    *,
    coverage: float,
    bounds: tuple[float, float] | None,
    extras: Mapping[str, Estimate] | None = None,
    withheld: str = "",
    notes: tuple[str, ...] = (),
) -> Report:
    """The report; it is partial without all samples or with a missing image or verdict.

    Args:
        scope: what it is about.
        headline: see `Report`, as for the other arguments.
        groups: by name, in the order of the report.
        coverage: from `coverage_of` or `scored_share`.
        bounds: of the headline.
        extras: further metrics; None for none.
        withheld: why there is no headline; else empty.
        notes: what a reader must know, a clause each.
    """
    return Report(
        benchmark=scope.benchmark,
        split=scope.split,
        protocol=scope.protocol,
        evaluator=scope.evaluator,
        headline=headline,
        groups=groups,
        coverage=coverage,
        partial=not scope.has_all_samples or bool(scope.statuses.get("missing")),
        bounds=bounds,
        statuses=scope.statuses,
        extras=extras or {},
        withheld=withheld,
        notes=notes,
    )


def grouped_report(
    scope: ReportScope,
    clusters: Sequence[Cluster],
    *,
    formula: Formula = mean_of_groups,
    needed: Collection[str] = (),
    kind: str = "groups",
    extras: Mapping[str, Estimate] | None = None,
) -> Report:
    """The report of a benchmark whose groups are means and whose headline is a formula of them.

    Args:
        scope: what it is about.
        clusters: verdicts by sample, with values from 0 to 1.
        formula: the headline from the means of the groups.
        needed: groups without which there is no headline.
        kind: what the benchmark calls its groups.
        extras: further metrics; None for none.
    """
    estimate = statistics.estimate(clusters, formula)
    headline, withheld = statistics.over_all_groups(estimate, clusters, needed, kind=kind)
    return build_report(
        scope,
        headline,
        statistics.group_estimates(clusters),
        coverage=coverage_of(clusters),
        bounds=statistics.bounds(clusters, formula, needed=needed),
        extras=extras,
        withheld=withheld,
    )


def parts_report(
    scope: ReportScope,
    parts: Mapping[str, Estimate],
    *,
    worst: Mapping[str, float],
    best: Mapping[str, float],
    why: str,
    extras: Mapping[str, Estimate],
    notes: Iterable[str] = (),
) -> Report:
    """The report of a benchmark whose parts are not combined: no headline, and no bounds of one.

    Args:
        scope: what it is about.
        parts: the groups.
        worst: the parts if all unscored verdicts were worst; a note where there are such.
        best: the same if they were best.
        why: there is no headline.
        extras: further metrics.
        notes: what a reader must know, a clause each.
    """
    n_scored, n_expected = scope.statuses.get("scored", 0), sum(scope.statuses.values())
    n_samples = sum(part.n_samples for part in parts.values())
    counts = {"n_samples": n_samples, "n_scored": n_scored, "n_expected": n_expected}
    moved = [
        f"{name} is {low:.3f} to {best[name]:.3f} if all unscored verdicts are worst or best"
        for name, low in worst.items()
        if n_scored < n_expected
    ]
    return build_report(
        scope,
        Estimate(value=None, low=None, high=None, **counts),
        parts,
        coverage=scored_share(n_scored, n_expected),
        bounds=None,
        extras=extras,
        withheld=why if n_scored else "",
        notes=(*notes, *moved),
    )


def metric_report(
    scope: ReportScope,
    clusters: Sequence[Cluster],
    value_range: tuple[float, float],
    *,
    notes: tuple[str, ...] = (),
) -> Report:
    """The report of a plain metric: headline = the mean over scored images; groups have their own.

    There are no bounds: what an image without a value would have had is not known.
    """
    settings = Bootstrap(value_range=value_range)
    return build_report(
        scope,
        statistics.estimate(clusters, statistics.pooled(clusters), settings),
        statistics.group_estimates(clusters, settings),
        coverage=coverage_of(clusters),
        bounds=None,
        notes=notes,
    )


def coverage_of(clusters: Iterable[Cluster]) -> float:
    """Scored over expected verdicts of all clusters, 0 to 1; 0 where none is expected."""
    counts = [(cluster.n_scored, cluster.n_expected) for cluster in clusters]
    return scored_share(sum(scored for scored, _ in counts), sum(n for _, n in counts))


def scored_share(n_scored: int, n_expected: int) -> float:
    """`n_scored / n_expected`, 0 to 1; 0 where nothing is expected."""
    return n_scored / n_expected if n_expected else 0.0


def scored_counts(values: Iterable[float | None]) -> tuple[int, int]:
    """How many values there are, and how many there should be; None is one that was not scored."""
    expected = list(values)
    return sum(value is not None for value in expected), len(expected)


def plain_mean(values: Iterable[float | None], unknown: float | None = None) -> float | None:
    """The sum of values in their order, over their number; None without one.

    Args:
        values: None is one that was not scored.
        unknown: what to take for it; None leaves it out.
    """
    filled = (unknown if value is None else value for value in values)
    known = [value for value in filled if value is not None]
    return sum(known) / len(known) if known else None


def as_added_up(mean: Estimate, values: Iterable[float | None]) -> Estimate:
    """The same mean, its values added up in their order as upstream does, to the last bit."""
    value = plain_mean(values)
    return mean if value is None else mean.restated(value)


def restated_estimates(
    estimates: Mapping[str, Estimate], stated: Mapping[str, float]
) -> dict[str, Estimate]:
    """The estimates, with the values that upstream states of some of those that have one."""
    return {
        name: one.restated(stated[name]) if name in stated and one.n_scored else one
        for name, one in estimates.items()
    }


def value_clusters(
    values: Mapping[str, float | None], groups: Mapping[str, str] | None = None
) -> list[Cluster]:
    """One expected value for each sample, where None is one that was not scored.

    Args:
        values: by the sample's id.
        groups: by the sample's id; None for a single group.
    """
    return [
        Cluster(
            sample_id=name,
            group=groups[name] if groups else "",
            total=value or 0.0,
            n_scored=int(value is not None),
            n_expected=1,
        )
        for name, value in values.items()
    ]


def mean_estimate(values: Mapping[str, float | None], settings: Bootstrap = DEFAULT) -> Estimate:
    """The plain mean of values by sample, with its interval; None is in no mean."""
    return statistics.estimate(value_clusters(values), mean_of_groups, settings)
