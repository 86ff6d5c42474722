"""DVReward on the samples of any benchmark: uses their questions, or questions made by rules.

A sample's questions are, in this order of preference: those among its facts; those that follow from
GenEval's facts; one question about the complete prompt. The last is a poor decomposition, which the
identity states.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from alphabench.core.options import split_spec
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.types import GeneratedImage, Sample, Verdict
from alphagrpo.dvreward.evaluators import open_evaluator
from alphagrpo.dvreward.prompt_sources import questions_from_facts
from alphagrpo.dvreward.question_files import DVQuestion, QuestionSet, facts_of

_KEYS = ("semantic_questions", "quality_questions")


def open_for_any_benchmark(judge: Judge, spec: str = "dvreward") -> Evaluator:
    """A reward of a judge for the samples of any benchmark.

    Args:
        judge: one without log-probabilities is asked for the word in the place of P(yes).
        spec: `dvreward` with options, such as `dvreward?semantic_weight=1`, or `holistic`, which
            needs no questions.

    Raises:
        AlphaBenchError: an unknown name or option, or a judge that cannot do it.
    """
    name, options = split_spec(spec)
    if name == "holistic":
        return open_evaluator(spec, judge, protocol="official")
    if "answer" not in options and not judge.capabilities.logprobs:
        spec = f"{spec}{'&' if options else '?'}answer=text"
    return AnyBenchmarkEvaluator(open_evaluator(spec, judge, protocol="official"))


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
