"""What is known of CVTG-2K's images by name, and the judge of `mini`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from alphabench import statistics
from alphabench.benchmarks.object_words import named_words, open_object_judge
from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.evaluators.metrics.image_metric import SCORE
from alphabench.evaluators.word_accuracy import ENGINE, SIMILARITIES, match_words
from alphabench.questions import Answer, Judge
from alphabench.types import GeneratedImage, ProtocolName, Sample, Verdict

QUESTION: Final = SCORE
"""The id of the one verdict on an image, which plain metrics give as well."""


def upstream_key(sample: Sample) -> str:
    """Where upstream keeps the image, without the suffix: `CVTG/2/17`; KeyError for others."""
    return "/".join(str(sample.facts[key]) for key in ("benchmark_type", "area", "index"))


def failed_samples(verdicts: Iterable[Verdict]) -> list[str]:
    """The ids of samples on whose image OCR failed."""
    return [
        statistics.sample_of(v) for v in verdicts if v.status == "failed" and ENGINE in v.detail
    ]


def open_mini_judge(judge: Judge | None, protocol: ProtocolName) -> JudgeEvaluator:
    """The evaluator of `mini`, where objects stand for words; AlphaBenchError without a judge."""
    score = partial(_match_objects, protocol=protocol)
    return open_object_judge(judge, benchmark="cvtg", score=score)


def _match_objects(
    image: GeneratedImage, answers: Sequence[Answer], *, protocol: ProtocolName
) -> list[Verdict]:
    def compare(read: str) -> dict[str, list[float]]:
        match = match_words(image.request.sample.facts["words"], [read], protocol)
        return {SIMILARITIES: list(match.similarities)}

    return named_words(image, answers, question_id=QUESTION, compare=compare)
