"""The nano judge with its log-odds shifted, by a bias or by noise, as a judge for trainings.

A yes/no question: the log-odds of yes are shifted. A graded reply is a reason and a grade, and the
logits of their candidates are shifted, so that one rule reaches both kinds of reward. Other
questions are refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Literal, Protocol

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.parsing import read_reply
from alphabench.judges.yesno import YesNoProbability
from alphabench.questions import Answer, Capabilities, ImagePart, Judge, Question, Reply
from alphagrpo.holistic import HIGHEST, Grades
from tools.nano_judge import templates
from tools.results.judge_logits import GRADES, REASONS_OF, Grader

_BATCH: Final = 64
"""Questions that are answered together, at most."""


class LogOddsShift(Protocol):
    """How a judge's log-odds are shifted."""

    @property
    def identity(self) -> Mapping[str, str]:
        """What decides the shift, `kind` among it."""

    def of_yes(self, question: Question) -> float:
        """Of yes against no."""

    def of_candidates(
        self, question: Question, merits: Sequence[float], what: Literal["reason", "grade"], /
    ) -> Sequence[float]:
        """Of the logit of each candidate; merits are 1 for the best and 0 for the worst."""


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


@dataclass(frozen=True, kw_only=True)
class ShiftedJudge:
    """The nano judge with its log-odds shifted."""

    shift: LogOddsShift
    judge: Judge = field(repr=False)
    """Answers without the shift."""

    @property
    def identity(self) -> Mapping[str, str]:
        """See `alphabench.questions.Judge`."""
        of_judge = {f"judge.{name}": value for name, value in self.judge.identity.items()}
        return {**self.shift.identity, **of_judge}

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
                    f"no shift is known for {type(question.answer_format).__name__}",
                    hint="it is for yes/no questions with probabilities and for holistic grades",
                )
        answers = list(self.judge.ask(asked))
        return {place: self._shifted(one) for place, one in zip(places, answers, strict=True)}

    def _shifted(self, answer: Answer) -> Answer:
        reply = answer.reply
        if answer.status != "scored" or reply is None:
            return answer
        shifted = with_yes_shifted(reply.first_token, self.shift.of_yes(answer.question))
        return read_reply(answer.question, replace(reply, text=shifted[0][0], first_token=shifted))

    def _graded(
        self, batch: Sequence[Question], places: Sequence[int], name: str
    ) -> dict[int, Answer]:
        asked = [batch[place] for place in places]
        rows = self._grader.reasons_about(asked, name)
        merits = [1.0 - place / (len(rows[0]) - 1) for place in range(len(rows[0]))]
        shifted = self._candidates(asked, rows, merits, "reason")
        reasons = [_likeliest(row) for row in shifted]
        rows = self._grader.grades_after(asked, name, reasons)
        shifted = self._candidates(asked, rows, [grade / HIGHEST for grade in GRADES], "grade")
        found = {}
        for place, question, reason, row in zip(places, asked, reasons, shifted, strict=True):
            text = reply_of(name, reason=reason, grade=_likeliest(row))
            reply = Reply(text=text, model=self.judge.identity["kind"], finish_reason="stop")
            found[place] = read_reply(question, reply)
        return found

    def _candidates(
        self,
        asked: Sequence[Question],
        rows: Sequence[Sequence[float]],
        merits: Sequence[float],
        what: Literal["reason", "grade"],
    ) -> list[list[float]]:
        return [
            [a + b for a, b in zip(row, self.shift.of_candidates(one, merits, what), strict=True)]
            for one, row in zip(asked, rows, strict=True)
        ]

    @cached_property
    def _grader(self) -> Grader:
        return Grader()


def reply_of(name: str, *, reason: int, grade: int) -> str:
    """A reply to a holistic question in the nano judge's words; the reason by its position."""
    words = REASONS_OF[name][reason]
    if name == "quality":
        return templates.QUALITY_ANSWER.filled(words, str(grade), str(grade))
    return templates.CONSISTENCY_ANSWER.filled(words, str(grade))


def asked_image(question: Question) -> ImagePart:
    """The one image that a question is about."""
    (shown,) = [part for part in question.parts if isinstance(part, ImagePart)]
    return shown


def _likeliest(logits: Sequence[float]) -> int:
    return max(range(len(logits)), key=lambda place: logits[place])


def _is_yes(token: str) -> bool:
    return token.strip().casefold() == "yes"


def _log_sum(values: Sequence[float]) -> float:
    largest = max(values)
    return largest + math.log(math.fsum(math.exp(value - largest) for value in values))
