"""A judge that is asked again when its reply could not be read.

For official protocols that draw the reply at random and repeat a call until it fits. Each further
try is another asking (`Question.repeat`), so that a cache does not give the same reply. Refusals
and failed calls are left as they are: a judge repeats those itself as far as it makes sense.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from alphabench.judges.question import Answer, Capabilities, Judge, Question
from alphabench.types import Licensed


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistentJudge:
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
        """Have the judge prove itself, where it can."""
        from alphabench.evaluators.judged import ShakesHands

        if isinstance(self.judge, ShakesHands):
            self.judge.shake_hands(needs)

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """See `Judge.ask`; holds all answers until the last of them is read or given up.

        An answer that took several tries carries the question of its last one.
        """
        answers = list(self.judge.ask(questions))
        for _ in range(self.tries - 1):
            again = [i for i, answer in enumerate(answers) if answer.status == "unparsed"]
            if not again:
                break
            repeated = [_repeated(answers[i].question) for i in again]
            for i, answer in zip(again, self.judge.ask(repeated), strict=True):
                answers[i] = answer
        yield from answers


def _repeated(question: Question) -> Question:
    return replace(question, repeat=question.repeat + 1)
