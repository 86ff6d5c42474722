"""A judge that is asked again with a longer bound where a reply holds no answer yet.

For official protocols that bound replies shortly and repeat those of judges that were still
thinking, or gave no answer. Everything else about the question stays as it is. Knows no answer
format: a reply that cannot be read is not asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Licensed
from alphabench.judges.parsing import is_cut
from alphabench.judges.thoughts import split_thought
from alphabench.questions import Answer, Capabilities, Judge, Question, Reply, ShakesHands


@dataclass(frozen=True, slots=True, kw_only=True)
class LongerRepliesJudge:
    """Another judge, asked with its questions' own bound first."""

    judge: Judge
    bounds: tuple[int, ...]
    """Tokens of a reply, at most, at the second attempt and each one after it."""
    thinks: bool
    """Whether a reply that was cut off is a thought without an end: the chat template opened it."""

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
        """See `Judge.ask`; yields nothing until the last answer is there or given up.

        An answer carries the question of its last attempt. When the judge stops with an error, its
        answers are yielded before the error is raised.
        """
        answers: list[Answer] = []
        stopped_by = None
        try:
            answers.extend(answer for answer in self.judge.ask(questions))
            for bound in self.bounds:
                self._ask_again(answers, bound)
        except AlphaBenchError as error:
            stopped_by = error
        yield from answers
        if stopped_by is not None:
            raise stopped_by

    def _ask_again(self, answers: list[Answer], bound: int) -> None:
        """Replace what holds no answer, in place."""
        again = [
            i
            for i, answer in enumerate(answers)
            if answer.reply is not None
            and answer.status == "unparsed"
            and holds_no_answer(answer.reply, thinks=self.thinks)
        ]
        longer = [_with_bound(answers[i].question, bound) for i in again]
        for i, answer in zip(again, self.judge.ask(longer) if longer else (), strict=True):
            if answer.status != "missing":
                answers[i] = answer


def holds_no_answer(reply: Reply, *, thinks: bool) -> bool:
    """Whether a reply is empty, or a thought that has no end.

    Args:
        reply: of the judge.
        thinks: see `LongerRepliesJudge`.
    """
    split = split_thought(reply.text)
    if split.answer is None or not split.answer.strip():
        return True
    return thinks and is_cut(reply.finish_reason)


def _with_bound(question: Question, bound: int) -> Question:
    return replace(question, sampling=replace(question.sampling, max_tokens=bound))
