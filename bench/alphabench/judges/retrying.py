"""A judge that is asked again when its reply could not be parsed.

For official protocols that sample the reply and repeat a call until it can be parsed, also after
a refusal in prose. Each attempt is an independent repeat (`Question.repeat`), so that a cache does
not return the same reply. Replies that a host withheld or marked as refusals and failed calls are
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
    """Another judge, with up to `tries` attempts at each question."""

    judge: Judge
    tries: int

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError(f"tries must be 1 or more, not {self.tries!r}")

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

    def shake_hands(self, needs: Capabilities) -> None:
        """Check the judge, if it supports a handshake."""
        if isinstance(self.judge, ShakesHands):
            self.judge.shake_hands(needs)

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """See `Judge.ask`; yields nothing until the last answer is parsed or given up.

        After several attempts, an answer carries the question of the last one. When the judge
        stops with an error, its answers are yielded before the error is raised.
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
        """Replace what could not be parsed, in place."""
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
