"""DPG-Bench's questions to a judge: every question of the graph in a call of its own.

Upstream has no prompt template: its mPLUG model gets the bare question and generates a few words.
The evaluator `mplug` does the same and compares the answer to the letter. A chat model must be told
to answer in one word, so a judge gets the project's own template by default under both protocols;
the yes or no of its reply is parsed as a word with either template. Knows no dependency between
questions and no score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, verdict_from
from alphabench.judges.yesno import YesNoProbability, YesNoText, yes_no_question
from alphabench.questions import (
    Answer,
    Capabilities,
    ImagePart,
    Judge,
    Question,
    Reply,
    ReplySampling,
)
from alphabench.types import GeneratedImage, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class DpgJudgeOptions:
    """Options of the evaluator `judge`."""

    wording: Literal["auto", "official", "own"] = "auto"
    """auto: own. own: the question and how to answer it. official: the bare question, as upstream
    asks; the reply's yes or no is read under either."""
    reading: Literal["text", "probability"] = "text"
    """Of the own wording: by the word, or by which of P(yes) and P(no) is higher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BareWord:
    """One value: 1.0 for yes and 0.0 for no, in reply to the bare question.

    A chat judge's word is read (`Yes.`), and what is neither word is unparsed.
    """

    answer_comes_first: ClassVar[bool] = True
    """As in `YesNoText`, which reads it."""
    empty_is_no: bool = False
    """Upstream's own model: its text is `yes` to the letter, or it is a no, even an empty one."""

    @property
    def as_upstream(self) -> bool:
        """Whether a refusal is a no as well."""
        return self.empty_is_no

    @property
    def identity(self) -> Mapping[str, str]:
        if self.empty_is_no:
            name = {"contract": "dpg/very-word", "version": "1", "empty": "no"}
        else:
            name = {"contract": "dpg/word", "version": "1"}
        return {**name, "wording": "official:bare"}

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        if self.empty_is_no:
            return (float(reply.text == "yes"),)
        return YesNoText().parse(reply)


DpgAnswerFormat = YesNoText | YesNoProbability | BareWord


def open_dpg_judge(judge: Judge | None, options: DpgJudgeOptions) -> JudgeEvaluator:
    """The evaluator `judge` of DPG-Bench.

    Raises:
        AlphaBenchError: no judge, or one that cannot do what is needed.
    """
    if judge is None:
        raise AlphaBenchError(
            "dpg puts its questions to a judge, and none is named",
            hint="name one: --judge URL#model, or take upstream's own model: --evaluator mplug",
        )
    probability = options.reading == "probability"
    answer_format: DpgAnswerFormat = YesNoProbability() if probability else YesNoText()
    if options.wording == "official":
        answer_format = BareWord()
    return JudgeEvaluator(
        judge=judge,
        questions_about=DpgQuestions(answer_format=answer_format),
        score=dpg_verdicts,
        identity=answer_format.identity,
        needs=Capabilities(
            images_per_question=1, logprobs=isinstance(answer_format, YesNoProbability)
        ),
    )


def open_dpg_mplug(model: Judge) -> JudgeEvaluator:
    """The evaluator `mplug`: upstream's own model, asked and read as upstream does."""
    answer_format = BareWord(empty_is_no=True)
    return JudgeEvaluator(
        judge=model,
        questions_about=DpgQuestions(answer_format=answer_format),
        score=dpg_verdicts,
        identity={key: answer_format.identity[key] for key in ("contract", "wording")},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DpgQuestions:
    """Every question about an image, in the order of the table."""

    answer_format: DpgAnswerFormat

    def __call__(self, image: GeneratedImage) -> list[Question]:
        shown = ImagePart.of(image)
        return [
            self._question(one["question"], shown, image.id, one["id"])
            for one in image.request.sample.facts["propositions"]
        ]

    def _question(self, text: str, shown: ImagePart, image_id: str, question_id: str) -> Question:
        if isinstance(self.answer_format, BareWord):
            return Question(
                image_id=image_id,
                id=question_id,
                parts=(shown, text),
                sampling=ReplySampling(max_tokens=16, temperature=0.0),
                answer_format=self.answer_format,
            )
        return yes_no_question(
            text,
            [shown],
            image_id=image_id,
            question_id=question_id,
            answer_format=self.answer_format,
        )


def dpg_verdicts(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    """One verdict for each question: 1 for yes and 0 for no, before any dependency."""
    propositions = image.request.sample.facts["propositions"]
    return [
        _verdict(answer, one["question"]) for one, answer in zip(propositions, answers, strict=True)
    ]


def _verdict(answer: Answer, question: str) -> Verdict:
    if answer.values is None:
        return verdict_from(answer, detail={"question": question})
    p_yes = answer.values[0]
    soft = {} if p_yes in (0.0, 1.0) else {"p_yes": p_yes}
    return verdict_from(answer, value=float(p_yes > 0.5), detail={"question": question, **soft})
