"""UniGenBench++'s rules: shares of test points that images meet.

Equal to `calculate_scores` of eval/src/eval_common.py (CodeGoat24/UniGenBench at 49d0bce), which
ends with a share for each dimension and sub-dimension. The mean of the ten dimensions is the
`Overall` of its leaderboards. Knows no judge, no file and no run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from alphabench import statistics
from alphabench.benchmarks.reporting import ReportScope, grouped_report
from alphabench.statistics import Cluster, cluster_of
from alphabench.types import Report

IMAGES: Final = 4
"""Of a prompt."""


class JudgedPoint(NamedTuple):
    """A test point of a prompt, and whether one image meets it."""

    sample_id: str
    point: str
    """A sub-dimension: `Attribute - Color`; a prompt may have several of one."""
    met: float | None
    """1 or 0; None where it has no verdict."""


def primary_of(point: str) -> str:
    """The dimension of a sub-dimension: the text before the first hyphen, without blanks."""
    return point.partition("-")[0].strip()


def point_clusters(
    points: Iterable[JudgedPoint], group_of: Callable[[str], str] = primary_of
) -> list[Cluster]:
    """The test points of each prompt, by dimension or another group of sub-dimensions."""
    values: dict[tuple[str, str], list[float | None]] = {}
    for one in points:
        values.setdefault((one.sample_id, group_of(one.point)), []).append(one.met)
    return [cluster_of(name, of, group=group) for (name, group), of in values.items()]


def unigenbench_report(
    points: Sequence[JudgedPoint],
    scope: ReportScope,
    *,
    needed: Sequence[str],
    notes: tuple[str, ...] = (),
) -> Report:
    """Groups: dimensions, then sub-dimensions, each the share of its test points that are met.

    Headline: the mean of the dimensions, without a value while a needed one has no verdict. Extra:
    `pooled`, the share of all test points.
    """
    clusters = point_clusters(points)
    n_samples = len({one.sample_id for one in clusters if one.n_scored})
    pooled = statistics.estimate(clusters, statistics.pooled(clusters))
    report = grouped_report(
        scope,
        clusters,
        needed=needed,
        kind="dimensions",
        extras={"pooled": replace(pooled, n_samples=n_samples)},
    )
    return replace(
        report,
        headline=replace(report.headline, n_samples=n_samples),
        groups={**report.groups, **statistics.group_estimates(point_clusters(points, str))},
        notes=notes,
    )
