"""Puts a prompt's questions about an image, one call each, and settles the answers.

System text, then the image, then the question: all questions about one image share all but the last
words. Each is answered by P(yes), or by the word alone for judges without log-probabilities, which
is another measurement. Knows no particular judge, and makes no image.
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
"""The id of the one verdict about each image."""
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
    """How questions are put."""

    answer: Literal["probability", "text"] = "probability"
    """probability: P(yes) of the first token. text: the word; for judges that give no more."""
    invalid: Literal["asked", "left_out"] = "asked"
    """What becomes of questions that the decomposer's validator refused; the release asks them."""

    @property
    def answer_format(self) -> YesNo:
        """Wording and reading of every question."""
        made = YesNoProbability if self.answer == "probability" else YesNoText
        return made(template=WORDING, system=SYSTEM)


AS_RELEASED: Final = VerificationOptions()


def questions_to_ask(
    questions: QuestionSet, how: VerificationOptions
) -> list[tuple[str, DVQuestion]]:
    """The questions that are put, with their ids: `s0`, `s1` ... `q0` ..., by place in the file."""
    named = [
        *((f"s{place}", one) for place, one in enumerate(questions.semantic)),
        *((f"q{place}", one) for place, one in enumerate(questions.quality)),
    ]
    return [(name, one) for name, one in named if one.valid or how.invalid == "asked"]


def questions_about(
    image_id: str, picture: ImagePart, questions: QuestionSet, how: VerificationOptions
) -> list[Question]:
    """One call for each question."""
    answer_format = how.answer_format
    return [
        yes_no_question(
            one.text, (picture,), image_id=image_id, question_id=name, answer_format=answer_format
        )
        for name, one in questions_to_ask(questions, how)
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
    asked = [one for _, one in questions_to_ask(questions, verification_options)]
    pairs = list(zip(asked, answers, strict=True))
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
    """What is wrong with the image; for an unscored one what is lacking."""
    if reward.value is None:
        if not pairs:
            return "there is no question to ask"
        counts = Counter(answer.status for _, answer in pairs if answer.values is None)
        lacking = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
        return f"{reward.n_answered} of {reward.n_asked} questions answered ({lacking})"
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
