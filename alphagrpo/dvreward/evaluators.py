"""DVReward and its baseline as evaluators: a judge, the questions of a sample, and a verdict.

Made for a benchmark's run and for a trainer alike; a trainer reads the value of the one verdict of
each image, None being no reward. Knows no particular judge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from alphabench.core.errors import unknown_name
from alphabench.core.options import fill, split_spec
from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.questions import Answer, Capabilities, Judge, Question
from alphabench.types import GeneratedImage, ProtocolName, Verdict
from alphagrpo.dvreward import aggregate, verification
from alphagrpo.dvreward.aggregate import Aggregating
from alphagrpo.dvreward.sources import questions_of
from alphagrpo.dvreward.verification import REWARD, Verifying, picture_of, questions_about, settle
from alphagrpo.holistic import Grades, holistic_questions, settle_holistic

EVALUATORS: Final = ("dvreward", "holistic")


def open_evaluator(spec: str, judge: Judge, *, protocol: ProtocolName) -> JudgeEvaluator:
    """An evaluator by name with options: `dvreward?aggregate=mean&answer=text`, or `holistic`.

    Args:
        spec: options are the fields of `Verifying` and `Aggregating`.
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
    fields = {field.name for field in dataclasses.fields(Verifying)}
    ours = {key: value for key, value in options.items() if key in fields}
    others = {key: value for key, value in options.items() if key not in fields}
    return dvreward_evaluator(
        judge,
        verifying=fill(Verifying, ours, owner=name),
        aggregating=fill(Aggregating, others, owner=name),
    )


def dvreward_evaluator(
    judge: Judge,
    *,
    verifying: Verifying = verification.BY_THE_RELEASE,
    aggregating: Aggregating = aggregate.BY_THE_RELEASE,
) -> JudgeEvaluator:
    """One verdict for each image of samples that carry questions (`sources.to_sample`).

    Raises:
        AlphaBenchError: P(yes) is asked of a judge without log-probabilities.
    """
    return JudgeEvaluator(
        judge=judge,
        questions_about=_AskAll(verifying),
        score=_SettleAll(verifying, aggregating),
        identity={
            **{f"question.{key}": value for key, value in verifying.answer_format.identity.items()},
            "invalid": verifying.invalid,
            "aggregate": aggregating.aggregate,
            "min_coverage": repr(aggregating.min_coverage),
            "empty": aggregating.empty,
        },
        needs=Capabilities(images_per_question=1, logprobs=verifying.answer == "probability"),
    )


def holistic_evaluator(judge: Judge) -> JudgeEvaluator:
    """The baseline: one grade for each image, whatever its sample's benchmark."""
    wording = {**Grades(name="consistency").identity, "contract": "holistic"}
    return JudgeEvaluator(
        judge=judge,
        questions_about=_ask_holistic,
        score=_settle_holistic,
        identity={f"question.{key}": value for key, value in wording.items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _NoOptions:
    """The baseline has none."""


@dataclass(frozen=True, slots=True)
class _AskAll:
    verifying: Verifying

    def __call__(self, image: GeneratedImage) -> Sequence[Question]:
        questions = questions_of(image.request.sample)
        return questions_about(image.id, picture_of(image), questions, self.verifying)


@dataclass(frozen=True, slots=True)
class _SettleAll:
    verifying: Verifying
    aggregating: Aggregating

    def __call__(self, image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
        verdict = settle(
            image.id,
            questions_of(image.request.sample),
            answers,
            verifying=self.verifying,
            aggregating=self.aggregating,
        )
        return [verdict]


def _ask_holistic(image: GeneratedImage) -> Sequence[Question]:
    return holistic_questions(image.id, picture_of(image), image.request.sample.prompt)


def _settle_holistic(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    return [settle_holistic(image.id, answers, question_id=REWARD)]
