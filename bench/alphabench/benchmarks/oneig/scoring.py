"""OneIG-Bench's rules for alignment and text.

Equal to upstream's `alignment_score.py` and `text_score.py` (OneIG-Bench/OneIG-Benchmark at
41b4983). Diversity, style and reasoning need four more models and are not measured, so there is no
overall score: papers state the mean of all five. Knows no judge, no file and no run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from alphabench import statistics
from alphabench.benchmarks import reporting
from alphabench.benchmarks.answered_images import AnsweredImage, answer_counts, image_scores
from alphabench.benchmarks.text_accuracy import DISTANCE, EXACT, LETTER_METRICS, WORDS, text_score
from alphabench.statistics import Bootstrap, Cluster, mean_of_groups
from alphabench.types import Estimate, Report

IMAGES: Final = 4
"""Of a prompt."""
NOT_MEASURED: Final = "diversity, style and reasoning are not measured"
WITHHELD: Final = f"OneIG-Bench's overall score is the mean of five parts, of which {NOT_MEASURED}"
ALIGNMENT: Final = "alignment"
TEXT: Final = "text"


def counted_answers(
    answers: Sequence[float | None], parents: Sequence[Sequence[int]]
) -> tuple[float | None, ...]:
    """The answers about an image: 0 where that to a parent is 0, None where one is unknown.

    Parents are numbers of questions, from 1; others are none. They count as they were answered: a
    zero does not pass down a chain, and a question that is its own parent stays as it is.
    (DPG-Bench's rule passes zeros down.)
    """
    counted: list[float | None] = []
    for own, above in zip(answers, parents, strict=True):
        needed = [own, *(answers[number - 1] for number in above if 0 < number <= len(answers))]
        counted.append(None if None in needed else 0.0 if 0.0 in needed else own)
    return tuple(counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneIGMeasures:
    """Both measures of a run, or of upstream's tables."""

    aligned: Sequence[AnsweredImage]
    """Images of prompts with questions, with the answers after dependencies; groups are upstream's
    folders (`anime`)."""
    written: Sequence[Sequence[Cluster]]
    """`letter_clusters` of each prompt with a text."""
    farthest: float
    """Upstream's largest distance: 100 letters in English, 50 in Chinese."""

    @property
    def texts(self) -> dict[str, tuple[Cluster, ...]]:
        """Upstream's ED, CR and WAC of the prompts with a text; empty without one."""
        return dict(zip(LETTER_METRICS, zip(*self.written, strict=True), strict=False))

    def clusters(self) -> list[Cluster]:
        """What two runs are compared by: alignment by prompt, and exact images and words of texts.

        The text score is no mean of anything, so its two shares stand for it.
        """
        shares = (one for _, *of_prompt in self.written for one in of_prompt)
        return [*alignment_clusters(self.aligned), *shares]

    def estimates(self) -> dict[str, Estimate]:
        """By name, as far as there are such prompts: both measures, and what each is made of.

        Alignment is the mean over prompts of all categories, and of each; text has LETTER_METRICS.
        Counts are of answers and of images that were read.
        """
        images: dict[str, list[AnsweredImage]] = {}
        for image in self.aligned:
            for name in (ALIGNMENT, f"{ALIGNMENT}: {image.group}"):
                images.setdefault(name, []).append(image)
        found = {name: _alignment(of) for name, of in images.items()}
        for metric, clusters in self.texts.items():
            settings = Bootstrap(value_range=(0.0, self.farthest if metric == DISTANCE else 1.0))
            found[metric] = statistics.estimate(clusters, mean_of_groups, settings)
        if self.written:
            found[TEXT] = statistics.joint_estimate(self.texts, partial(text_score, self.farthest))
        return found

    def measures_if(self, unknown: float) -> dict[str, float]:
        """Both if all that was not scored were worst (0), or best (1)."""
        found = {}
        if self.aligned:
            scores = [one.total for one in alignment_clusters(self.aligned, unknown)]
            found[ALIGNMENT] = sum(scores) / len(scores)
        if self.written:
            filled = {DISTANCE: (1 - unknown) * self.farthest, EXACT: unknown, WORDS: unknown}
            means = {
                name: statistics.filled_mean(of, filled[name]) for name, of in self.texts.items()
            }
            found[TEXT] = float(text_score(self.farthest, means)[0])
        return found

    def report(self, scope: reporting.ReportScope, notes: Iterable[str] = ()) -> Report:
        """Groups: alignment and text, without a headline. Extras: what they are made of."""
        extras = self.estimates()
        return reporting.parts_report(
            scope,
            {name: extras.pop(name) for name in (ALIGNMENT, TEXT) if name in extras},
            worst=self.measures_if(0.0),
            best=self.measures_if(1.0),
            why=WITHHELD,
            extras=extras,
            notes=(NOT_MEASURED, *notes),
        )


def alignment_clusters(
    images: Iterable[AnsweredImage], unknown: float | None = None
) -> list[Cluster]:
    """The score of each prompt, the mean over its images; see `AnsweredImage.score`."""
    return [
        statistics.cluster_of(name, [reporting.plain_mean(scores)], group=ALIGNMENT)
        for (name, _), scores in image_scores(images, unknown).items()
    ]


def _alignment(images: Sequence[AnsweredImage]) -> Estimate:
    """The mean over prompts, added up in their order; counts are of answers."""
    prompts = alignment_clusters(images)
    n_scored, n_expected = answer_counts(images)
    mean = statistics.estimate(prompts, mean_of_groups)
    counted = replace(mean, n_scored=n_scored, n_expected=n_expected)
    return reporting.as_added_up(counted, (one.total for one in prompts if one.n_scored))
