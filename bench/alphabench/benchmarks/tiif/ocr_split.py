"""TIIF-Bench's text items, scored by OCR instead of a judge: recall and GNED.

A split of its own (`tiif:testmini-text`), because other questions are asked about the images. The
expected words are those in quotation marks in upstream's questions; upstream has them entered by
hand. Knows no OCR engine.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from alphabench import statistics
from alphabench.benchmarks.reporting import ReportScope, build_report, coverage_of
from alphabench.benchmarks.tiif.scoring import LENGTHS, stratum
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.options import split_spec
from alphabench.evaluators.ocr import GNED, QUESTIONS, RECALL, RapidReader, TextEvaluator
from alphabench.interfaces import Benchmark, Evaluator
from alphabench.questions import Judge
from alphabench.types import Card, Report, Sample, Verdict

ATTRIBUTE: Final = "text"
OCR: Final = "ocr"
_QUOTED: Final = re.compile(r"[^']*'(.*)'[^']*")


@dataclass(frozen=True, slots=True, kw_only=True)
class TiifText:
    """The text items of one split of TIIF-Bench."""

    prompts: Benchmark

    @property
    def card(self) -> Card:
        card = self.prompts.card
        return dataclasses.replace(
            card,
            split=f"{card.split}-text",
            title=f"{card.title}: text items by OCR",
            evaluators=(OCR,),
        )

    def samples(self) -> Sequence[Sample]:
        """The samples of the attribute `text` in order, with their words."""
        return [
            dataclasses.replace(sample, facts={**sample.facts, "text": quoted_words(sample)})
            for sample in self.prompts.samples()
            if sample.facts["type"] == ATTRIBUTE
        ]

    def questions(self, sample: Sample) -> Sequence[str]:  # noqa: ARG002  (the same for all)
        return QUESTIONS

    def evaluator(
        self, spec: str | None = None, *, judge: Judge | None = None, device: str = "cpu"
    ) -> Evaluator:
        """`ocr`, which has no options."""
        del device
        name, options = split_spec(spec or OCR)
        if name != OCR:
            raise unknown_name("evaluator of tiif's text items", name, [OCR])
        if options:
            raise unknown_name("option of ocr", next(iter(options)), [])
        if judge is not None:
            raise AlphaBenchError("OCR puts no questions to a judge", hint="leave out --judge")
        return TextEvaluator(reader=RapidReader())

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """Headline: the mean recall of all images. Groups: recall by length. Extras: GNED.

        GNED is an error: lower is better. The two protocols do not differ.
        """
        clusters = {
            question: statistics.gather(
                samples, [v for v in verdicts if v.question_id == question], n_expected=1
            )
            for question in QUESTIONS
        }
        statuses = statistics.count_statuses(samples, verdicts, n_expected=len(QUESTIONS))
        recalls, errors = clusters[RECALL], clusters[GNED]
        formula = statistics.pooled(recalls)
        extras = {
            f"GNED {length}, lower is better": statistics.estimate(
                [cluster for cluster in errors if cluster.group == stratum(ATTRIBUTE, length)],
                statistics.mean_of_groups,
            )
            for length in LENGTHS
        }
        scope = ReportScope(
            benchmark="tiif",
            split=self.card.split,
            protocol=self.card.protocol,
            evaluator=evaluator,
            statuses=statuses,
            has_all_samples=len(samples) >= len(all_samples),
        )
        return build_report(
            scope,
            statistics.estimate(recalls, formula),
            statistics.group_estimates(recalls),
            coverage=coverage_of(recalls),
            bounds=statistics.bounds(recalls, statistics.mean_of_groups),
            extras={name: metric for name, metric in extras.items() if metric.n_expected},
        )


def quoted_words(sample: Sample) -> list[str]:
    """The words that a text item asks for, in order, split at blanks.

    Raises:
        AlphaBenchError: a question that quotes none.
    """
    found: list[str] = []
    for question in sample.facts["questions"]:
        match = _QUOTED.fullmatch(question)
        if match is None:
            raise AlphaBenchError(
                f"the question {question!r} of {sample.id!r} quotes no word",
                hint="restore the file from its source",
            )
        found += match.group(1).split()
    return found
