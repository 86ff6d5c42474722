"""LongText-Bench's rule: the share of all words, or characters, that are in the images.

Equal to upstream's `summary_scores.py` (X-Omni-Team/X-Omni at 2b8237b), which pools all images: a
long text weighs more than a short one. Groups and lengths are ours; upstream prints neither. Knows
no judge, no file and no run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from alphabench import statistics
from alphabench.benchmarks.reporting import ReportScope, build_report, scored_share
from alphabench.benchmarks.text_accuracy import unit_cluster
from alphabench.statistics import Cluster
from alphabench.types import Estimate, Report

IMAGES: Final = 4
"""Of a prompt."""
LENGTHS: Final = ("short", "long")
PER_IMAGE: Final = "mean over images"
"""The plain mean of the images' shares, in which each image has the same weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadImage:
    """One image: how much of its text was read in it."""

    sample_id: str
    category: str
    length: str
    expected: int
    """Words or characters that should be there; 1 or more."""
    matched: int | None
    """Those that are; None where nothing is known."""


def text_clusters(
    images: Iterable[ReadImage], group: Callable[[ReadImage], str] = lambda _: "all"
) -> list[Cluster]:
    """The words of each prompt's images, each worth 1 where it is there and 0 where it is not."""
    samples: dict[tuple[str, str], list[ReadImage]] = {}
    for image in images:
        samples.setdefault((image.sample_id, group(image)), []).append(image)
    return [
        unit_cluster(name, ((image.matched, image.expected) for image in of), group=in_group)
        for (name, in_group), of in samples.items()
    ]


def longtext_report(images: Sequence[ReadImage], scope: ReportScope) -> Report:
    """Headline: the share of all words that are there. Groups: categories. Extras: lengths.

    Images without a transcription are left out of all of them; counts are of images.
    """
    n_scored = sum(image.matched is not None for image in images)
    clusters = text_clusters(images)
    extras = {
        f"{length} texts": pooled_estimate([one for one in images if one.length == length])
        for length in LENGTHS
    }
    shares: dict[str, list[float | None]] = {}
    for one in images:
        share = None if one.matched is None else one.matched / one.expected
        shares.setdefault(one.sample_id, []).append(share)
    means = [statistics.cluster_of(name, of) for name, of in shares.items()]
    extras[PER_IMAGE] = statistics.estimate(means, statistics.mean_of_groups)
    return build_report(
        scope,
        pooled_estimate(images),
        {
            name: pooled_estimate([one for one in images if one.category == name])
            for name in dict.fromkeys(one.category for one in images)
        },
        coverage=scored_share(n_scored, len(images)),
        bounds=statistics.bounds(clusters, statistics.mean_of_groups),
        extras={name: extra for name, extra in extras.items() if extra.n_expected},
    )


def pooled_estimate(images: Sequence[ReadImage]) -> Estimate:
    """The share of all words of some images, as one fraction; counts are of images."""
    known = [one for one in images if one.matched is not None]
    estimate = statistics.estimate(text_clusters(images), statistics.mean_of_groups)
    counted = Estimate(
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n_samples=estimate.n_samples,
        n_scored=len(known),
        n_expected=len(images),
    )
    if not known:
        return counted
    return counted.restated(
        sum(one.matched or 0 for one in known) / sum(one.expected for one in known)
    )
