"""UniGenBench++'s rules: shares of test points that images meet.

Equal to `calculate_scores` of eval/src/eval_common.py (CodeGoat24/UniGenBench at 49d0bce), which
ends with a share for each dimension and sub-dimension. The mean of the ten dimensions is the
`Overall` of its leaderboards. Knows no judge, no file and no run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from alphabench import statistics
from alphabench.benchmarks.reporting import ReportScope, grouped_report
from alphabench.statistics import Cluster, cluster_of
from alphabench.types import Report

IMAGES: Final = 4
"""Of a prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedImage:
    """One image and which of its prompt's test points it meets."""

    sample_id: str
    points: tuple[str, ...]
    """Sub-dimensions: `Attribute - Color`; one may be there twice."""
    met: tuple[float | None, ...]
    """By test point: 1 or 0, None where it has no verdict."""


def primary_of(point: str) -> str:
    """The dimension of a sub-dimension: the text before the first hyphen, without blanks."""
    return point.partition("-")[0].strip()


def point_clusters(
    images: Iterable[JudgedImage], group_of: Callable[[str], str] = primary_of
) -> list[Cluster]:
    """The test points of each prompt, by dimension or another group of sub-dimensions."""
    values: dict[tuple[str, str], list[float | None]] = {}
    for image in images:
        for point, met in zip(image.points, image.met, strict=True):
            values.setdefault((image.sample_id, group_of(point)), []).append(met)
    return [cluster_of(name, of, group=group) for (name, group), of in values.items()]


def unigenbench_report(
    images: Sequence[JudgedImage],
    scope: ReportScope,
    *,
    needed: Sequence[str],
    notes: tuple[str, ...] = (),
) -> Report:
    """Groups: dimensions, then sub-dimensions, each the share of its test points that are met.

    Headline: the mean of the dimensions, without a value while a needed one has no verdict. Extra:
    `pooled`, the share of all test points.
    """
    clusters = point_clusters(images)
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
        groups={**report.groups, **statistics.group_estimates(point_clusters(images, str))},
        notes=notes,
    )
