"""Images and the answers to the questions about each: what checklists of all benchmarks share.

An image is worth the mean over its answers, so that each image counts alike, however many of its
questions were answered. Knows no benchmark, no judge and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from alphabench import statistics
from alphabench.benchmarks.judged import values_by_image
from alphabench.benchmarks.reporting import as_added_up, plain_mean, scored_counts
from alphabench.statistics import Cluster, cluster_of, mean_of_groups
from alphabench.types import Estimate, Sample, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredImage:
    """One image and the answers about it."""

    sample_id: str
    group: str
    """Of the sample."""
    answers: tuple[float | None, ...]
    """By question: 1 for yes, 0 for no, None where there is none."""

    def score(self, unknown: float | None = None) -> float | None:
        """The mean over its answers; see `plain_mean`."""
        return plain_mean(self.answers, unknown)


def answered_images(
    samples: Sequence[Sample],
    verdicts: Sequence[Verdict],
    questions: Callable[[Sample], Sequence[str]],
    *,
    images: int,
) -> dict[str, AnsweredImage]:
    """Image id -> the answers that verdicts hold; the arguments are those of `values_by_image`."""
    return {
        one.image_id: AnsweredImage(
            sample_id=one.sample.id, group=one.sample.group, answers=one.values
        )
        for one in values_by_image(samples, verdicts, questions, images=images)
    }


def image_scores(
    images: Iterable[AnsweredImage], unknown: float | None = None
) -> dict[tuple[str, str], list[float | None]]:
    """Id and group of each sample -> the scores of its images; see `AnsweredImage.score`."""
    scores: dict[tuple[str, str], list[float | None]] = {}
    for image in images:
        scores.setdefault((image.sample_id, image.group), []).append(image.score(unknown))
    return scores


def answer_counts(images: Iterable[AnsweredImage]) -> tuple[int, int]:
    """How many answers there are, and how many there should be."""
    return scored_counts(answer for image in images for answer in image.answers)


def sample_clusters(
    images: Iterable[AnsweredImage], unknown: float | None = None, *, group: str = "all"
) -> list[Cluster]:
    """The score of each sample, the mean over its images; see `AnsweredImage.score`."""
    scores = image_scores(images, unknown)
    return [cluster_of(name, [plain_mean(of)], group=group) for (name, _), of in scores.items()]


def mean_over_samples(images: Sequence[AnsweredImage]) -> Estimate:
    """The mean of the samples' scores, added up in their order; counts are of answers."""
    samples = sample_clusters(images)
    n_scored, n_expected = answer_counts(images)
    mean = statistics.estimate(samples, mean_of_groups)
    counted = replace(mean, n_scored=n_scored, n_expected=n_expected)
    return as_added_up(counted, (one.total for one in samples if one.n_scored))
