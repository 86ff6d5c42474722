"""Text in images: what was read, and how near it is to the text that should be there.

Words (or characters) are units of which an image has several, so that each word counts alike. By
letters, a prompt has three metrics, each over its images that were read:

    text: edit distance    letters apart; lower is better
    text: exact images     1 where none is, else 0
    text: words            words of the text that are there

and `text`, the score that is made of their means.

Knows no benchmark and no engine that reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphabench import statistics
from alphabench.core.files import well_formed
from alphabench.evaluators.judge_evaluator import verdict_from
from alphabench.questions import Answer, Reply
from alphabench.statistics import Bootstrap, Cluster, Means, mean_of_groups
from alphabench.types import Estimate, Verdict

READ: Final = "transcription"
"""In a verdict's detail: the text that was read, or its words joined by blanks."""
DISTANCE: Final = "text: edit distance"
EXACT: Final = "text: exact images"
WORDS: Final = "text: words"
LETTER_METRICS: Final = (DISTANCE, EXACT, WORDS)
TEXT: Final = "text"


class ReadText(NamedTuple):
    """`LETTER_METRICS` of one image, or their means over several images."""

    distance: float
    exact: float
    words: float

    @classmethod
    def of(cls, distance: float, words: float) -> ReadText:
        """Of an image that is so many letters apart, and has so many of the words."""
        return cls(distance, float(distance == 0), words)

    @classmethod
    def in_verdict(cls, verdict: Verdict, words: int) -> ReadText:
        """Of an image that was scored, whose text has so many words."""
        return cls.of(verdict.number("distance"), round((verdict.value or 0.0) * words))


def transcription_verdict(
    answer: Answer, *, text: str, read: Callable[[Reply], str], counts: Sequence[str]
) -> Verdict:
    """The one verdict on an image, from a transcription: the share of its text that is there.

    Args:
        answer: its values are the share, and counts.
        text: that should be there.
        read: the text in a reply.
        counts: what the verdict's detail calls them.
    """
    detail: dict[str, Any] = {"text": text}
    if answer.values is not None and answer.reply is not None:
        detail[READ] = well_formed(read(answer.reply))
        detail |= zip(counts, map(int, answer.values[1:]), strict=True)
    return verdict_from(answer, detail=detail)


def unit_cluster(
    sample_id: str, images: Iterable[tuple[float | None, int]], *, group: str = "all"
) -> Cluster:
    """One sample whose images have several units each, such as the words of a text.

    Args:
        sample_id: of the sample.
        images: of each, the sum over its units, None where it was not scored; and their number.
        group: of the sample.
    """
    every = list(images)
    return Cluster(
        sample_id=sample_id,
        group=group,
        total=float(sum(total or 0.0 for total, _ in every)),
        n_scored=sum(n for total, n in every if total is not None),
        n_expected=sum(n for _, n in every),
    )


def letter_clusters(
    sample_id: str, words: int, read: Sequence[ReadText], *, n_images: int
) -> tuple[Cluster, ...]:
    """One sample by each of `LETTER_METRICS`.

    Args:
        sample_id: of the sample.
        words: of its text, 1 or more.
        read: of its images that were read.
        n_images: that there should be.
    """
    return tuple(
        Cluster(
            sample_id=sample_id,
            group=metric,
            total=float(sum(one[place] for one in read)),
            n_scored=units * len(read),
            n_expected=units * n_images,
        )
        for place, (metric, units) in enumerate(zip(LETTER_METRICS, (1, 1, words), strict=True))
    )


def text_score(farthest: float, means: Means) -> NDArray[np.float64]:
    """1 - min(M, ED) (1 - CR) (1 - WAC) / M from the means of `LETTER_METRICS`, M = `farthest`.

    As OneIG-Bench's `text_score.py` (OneIG-Bench/OneIG-Benchmark at 41b4983); a formula for
    `statistics.joint_estimate`.
    """
    distance, exact, words = (means[metric] for metric in LETTER_METRICS)
    lost: NDArray[np.float64] = np.minimum(farthest, distance) * (1 - exact) * (1 - words)
    return 1 - lost / farthest


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterMeasure:
    """All prompts with a text, by letters."""

    prompts: Sequence[Sequence[Cluster]]
    """`letter_clusters` of each."""
    farthest: float
    """M of `text_score`: a distance that is as bad as any larger one."""

    @property
    def metrics(self) -> dict[str, tuple[Cluster, ...]]:
        """The prompts by each of `LETTER_METRICS`; empty without one."""
        return dict(zip(LETTER_METRICS, zip(*self.prompts, strict=True), strict=False))

    def estimates(self) -> dict[str, Estimate]:
        """`LETTER_METRICS` and `TEXT`, none without a prompt; counts are of images and of words."""
        found = {}
        for metric, clusters in self.metrics.items():
            settings = Bootstrap(value_range=(0.0, self.farthest if metric == DISTANCE else 1.0))
            found[metric] = statistics.estimate(clusters, mean_of_groups, settings)
        if self.prompts:
            score = partial(text_score, self.farthest)
            found[TEXT] = statistics.joint_estimate(self.metrics, score)
        return found

    def score_if(self, unknown: float) -> float:
        """`TEXT` if all that was not read were worst (0), or best (1)."""
        filled = {DISTANCE: (1 - unknown) * self.farthest, EXACT: unknown, WORDS: unknown}
        of = {name: statistics.filled_mean(c, filled[name]) for name, c in self.metrics.items()}
        return float(text_score(self.farthest, of)[0])
