"""OneIG-Bench's rules for alignment and text.

Equal to upstream's `alignment_score.py` and `text_score.py` (OneIG-Bench/OneIG-Benchmark at
41b4983). Diversity, style and reasoning need four more models and are not measured, so there is no
overall score: papers state the mean of all five. Knows no judge, no file and no run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alphabench import statistics
from alphabench.benchmarks.reporting import ReportScope, build_report, scored_counts, scored_share
from alphabench.statistics import Cluster
from alphabench.types import Estimate, Report

IMAGES: Final = 4
"""Of a prompt."""
NOT_MEASURED: Final = "diversity, style and reasoning are not measured"
WITHHELD: Final = f"OneIG-Bench's overall score is the mean of five parts, of which {NOT_MEASURED}"
ALIGNMENT: Final = "alignment"
TEXT: Final = "text"
DISTANCE: Final = "text: edit distance"
EXACT: Final = "text: exact images"
WORDS: Final = "text: words"
"""Upstream's ED (in letters; lower is better), CR and WAC; in Chinese, words are characters."""

Answers = tuple[float | None, ...]
"""By question: 1 for yes, 0 for no, None where there is no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedPrompt:
    """A prompt and the answers about each of its images, after dependencies."""

    sample_id: str
    folder: str
    """Upstream's name of its category: `anime`."""
    images: tuple[Answers, ...]

    def score(self, unknown: float | None = None) -> float | None:
        """The mean over its images, each the mean over its answers; None without an answer.

        `unknown` stands for an answer that is not there; None leaves it out.
        """
        filled = [[unknown if one is None else one for one in image] for image in self.images]
        scored = [[one for one in image if one is not None] for image in filled]
        means = [sum(image) / len(image) for image in scored if image]
        return sum(means) / len(means) if means else None


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPrompt:
    """A prompt, its text, and sums over those of its images that were read."""

    sample_id: str
    words: int
    """Of the text, 1 or more; characters where it has CJK."""
    n_images: int
    """That there should be."""
    n_read: int
    distance: float
    """Letters apart."""
    exact: float
    """Images without a letter apart."""
    matched: float
    """Words that are there."""

    def sums(self, farthest: float = 0.0, *, lost: float | None = None) -> tuple[float, ...]:
        """Images, distance, exact images, matched and expected words.

        `lost` stands for each image that was not read: 1 for right, 0 for `farthest` letters apart;
        None leaves it out.
        """
        n_lost = 0 if lost is None else max(0, self.n_images - self.n_read)
        n_right, n_read = n_lost * (lost or 0.0), self.n_read + n_lost
        distance = self.distance + (n_lost - n_right) * farthest
        matched = self.matched + n_right * self.words
        return (n_read, distance, self.exact + n_right, matched, n_read * self.words)

    def cluster(self, group: str, total: float, per_image: int = 1) -> Cluster:
        """A sum over its images, as a share or a mean."""
        return Cluster(
            sample_id=self.sample_id,
            group=group,
            total=total,
            n_scored=per_image * self.n_read,
            n_expected=per_image * max(self.n_read, self.n_images),
        )


def counted_answers(answers: Sequence[float | None], parents: Sequence[Sequence[int]]) -> Answers:
    """The answers about an image: 0 where that to a parent is 0, None where one is unknown.

    Parents are positions, and count as they were answered: a zero does not pass down a chain, and a
    question that is its own parent stays as it is. (DPG-Bench's rule passes zeros down.)
    """
    counted: list[float | None] = []
    for own, above in zip(answers, parents, strict=True):
        needed = [answers[place] for place in above]
        known = own is not None and None not in needed
        counted.append((0.0 if 0.0 in needed else own) if known else None)
    return tuple(counted)


def text_scores(totals_SK: NDArray[np.float64], farthest: float) -> NDArray[np.float64]:
    """(S,) text scores from totals of `WrittenPrompt.sums`, (S, 5).

    1 - min(M, ED) (1 - CR) (1 - WAC) / M, with M = `farthest`.
    """
    n_read, distance, exact, matched, words = totals_SK.T
    lost = np.minimum(farthest, distance / n_read) * (1 - exact / n_read) * (1 - matched / words)
    scores: NDArray[np.float64] = 1 - lost / farthest
    return scores


def oneig_clusters(
    aligned: Iterable[AlignedPrompt], written: Iterable[WrittenPrompt]
) -> list[Cluster]:
    """What two runs are compared by: alignment by prompt, and of the text exact images and words.

    The text score is no mean of anything, so its two shares stand for it.
    """
    clusters = [
        statistics.cluster_of(one.sample_id, [one.score()], group=ALIGNMENT) for one in aligned
    ]
    for one in written:
        words = one.cluster(WORDS, one.matched, one.words)
        clusters += [one.cluster(EXACT, one.exact), words]
    return clusters


def oneig_report(
    aligned: Sequence[AlignedPrompt],
    written: Sequence[WrittenPrompt],
    scope: ReportScope,
    *,
    farthest: float,
    notes: Iterable[str] = (),
) -> Report:
    """Groups: alignment, the mean over prompts of all categories, and text. No headline.

    Extras: alignment by category, and what the text score is made of. Counts are of answers and of
    images that were read. `farthest`: upstream's largest distance, 100 in English, 50 in Chinese.
    """
    n_scored, n_expected = scope.statuses.get("scored", 0), sum(scope.statuses.values())
    groups = {ALIGNMENT: _mean_score(aligned)} if aligned else {}
    groups |= {TEXT: _text_estimate(written, farthest)} if written else {}
    extras = {
        f"{ALIGNMENT}: {folder}": _mean_score([one for one in aligned if one.folder == folder])
        for folder in dict.fromkeys(one.folder for one in aligned)
    }
    far = replace(statistics.DEFAULT, value_range=(0.0, farthest))
    letters = (one.cluster(DISTANCE, one.distance) for one in written)
    extras |= statistics.group_estimates(letters, far)
    extras |= statistics.group_estimates(oneig_clusters((), written))
    notes = [NOT_MEASURED, *notes]
    if n_scored < n_expected:
        notes += _bounds_notes(aligned, written, farthest)
    n_samples = sum(group.n_samples for group in groups.values())
    counts = {"n_samples": n_samples, "n_scored": n_scored, "n_expected": n_expected}
    return build_report(
        scope,
        Estimate(value=None, low=None, high=None, **counts),
        groups,
        coverage=scored_share(n_scored, n_expected),
        bounds=None,
        extras=extras,
        withheld=WITHHELD if n_scored else "",
        notes=tuple(notes),
    )


def _text_estimate(written: Sequence[WrittenPrompt], farthest: float) -> Estimate:
    """The text score, with prompts as the clusters of its interval."""
    read = [one for one in written if one.n_read]
    counts = {
        "n_samples": len(read),
        "n_scored": sum(one.n_read for one in read),
        "n_expected": sum(max(one.n_read, one.n_images) for one in written),
    }
    sums = np.array([one.sums() for one in read], dtype=np.float64)
    return statistics.estimate_of_sums(sums, lambda totals: text_scores(totals, farthest), counts)


def _mean_score(aligned: Sequence[AlignedPrompt]) -> Estimate:
    """Of some prompts, added up in their order."""
    estimate = statistics.estimate(oneig_clusters(aligned, ()), statistics.mean_of_groups)
    n_scored, n_expected = scored_counts(
        answer for one in aligned for image in one.images for answer in image
    )
    counted = replace(estimate, n_scored=n_scored, n_expected=n_expected)
    scores = [score for one in aligned if (score := one.score()) is not None]
    return counted.restated(sum(scores) / len(scores)) if scores else counted


def _bounds_notes(
    aligned: Sequence[AlignedPrompt], written: Sequence[WrittenPrompt], farthest: float
) -> Iterator[str]:
    """How low and how high the parts could be; there is no headline to have bounds."""
    ends: dict[str, list[float]] = {}
    for unknown in (0.0, 1.0):
        scores = [one.score(unknown) or 0.0 for one in aligned]
        sums = [one.sums(farthest, lost=unknown) for one in written]
        if scores:
            ends.setdefault(ALIGNMENT, []).append(sum(scores) / len(scores))
        if sums:
            total = np.sum(np.array(sums), axis=0, keepdims=True)
            ends.setdefault(TEXT, []).append(float(text_scores(total, farthest)[0]))
    for name, (low, high) in ends.items():
        yield f"{name} is {low:.3f} to {high:.3f} if all unscored verdicts are worst or best"
