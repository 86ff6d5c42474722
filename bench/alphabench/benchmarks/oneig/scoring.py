"""OneIG-Bench's rules for alignment and text.

Equal to upstream's `alignment_score.py` and `text_score.py` (OneIG-Bench/OneIG-Benchmark at
41b4983). Diversity, style and reasoning need four more models and are not measured, so there is no
overall score: papers state the mean of all five. Knows no judge, no file and no run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from alphabench.benchmarks import reporting
from alphabench.benchmarks.answered_images import AnsweredImage, mean_over_samples, sample_clusters
from alphabench.benchmarks.text_accuracy import TEXT, LetterMeasure
from alphabench.statistics import Cluster
from alphabench.types import Estimate, Report

IMAGES: Final = 4
"""Of a prompt."""
NOT_MEASURED: Final = "diversity, style and reasoning are not measured"
WITHHELD: Final = f"OneIG-Bench's overall score is the mean of five parts, of which {NOT_MEASURED}"
ALIGNMENT: Final = "alignment"


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
    written: LetterMeasure
    """The prompts with a text."""

    def clusters(self) -> list[Cluster]:
        """What two runs are compared by: alignment by prompt, and exact images and words of texts.

        The text score is no mean of anything, so its two shares stand for it.
        """
        shares = (one for _, *of_prompt in self.written.prompts for one in of_prompt)
        return [*sample_clusters(self.aligned, group=ALIGNMENT), *shares]

    def estimates(self) -> dict[str, Estimate]:
        """By name, as far as there are such prompts: both measures, and what each is made of.

        Alignment is the mean over prompts of all categories, and of each.
        """
        images: dict[str, list[AnsweredImage]] = {}
        for image in self.aligned:
            for name in (ALIGNMENT, f"{ALIGNMENT}: {image.group}"):
                images.setdefault(name, []).append(image)
        aligned = {name: mean_over_samples(of) for name, of in images.items()}
        return aligned | self.written.estimates()

    def measures_if(self, unknown: float) -> dict[str, float]:
        """Both if all that was not scored were worst (0), or best (1)."""
        scores = [one.total for one in sample_clusters(self.aligned, unknown)]
        found = {ALIGNMENT: sum(scores) / len(scores)} if scores else {}
        return found | ({TEXT: self.written.score_if(unknown)} if self.written.prompts else {})

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
