"""Asks a judge the same question again, as one that no cache holds the answer to.

How far the answers lie apart is the judge's noise. Knows no kind of judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from alphabench.interfaces import Licensed
from alphabench.questions import Answer, Capabilities, Judge, Question, ShakesHands

_REPEATS_APART: Final = 1000


def asked_again(question: Question, repeat: int) -> Question:
    """The question as a new one for a cache of answers.

    Numbers right after a question's own are those of attempts at it (`RetryingJudge`).
    """
    return replace(question, repeat=question.repeat + _REPEATS_APART * repeat)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedJudge:
    """A judge all of whose questions are the `repeat`-th asking; 0 asks them as they are."""

    judge: Judge
    repeat: int

    @property
    def identity(self) -> Mapping[str, str]:
        return self.judge.identity

    @property
    def capabilities(self) -> Capabilities:
        return self.judge.capabilities

    @property
    def licences(self) -> Mapping[str, str]:
        """Of the judge's model, if known."""
        return self.judge.licences if isinstance(self.judge, Licensed) else {}

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """See `Judge.ask`."""
        return self.judge.ask(asked_again(question, self.repeat) for question in questions)

    def shake_hands(self, needs: Capabilities) -> None:
        """See `ShakesHands`."""
        if isinstance(self.judge, ShakesHands):
            self.judge.shake_hands(needs)
