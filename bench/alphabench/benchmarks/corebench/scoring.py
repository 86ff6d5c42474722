"""T2I-CoReBench's rules: metrics from yes/no answers about images.

Equal to upstream's `evaluate.py` (KlingTeam/T2I-CoReBench at ebf7b7a), which ends with one mean for
each dimension; means over dimensions are those of its leaderboard, here the headline and its two
halves. Knows no judge, no file and no run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from alphabench import statistics
from alphabench.benchmarks.reporting import ReportScope, build_report, scored_counts, scored_share
from alphabench.statistics import Cluster, cluster_of
from alphabench.types import Estimate, Report

COMPOSITION: Final = ("C-MI", "C-MA", "C-MR", "C-TR")
REASONING: Final = ("R-LR", "R-BR", "R-HR", "R-PR", "R-GR", "R-AR", "R-CR", "R-RR")
DIMENSIONS: Final = (*COMPOSITION, *REASONING)
IMAGES: Final = 4
"""Of a prompt."""
N_IMAGES: Final = 1080 * IMAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedImage:
    """One image and the answers about it."""

    sample_id: str
    dimension: str
    answers: tuple[float | None, ...]
    """By question: 1 for yes, 0 for no, None where there is none."""

    def score(self, unknown: float | None = None) -> float | None:
        """The mean over its answers, in order; None without one.

        Args:
            unknown: what to take for an answer that is not there; None leaves it out.
        """
        known = [unknown if one is None else one for one in self.answers]
        scored = [one for one in known if one is not None]
        return sum(scored) / len(scored) if scored else None


def image_clusters(images: Iterable[JudgedImage], unknown: float | None = None) -> list[Cluster]:
    """The images of each prompt, each worth one score."""
    scores: dict[tuple[str, str], list[float | None]] = {}
    for image in images:
        key = (image.sample_id, image.dimension)
        scores.setdefault(key, []).append(image.score(unknown))
    return [cluster_of(name, of, group=group) for (name, group), of in scores.items()]


def corebench_report(
    images: Sequence[JudgedImage], scope: ReportScope, *, needed: Sequence[str] = DIMENSIONS
) -> Report:
    """Groups: dimensions, each the mean over its images. Headline: the mean of all dimensions.

    Extras: the means of the dimensions of composition and of reasoning. None of the three has a
    value while one of its dimensions has no scored image; counts are of answers.
    """
    clusters = image_clusters(images)
    counts = scored_counts(answer for image in images for answer in image.answers)
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
        {name: _as_added_up(name, groups[name], images) for name in DIMENSIONS if name in groups},
        coverage=scored_share(*counts),
        bounds=_bounds(images, needed),
        extras=parts,
        withheld=reasons[""],
    )


def _as_added_up(name: str, mean: Estimate, images: Sequence[JudgedImage]) -> Estimate:
    """The same mean, added up image after image as upstream does, to the last bit."""
    found = [image.score() for image in images if image.dimension == name]
    scores = [score for score in found if score is not None]
    return mean.restated(sum(scores) / len(scores)) if scores else mean


def _bounds(images: Sequence[JudgedImage], needed: Sequence[str]) -> tuple[float, float] | None:
    """The headline were every unknown answer no, and yes; None without all dimensions."""
    if not images or not {image.dimension for image in images} >= set(needed):
        return None
    low, high = (
        statistics.estimate(image_clusters(images, unknown), statistics.mean_of_groups).value
        for unknown in (0.0, 1.0)
    )
    return None if low is None or high is None else (low, high)
