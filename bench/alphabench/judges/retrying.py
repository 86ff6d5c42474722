"""A judge that is asked again when its reply could not be read.

For official protocols that draw the reply at random and repeat a call until it fits, which they do
after a refusal in prose too. Each further try is another asking (`Question.repeat`), so that a
cache does not give the same reply. What a host withheld or marked as a refusal and failed calls are
left as they are: a judge repeats those itself as far as it makes sense.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Licensed
from alphabench.judges.parsing import FILTERED, REFUSAL
from alphabench.questions import Answer, Capabilities, Judge, Question, ShakesHands


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryingJudge:
    """Another judge, with up to `tries` askings of each question."""

    judge: Judge
    tries: int

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError(f"a question is asked once at least, not {self.tries!r} times")

    @property
    def identity(self) -> Mapping[str, str]:
        return self.judge.identity

    @property
    def capabilities(self) -> Capabilities:
        return self.judge.capabilities

    @property
    def licences(self) -> Mapping[str, str]:
        """Of the judge's model, as far as it tells."""
        return self.judge.licences if isinstance(self.judge, Licensed) else {}

    def shake_hands(self, needs: Capabilities) -> None:
        """Check the judge, if it supports a handshake."""
        if isinstance(self.judge, ShakesHands):
            self.judge.shake_hands(needs)

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """See `Judge.ask`; holds all answers until the last of them is read or given up.

        An answer that took several tries carries the question of its last one. When the judge is
        stopped, what it answered comes before its error.
        """
        answers: list[Answer] = []
        stopped_by = None
        try:
            answers.extend(answer for answer in self.judge.ask(questions))
            self._ask_again(answers)
        except AlphaBenchError as error:
            stopped_by = error
        yield from answers
        if stopped_by is not None:
            raise stopped_by

    def _ask_again(self, answers: list[Answer]) -> None:
        """Replace what could not be read, in place."""
        for _ in range(self.tries - 1):
            again = [i for i, answer in enumerate(answers) if _may_fit_next_time(answer)]
            if not again:
                return
            repeated = [_repeated(answers[i].question) for i in again]
            for i, answer in zip(again, self.judge.ask(repeated), strict=True):
                if answer.status != "missing":
                    answers[i] = answer


def _may_fit_next_time(answer: Answer) -> bool:
    if answer.status != "refused" or answer.reply is None:
        return answer.status == "unparsed"
    return answer.reply.finish_reason not in (REFUSAL, FILTERED)


def _repeated(question: Question) -> Question:
    return replace(question, repeat=question.repeat + 1)
