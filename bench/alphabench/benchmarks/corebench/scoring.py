"""T2I-CoReBench's rules: metrics from yes/no answers about images.

Equal to upstream's `evaluate.py` (KlingTeam/T2I-CoReBench at ebf7b7a), which ends with one mean for
each dimension; means over dimensions are those of its leaderboard, here the headline and its two
halves. Knows no judge, no file and no run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from alphabench import statistics
from alphabench.benchmarks.answered_images import AnsweredImage, answer_counts, image_scores
from alphabench.benchmarks.reporting import (
    ReportScope,
    as_added_up,
    build_report,
    scored_share,
)
from alphabench.statistics import Cluster, cluster_of
from alphabench.types import Report

COMPOSITION: Final = ("C-MI", "C-MA", "C-MR", "C-TR")
REASONING: Final = ("R-LR", "R-BR", "R-HR", "R-PR", "R-GR", "R-AR", "R-CR", "R-RR")
DIMENSIONS: Final = (*COMPOSITION, *REASONING)
IMAGES: Final = 4
"""Of a prompt."""
N_IMAGES: Final = 1080 * IMAGES


def image_clusters(images: Iterable[AnsweredImage], unknown: float | None = None) -> list[Cluster]:
    """The images of each prompt, each worth one score."""
    scores = image_scores(images, unknown)
    return [cluster_of(name, of, group=group) for (name, group), of in scores.items()]


def corebench_report(
    images: Sequence[AnsweredImage], scope: ReportScope, *, needed: Sequence[str] = DIMENSIONS
) -> Report:
    """Groups: dimensions, each the mean over its images. Headline: the mean of all dimensions.

    Extras: the means of the dimensions of composition and of reasoning. None of the three has a
    value while one of its dimensions has no scored image; counts are of answers.
    """
    clusters = image_clusters(images)
    counts = answer_counts(images)
    parts, reasons = {}, {}
    halves = (("", DIMENSIONS), ("composition", COMPOSITION), ("reasoning", REASONING))
    for name, dimensions in halves:
        of = [cluster for cluster in clusters if cluster.group in dimensions]
        wanted = [dimension for dimension in dimensions if dimension in needed]
        estimate = statistics.estimate(of, statistics.mean_of_groups)
        parts[name], reasons[name] = statistics.over_all_groups(
            estimate, of, wanted, kind="dimensions"
        )
    headline = replace(parts.pop(""), n_scored=counts[0], n_expected=counts[1])
    groups = statistics.group_estimates(clusters)
    return build_report(
        scope,
        headline,
        {
            name: as_added_up(groups[name], (i.score() for i in images if i.group == name))
            for name in DIMENSIONS
            if name in groups
        },
        coverage=scored_share(*counts),
        bounds=_bounds(images, needed),
        extras=parts,
        withheld=reasons[""],
    )


def _bounds(images: Sequence[AnsweredImage], needed: Sequence[str]) -> tuple[float, float] | None:
    """The headline were every unknown answer no, and yes; None without all dimensions."""
    if not images or not {image.group for image in images} >= set(needed):
        return None
    low, high = (
        statistics.estimate(image_clusters(images, unknown), statistics.mean_of_groups).value
        for unknown in (0.0, 1.0)
    )
    return None if low is None or high is None else (low, high)
