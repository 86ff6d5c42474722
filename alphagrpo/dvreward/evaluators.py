"""DVReward and its baseline as evaluators: a judge, the questions of a sample, and a verdict.

A benchmark's run and a trainer use the same evaluators; a trainer takes the value of the one
verdict on each image as the reward, None being none. Knows no particular judge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from alphabench.core.errors import unknown_name
from alphabench.core.options import fill, split_spec
from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.questions import Answer, Capabilities, ImagePart, Judge, Question
from alphabench.types import GeneratedImage, ProtocolName, Verdict
from alphagrpo.dvreward import aggregate, verification
from alphagrpo.dvreward.aggregate import AggregationOptions
from alphagrpo.dvreward.prompt_sources import questions_of
from alphagrpo.dvreward.verification import (
    REWARD,
    VerificationOptions,
    questions_about,
    score_answers,
)
from alphagrpo.holistic import Grades, holistic_questions, score_holistic

EVALUATORS: Final = ("dvreward", "holistic")


def open_evaluator(spec: str, judge: Judge, *, protocol: ProtocolName) -> JudgeEvaluator:
    """An evaluator by name with options: `dvreward?aggregate=mean&answer=text`, or `holistic`.

    Args:
        spec: options are the fields of `VerificationOptions` and `AggregationOptions`.
        judge: with log-probabilities, unless `answer=text`.
        protocol: decides what `invalid` and `empty` are where the spec does not say.

    Raises:
        AlphaBenchError: unknown name or option, or a judge that cannot do it.
    """
    name, options = split_spec(spec)
    if name not in EVALUATORS:
        raise unknown_name("evaluator of dvreward", name, EVALUATORS)
    if name == "holistic":
        fill(_NoOptions, options, owner=name)
        return holistic_evaluator(judge)
    if protocol == "strict":
        options = {"invalid": "left_out", "empty": "left_out", **options}
    fields = {field.name for field in dataclasses.fields(VerificationOptions)}
    ours = {key: value for key, value in options.items() if key in fields}
    others = {key: value for key, value in options.items() if key not in fields}
    return dvreward_evaluator(
        judge,
        verification_options=fill(VerificationOptions, ours, owner=name),
        aggregation_options=fill(AggregationOptions, others, owner=name),
    )


def dvreward_evaluator(
    judge: Judge,
    *,
    verification_options: VerificationOptions = verification.AS_RELEASED,
    aggregation_options: AggregationOptions = aggregate.AS_RELEASED,
) -> JudgeEvaluator:
    """One verdict for each image of samples that carry questions (`sources.to_sample`).

    Raises:
        AlphaBenchError: P(yes) is asked of a judge without log-probabilities.
    """
    return JudgeEvaluator(
        judge=judge,
        questions_about=_QuestionsOfSample(verification_options),
        score=_ScoreAll(verification_options, aggregation_options),
        identity={
            **{
                f"question.{key}": value
                for key, value in verification_options.answer_format.identity.items()
            },
            "invalid": verification_options.invalid,
            **aggregation_options.identity,
        },
        needs=Capabilities(
            images_per_question=1, logprobs=verification_options.answer == "probability"
        ),
    )


def holistic_evaluator(judge: Judge) -> JudgeEvaluator:
    """The baseline: one grade for each image, whatever its sample's benchmark."""
    identity = {**Grades(name="consistency").identity, "contract": "holistic"}
    return JudgeEvaluator(
        judge=judge,
        questions_about=_ask_holistic,
        score=_settle_holistic,
        identity={f"question.{key}": value for key, value in identity.items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _NoOptions:
    """The baseline has none."""


@dataclass(frozen=True, slots=True)
class _QuestionsOfSample:
    verification_options: VerificationOptions

    def __call__(self, image: GeneratedImage) -> Sequence[Question]:
        questions = questions_of(image.request.sample)
        return questions_about(image.id, ImagePart.of(image), questions, self.verification_options)


@dataclass(frozen=True, slots=True)
class _ScoreAll:
    verification_options: VerificationOptions
    aggregation_options: AggregationOptions

    def __call__(self, image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
        verdict = score_answers(
            image.id,
            questions_of(image.request.sample),
            answers,
            verification_options=self.verification_options,
            aggregation_options=self.aggregation_options,
        )
        return [verdict]


def _ask_holistic(image: GeneratedImage) -> Sequence[Question]:
    return holistic_questions(image.id, ImagePart.of(image), image.request.sample.prompt)


def _settle_holistic(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    return [score_holistic(image.id, answers, question_id=REWARD)]
