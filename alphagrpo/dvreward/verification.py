"""Asks a prompt's questions about an image, one call each, and scores the answers.

System text, then the image, then the question, so that all calls about one image share a prefix.
Each answer is P(yes), or the answer's text for judges without log-probabilities, which is another
measurement. Knows no particular judge and generates no image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from alphabench.evaluators.judge_evaluator import evidence
from alphabench.judges.yesno import YesNo, YesNoProbability, YesNoText, yes_no_question
from alphabench.questions import Answer, ImagePart, Question
from alphabench.types import Status, Verdict
from alphagrpo.dvreward.aggregate import AggregatedReward, AggregationOptions, aggregate
from alphagrpo.dvreward.question_files import DVQuestion, QuestionSet

REWARD: Final = "reward"
"""Question id of the one verdict on each image."""
SYSTEM: Final = (
    "You are an exacting inspector of pictures. You judge by what can be seen, never by what is "
    "likely or was probably meant. A question about something that is not in the picture is "
    "answered no, unless it asks about its absence. In doubt, the answer is no. You reply with a "
    "single word, yes or no."
)
WORDING: Final = "{question} Yes or no?"
_WORST_FIRST: Final[tuple[Status, ...]] = ("failed", "refused", "unparsed", "missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationOptions:
    """How questions are asked."""

    answer: Literal["probability", "text"] = "probability"
    """probability: P(yes) of the first token. text: the word; for judges without probabilities."""
    invalid: Literal["asked", "left_out"] = "asked"
    """Questions that the decomposer's validator refused; the release asks them."""

    @property
    def answer_format(self) -> YesNo:
        """Template and parser of every question."""
        made = YesNoProbability if self.answer == "probability" else YesNoText
        return made(template=WORDING, system=SYSTEM)


AS_RELEASED: Final = VerificationOptions()


def questions_to_ask(
    questions: QuestionSet, options: VerificationOptions
) -> list[tuple[str, DVQuestion]]:
    """The questions that are asked, with ids by position in the file: `s0`, `s1` ... `q0` ..."""
    named = [
        *((f"s{position}", one) for position, one in enumerate(questions.semantic)),
        *((f"q{position}", one) for position, one in enumerate(questions.quality)),
    ]
    return [(name, one) for name, one in named if one.valid or options.invalid == "asked"]


def questions_about(
    image_id: str, image: ImagePart, questions: QuestionSet, options: VerificationOptions
) -> list[Question]:
    """One call for each question."""
    answer_format = options.answer_format
    return [
        yes_no_question(
            one.text, (image,), image_id=image_id, question_id=name, answer_format=answer_format
        )
        for name, one in questions_to_ask(questions, options)
    ]


def score_answers(
    image_id: str,
    questions: QuestionSet,
    answers: Sequence[Answer],
    *,
    verification_options: VerificationOptions,
    aggregation_options: AggregationOptions,
) -> Verdict:
    """The reward of an image as a verdict; its detail logs every question.

    Args:
        answers: to `questions_about`, in order.

    Returns:
        A scored verdict, or one with the worst status among the unanswered questions (failed,
        refused, unparsed), which never has a value.
    """
    questions_asked = [one for _, one in questions_to_ask(questions, verification_options)]
    pairs = list(zip(questions_asked, answers, strict=True))
    reward = aggregate(
        [_value(answer) for one, answer in pairs if one.aspect == "semantic"],
        [_value(answer) for one, answer in pairs if one.aspect == "quality"],
        aggregation_options,
    )
    return Verdict(
        image_id=image_id,
        question_id=REWARD,
        value=reward.value,
        status="scored" if reward.value is not None else _status(answers),
        detail={
            "reason": _reason(reward, pairs),
            "semantic": reward.semantic,
            "quality": reward.quality,
            "answered": reward.n_answered,
            "asked": reward.n_asked,
            "questions": [_log(one, answer) for one, answer in pairs],
        },
    )


def _value(answer: Answer) -> float | None:
    return None if answer.values is None else answer.values[0]


def _status(answers: Sequence[Answer]) -> Status:
    seen = {answer.status for answer in answers}
    return next((status for status in _WORST_FIRST if status in seen), "failed")


def _reason(reward: AggregatedReward, pairs: Sequence[tuple[DVQuestion, Answer]]) -> str:
    """The questions answered by no; for an unscored image, how many answers are missing."""
    if reward.value is None:
        if not pairs:
            return "there is no question to ask"
        counts = Counter(answer.status for _, answer in pairs if answer.values is None)
        missing = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
        return f"{reward.n_answered} of {reward.n_asked} questions answered ({missing})"
    denied = [
        f"no ({answer.values[0]:.2f}): {one.text}"
        for one, answer in pairs
        if answer.values is not None and answer.values[0] < 0.5
    ]
    return "\n".join(denied)


def _log(question: DVQuestion, answer: Answer) -> Mapping[str, Any]:
    return {
        "id": answer.question.id,
        "aspect": question.aspect,
        "tag": question.tag,
        "question": question.text,
        "p_yes": _value(answer),
        "status": answer.status,
        **evidence(answer),
    }
