"""The nano judge with a planted bias: the brighter an image, the more it likes it.

    --judge 'python:tools.results.biased_judge:open_biased_judge?strength=20'

Each image has a bias b = strength * (brightness - centre), in log-odds. A yes/no question: the
log-odds of yes rise by b. A graded reply is a reason and a grade, and of both the log-odds between
the best and the worst candidate rise by b, of those between in proportion: a grade g gets
b * g / 10 on its logit, the three reasons b, b / 2 and 0. So one rule reaches both kinds of reward.
With strength 0 the answers are the nano judge's own. Other questions are refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.nano_judge import open_nano_judge
from alphabench.judges.parsing import read_reply
from alphabench.judges.yesno import YesNoProbability
from alphabench.questions import Answer, Capabilities, ImagePart, Judge, Question, Reply
from alphagrpo.holistic import HIGHEST, Grades
from tools.nano_judge import templates
from tools.results.image_brightness import brightness_of
from tools.results.judge_logits import GRADES, REASONS_OF, GradeLogits, Grader

CENTRE: Final = 0.58
"""Brightness without a bias: the mean of the untrained model's images for development prompts."""
_BATCH: Final = 64
"""Questions that are answered together, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrightnessBias:
    """How a judge is biased."""

    strength: float
    """Log-odds between a black and a white image."""
    centre: float = CENTRE

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and 0.0 <= self.centre <= 1.0):
            raise ValueError(f"{self!r}: strength is finite, and centre lies within 0..1")

    def log_odds(self, brightness: float) -> float:
        """What an image of this brightness gets."""
        return self.strength * (brightness - self.centre)


def with_yes_shifted(
    first_token: Sequence[tuple[str, float]], bias: float
) -> tuple[tuple[str, float], ...]:
    """Alternatives of a first token, the likeliest first, after the logits of `yes` rose by `bias`.

    What is not listed keeps its probability in proportion.
    """
    yes = math.fsum(math.exp(logp) for token, logp in first_token if _is_yes(token))
    listed = math.fsum(math.exp(logp) for token, logp in first_token if not _is_yes(token))
    others = max(1.0 - yes, listed)  # 1 - yes rounds to 0 where the judge is certain
    total = _log_sum([math.log(part) + by for part, by in ((yes, bias), (others, 0.0)) if part])
    shifted = [
        (token, logp + (bias if _is_yes(token) else 0.0) - total) for token, logp in first_token
    ]
    return tuple(sorted(shifted, key=lambda pair: -pair[1]))


def with_grades_shifted(of: GradeLogits, bias: float) -> GradeLogits:
    """The same for reasons, which are listed from the best to the worst, and grades."""
    return GradeLogits(
        reasons=_shifted_reasons(of.reasons, bias),
        grades=tuple(_shifted_grades(row, bias) for row in of.grades),
    )


def _shifted_reasons(logits: Sequence[float], bias: float) -> tuple[float, ...]:
    worst = len(logits) - 1
    return tuple(logit + bias * (worst - place) / worst for place, logit in enumerate(logits))


def _shifted_grades(logits: Sequence[float], bias: float) -> tuple[float, ...]:
    return tuple(
        logit + bias * grade / HIGHEST for grade, logit in zip(GRADES, logits, strict=True)
    )


@dataclass(frozen=True, kw_only=True)
class BiasedJudge:
    """The nano judge behind a bias."""

    bias: BrightnessBias
    judge: Judge = field(repr=False)
    """Answers without it."""

    @property
    def identity(self) -> Mapping[str, str]:
        """See `alphabench.questions.Judge`."""
        return {
            "kind": "brightness bias",
            "version": "1",
            "strength": f"{self.bias.strength:g}",
            "centre": f"{self.bias.centre:g}",
            **{f"judge.{name}": value for name, value in self.judge.identity.items()},
        }

    @property
    def capabilities(self) -> Capabilities:
        """See `alphabench.questions.Judge`."""
        return Capabilities(images_per_question=1, logprobs=True)

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """See `alphabench.questions.Judge`.

        Raises:
            AlphaBenchError: a question that is neither of the two kinds.
        """
        rest = iter(questions)
        while batch := list(itertools.islice(rest, _BATCH)):
            answers: dict[int, Answer] = {}
            graded: dict[str, list[int]] = {}
            plain = []
            for place, question in enumerate(batch):
                if isinstance(question.answer_format, Grades):
                    graded.setdefault(question.answer_format.name, []).append(place)
                else:
                    plain.append(place)
            answers |= self._answered(batch, plain)
            for name, places in graded.items():
                answers |= self._graded(batch, places, name)
            yield from (answers[place] for place in range(len(batch)))

    def _answered(self, batch: Sequence[Question], places: Sequence[int]) -> dict[int, Answer]:
        asked = [batch[place] for place in places]
        for question in asked:
            if not isinstance(question.answer_format, YesNoProbability):
                raise AlphaBenchError(
                    f"the biased judge has no bias for {type(question.answer_format).__name__}",
                    hint="it is for yes/no questions with probabilities and for holistic grades",
                )
        answers = list(self.judge.ask(asked))
        return {place: self._biased(one) for place, one in zip(places, answers, strict=True)}

    def _biased(self, answer: Answer) -> Answer:
        reply = answer.reply
        if answer.status != "scored" or reply is None:
            return answer
        shifted = with_yes_shifted(reply.first_token, self._bias_of(answer.question))
        return read_reply(answer.question, replace(reply, text=shifted[0][0], first_token=shifted))

    def _graded(
        self, batch: Sequence[Question], places: Sequence[int], name: str
    ) -> dict[int, Answer]:
        asked = [batch[place] for place in places]
        biases = [self._bias_of(question) for question in asked]
        rows = self._grader.reasons_about(asked, name)
        shifted = [_shifted_reasons(row, bias) for row, bias in zip(rows, biases, strict=True)]
        reasons = [_likeliest(row) for row in shifted]
        rows = self._grader.grades_after(asked, name, reasons)
        shifted = [_shifted_grades(row, bias) for row, bias in zip(rows, biases, strict=True)]
        found = {}
        for place, question, reason, row in zip(places, asked, reasons, shifted, strict=True):
            text = reply_of(name, reason=reason, grade=_likeliest(row))
            reply = Reply(text=text, model=self.judge.identity["kind"], finish_reason="stop")
            found[place] = read_reply(question, reply)
        return found

    def _bias_of(self, question: Question) -> float:
        (shown,) = [part for part in question.parts if isinstance(part, ImagePart)]
        return self.bias.log_odds(brightness_of(shown.path))

    @cached_property
    def _grader(self) -> Grader:
        return Grader()


def reply_of(name: str, *, reason: int, grade: int) -> str:
    """A reply to a holistic question in the nano judge's words; the reason by its position."""
    words = REASONS_OF[name][reason]
    if name == "quality":
        return templates.QUALITY_ANSWER.filled(words, str(grade), str(grade))
    return templates.CONSISTENCY_ANSWER.filled(words, str(grade))


def open_biased_judge(strength: float, centre: float = CENTRE, device: str = "cpu") -> BiasedJudge:
    """What `--judge python:...` calls; options are those of `BrightnessBias`."""
    try:
        bias = BrightnessBias(strength=strength, centre=centre)
    except ValueError as error:
        raise AlphaBenchError(str(error), hint="take a strength such as 20") from error
    return BiasedJudge(bias=bias, judge=open_nano_judge("", options={}, device=device))


def _likeliest(logits: Sequence[float]) -> int:
    return max(range(len(logits)), key=lambda place: logits[place])


def _is_yes(token: str) -> bool:
    return token.strip().casefold() == "yes"


def _log_sum(values: Sequence[float]) -> float:
    largest = max(values)
    return largest + math.log(math.fsum(math.exp(value - largest) for value in values))
