"""DVReward on the samples of any benchmark: uses their questions, or questions made by rules.

A sample's questions are, in this order of preference: those among its facts; those that follow from
GenEval's facts; one question about the complete prompt. The last is a poor decomposition, which the
identity states.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.types import GeneratedImage, Sample, Verdict
from alphagrpo.dvreward.evaluators import dvreward_evaluator
from alphagrpo.dvreward.prompt_sources import questions_from_facts
from alphagrpo.dvreward.question_files import DVQuestion, QuestionSet, facts_of
from alphagrpo.dvreward.verification import VerificationOptions

_KEYS = ("semantic_questions", "quality_questions")


def open_for_any_benchmark(judge: Judge) -> Evaluator:
    """DVReward by P(yes), or by the answer's text for a judge without log-probabilities."""
    by_text = not judge.capabilities.logprobs
    inner = dvreward_evaluator(
        judge,
        verification_options=VerificationOptions(answer="text" if by_text else "probability"),
    )
    return AnyBenchmarkEvaluator(inner)


@dataclass(frozen=True, slots=True)
class AnyBenchmarkEvaluator:
    """See `alphabench.types.Evaluator`."""

    inner: Evaluator

    @property
    def identity(self) -> Mapping[str, str]:
        return {**self.inner.identity, "questions": "own, by facts, or one about the whole prompt"}

    @property
    def batch_size(self) -> int:
        return self.inner.batch_size

    def self_test(self) -> None:
        """That of the judge."""
        self.inner.self_test()

    def evaluate(self, images: Sequence[GeneratedImage]) -> Iterator[Verdict]:
        """One verdict for each image."""
        return self.inner.evaluate([_with_questions(image) for image in images])


def _with_questions(image: GeneratedImage) -> GeneratedImage:
    sample = image.request.sample
    if any(sample.facts.get(key) for key in _KEYS):
        return image
    complete = replace(sample, facts=facts_of(_questions(sample)))
    return replace(image, request=replace(image.request, sample=complete))


def _questions(sample: Sample) -> QuestionSet:
    # The facts of an edit describe two images.
    if sample.facts.get("include") and "source" not in sample.facts:
        return questions_from_facts(0, sample)
    whole = f"Does the picture show all of this: {sample.prompt.rstrip('.')}?"
    question = DVQuestion(aspect="semantic", text=whole)
    return QuestionSet(prompt=sample.prompt, semantic=(question,), quality=())
