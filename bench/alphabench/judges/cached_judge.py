"""A judge behind the answer cache: answers what the cache knows, and requests the rest once.

Failed calls are no replies and are never stored, nor are empty replies of earlier versions trusted.
Answers keep the order of the questions. Knows no file format.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Protocol, runtime_checkable

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Licensed
from alphabench.judges.answer_cache import AnswerCache, Replies, key_of
from alphabench.judges.openai.chat_api import is_empty_reply
from alphabench.judges.parsing import read_reply, unscored
from alphabench.questions import Answer, Capabilities, Judge, Question, judge_on_device

_HITS_AHEAD: Final = 256
"""Known replies that are looked up before the judge's next question, at most."""


@runtime_checkable
class StoresOnArrival(Protocol):
    """A judge that hands its replies on as they arrive, before their turn in the order."""

    def ask_and_store(
        self, questions: Iterable[Question], store: Callable[[Replies], None]
    ) -> Iterator[Answer]:
        """`Judge.ask`, with each reply given to `store` before its answer is yielded."""
        ...


@dataclass(kw_only=True, eq=False)
class CachedJudge:
    """A judge that gets only the questions whose replies the cache does not hold."""

    judge: Judge
    cache: AnswerCache
    reask_unread: bool = False
    """Ask again what was answered but could not be read, or was refused."""
    _identity: Mapping[str, str] = field(init=False, repr=False)
    _is_checked: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        self._identity = dict(self.judge.identity)

    def on_device(self, device: str) -> CachedJudge:
        """See `RunsOnDevice`; the cache is shared."""
        judge = judge_on_device(self.judge, device)
        return self if judge is self.judge else replace(self, judge=judge)

    @property
    def identity(self) -> Mapping[str, str]:
        return self.judge.identity

    @property
    def capabilities(self) -> Capabilities:
        return self.judge.capabilities

    @property
    def licences(self) -> Mapping[str, str]:
        return self.judge.licences if isinstance(self.judge, Licensed) else {}

    def prepare(self) -> None:
        """See `AnswerCache.check`; done once."""
        if not self._is_checked:
            self.cache.check()
            self._is_checked = True

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """See `Judge.ask`; equal questions are asked once, unless they differ in `repeat`."""
        remaining = iter(questions)
        while True:
            for question in remaining:
                if (answer := self._look_up(question)) is None:
                    break
                yield answer
            else:
                return
            yield from self._ask_from(question, remaining)

    def _ask_from(self, first: Question, remaining: Iterator[Question]) -> Iterator[Answer]:
        """The answers from one unknown question on, until many known ones come in a row."""
        self.prepare()
        pending = _PendingQuestions(self._look_up)
        unknown = pending.unknown(first, remaining)
        if isinstance(self.judge, StoresOnArrival):
            answers = self.judge.ask_and_store(unknown, self._store)
        else:
            answers = self._store_each(self.judge.ask(unknown))
        for answer in answers:
            yield from pending.known()
            pending.receive(answer)
            yield answer
            yield from pending.known()
        yield from pending.known()

    def _look_up(self, question: Question) -> Answer | None:
        reply = self.cache.get(key_of(self._identity, question))
        if reply is None or is_empty_reply(reply):
            return None
        answer = read_reply(question, reply, cached=True)
        return None if self.reask_unread and answer.status != "scored" else answer

    def _store(self, replies: Replies) -> None:
        self.cache.put(self._identity, replies)

    def _store_each(self, answers: Iterator[Answer]) -> Iterator[Answer]:
        for answer in answers:
            error = None
            if answer.reply is not None and answer.status != "failed":
                try:
                    self._store([(answer.question, answer.reply)])
                except AlphaBenchError as caught:
                    error = caught
            yield answer  # though it could not be stored: it may have been paid for
            if error is not None:
                raise error


class _Pending(NamedTuple):
    question: Question
    answer: Answer | None
    """None while the judge has this or an equal question."""
    is_with_judge: bool


class _PendingQuestions:
    """Questions in order: answered from the cache, with the judge, or equal to one that is."""

    def __init__(self, look_up: Callable[[Question], Answer | None]) -> None:
        self._look_up = look_up
        self._pending: deque[_Pending] = deque()
        self._with_judge: set[str] = set()
        self._unanswered: dict[str, Answer] = {}

    def unknown(self, first: Question, remaining: Iterator[Question]) -> Iterator[Question]:
        """What the judge is to be asked; ends after many known ones in a row."""
        hits = 0
        yield self._hand_over(first)
        for question in remaining:
            if question.content_digest in self._with_judge:
                self._pending.append(_Pending(question, None, is_with_judge=False))
            elif (answer := self._look_up(question)) is not None:
                self._pending.append(_Pending(question, answer, is_with_judge=False))
                hits += 1
                if hits >= _HITS_AHEAD:
                    return
            else:
                hits = 0
                yield self._hand_over(question)

    def _hand_over(self, question: Question) -> Question:
        self._pending.append(_Pending(question, None, is_with_judge=True))
        self._with_judge.add(question.content_digest)
        return question

    def receive(self, answer: Answer) -> None:
        """Take the judge's answer to the first question in the order."""
        digest = self._pending.popleft().question.content_digest
        self._with_judge.discard(digest)
        if answer.reply is None:
            self._unanswered[digest] = answer

    def known(self) -> Iterator[Answer]:
        """The answers at the head of the order that do not wait for the judge."""
        while self._pending and not self._pending[0].is_with_judge:
            question, answer, _ = self._pending.popleft()
            answer = answer or self._look_up(question)
            equal = self._unanswered.get(question.content_digest)
            if answer is None and equal is not None:
                answer = unscored(question, equal.status, equal.reason)
            yield answer or unscored(question, "failed", "an equal question got no usable answer")
