"""One stream of questions to the replicas of a judge, inside an event loop.

A question is tried until it has a reply, has met too many faults of its own, or the whole judge has
to be given up; then what was answered is still handed on. What arrives is stored before that.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.data_uris import PictureCache, UnusablePictureError
from alphabench.judges.openai.answer_ids import CompletionIds
from alphabench.judges.openai.chat_api import (
    GeneralError,
    LastingError,
    RateLimitedError,
    one_line,
    read_completion,
    read_refusal,
    request_body,
)
from alphabench.judges.openai.health import Health
from alphabench.judges.openai.rate_limit import Gate
from alphabench.judges.parsing import read_reply, unscored
from alphabench.judges.yesno import YesNoText
from alphabench.questions import Answer, Picture, Question, Reply, Sampling
from alphabench.remote import credentials
from alphabench.remote.endpoint import Endpoint
from alphabench.remote.responses import PassingError, retry_after_seconds
from alphabench.remote.transport import Received, Transport, UnreachableError

if TYPE_CHECKING:
    from alphabench.judges.openai.judge import OpenAIJudge

Keep = Callable[[Sequence[tuple[Question, Reply]]], None]
"""Stores replies; they are durable when it returns."""

_LONGEST_BACKOFF_SECONDS: Final = 8.0
_MOST_PUT_OFF: Final = 40
"""Tries of one question that a host only puts off."""
_TOLD_TO_THE_PACE: Final = 4
"""Refusals of one question after which further ones say nothing about how much a host bears."""
_DATED: Final = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{3,4})")
"""What hosts append to an undated name to say which snapshot answered."""
_OWN_FAULTS: Final = (400, 403, 404, 413, 422)
"""Refusals that concern one question alone, once the host has answered others."""
_DOUBTFUL: Final = (403, 404)
"""Refusals that mean the key or the model, or are a gateway's about one question."""


class StrangeAnswerError(PassingError):
    """Something answered, and it does not speak the chat API."""


class DoubtfulError(Exception):
    """A refusal of all questions or of this one alone; no question was answered yet."""

    def __init__(self, error: AlphaBenchError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(slots=True)
class _Replica:
    endpoint: Endpoint
    gate: Gate
    health: Health
    transport: Transport
    ids: CompletionIds
    control: asyncio.Task[None] | None = None
    """Runs while the host is suspect."""


@dataclass(slots=True)
class _Tries:
    """What one question has met."""

    faults: int = 0
    """Those that may be its own fault."""
    put_off: int = 0
    put_off_since: float | None = None
    in_all: int = 0


class Session:
    """See the module; made inside the loop that it runs in."""

    def __init__(self, judge: OpenAIJudge, keep: Keep) -> None:
        self._judge = judge
        self._options = judge.options
        self._clock = judge.clock
        self._replicas = [
            _Replica(
                endpoint, Gate(pace, judge.clock), health, Transport(endpoint.base), CompletionIds()
            )
            for endpoint, pace, health in zip(
                judge.replicas, judge.paces, judge.healths, strict=True
            )
        ]
        self._pictures = PictureCache()
        self._keeper = _Keeper(keep)
        self._asking: set[asyncio.Task[Any]] = set()
        self._sending: set[asyncio.Task[Any]] = set()
        self.stopped_by: AlphaBenchError | None = None

    async def work(self, rank: int, question: Question) -> Answer:
        """The answer to one question, whatever it takes.

        Raises:
            AlphaBenchError: no question can be answered any more.
        """
        task = asyncio.current_task()
        assert task is not None
        self._asking.add(task)
        replica = self._replicas[_place(question.image_id, len(self._replicas))]
        tries = _Tries()
        try:
            while True:
                outcome = await self._take_turn(replica, rank, question, tries)
                if isinstance(outcome, Answer):
                    return outcome
                await self._clock.sleep(outcome)
        except AlphaBenchError as error:
            self._stop(error)
            raise
        except asyncio.CancelledError:
            if self.stopped_by is None:
                raise
            raise self.stopped_by from None
        finally:
            self._asking.discard(task)
            self._sending.discard(task)

    def _stop(self, error: AlphaBenchError) -> None:
        """Nothing more is sent; what is under way may still be answered."""
        if self.stopped_by is not None:
            return
        self.stopped_by = error
        for task in self._asking - self._sending:
            if task is not asyncio.current_task():
                task.cancel()

    async def close(self) -> None:
        """Wait for what is paid already, drop what was not sent yet."""
        for task in self._asking - self._sending:
            task.cancel()
        if self._sending:
            await asyncio.wait(self._sending, timeout=self._options.timeout_seconds)
        for replica in self._replicas:
            if replica.control is not None:
                replica.control.cancel()
            await replica.transport.close()

    async def _take_turn(
        self, replica: _Replica, rank: int, question: Question, tries: _Tries
    ) -> Answer | float:
        """The answer, or how many seconds to wait before the next try."""
        task = asyncio.current_task()
        assert task is not None
        async with replica.gate.turn(rank):
            if self.stopped_by is not None:
                raise self.stopped_by
            sent_at = self._clock.now()
            tries.in_all += 1
            self._sending.add(task)
            try:
                reply = await self._get_reply(replica, question)
            except (LastingError, UnusablePictureError) as error:
                return self._give_up(question, str(error))
            except DoubtfulError as doubt:
                await self._resolve(replica, doubt)
                return self._give_up(question, str(doubt))
            except PassingError as error:
                self._sending.discard(task)
                return await self._after_fault(
                    replica, question, tries, error=error, sent_at=sent_at
                )
            now = self._clock.now()
            replica.gate.pace.succeeded(now - sent_at)
            replica.health.answered(now)
        self._judge.record.replied()
        try:
            await self._keeper.keep(question, reply)
        except AlphaBenchError as error:
            self._stop(error)  # and this answer is handed on all the same
        return read_reply(question, reply)

    def _give_up(self, question: Question, reason: str) -> Answer:
        self._judge.record.gave_up(reason)
        return unscored(question, "failed", reason)

    async def _after_fault(
        self,
        replica: _Replica,
        question: Question,
        tries: _Tries,
        *,
        error: PassingError,
        sent_at: float,
    ) -> Answer | float:
        now, health = self._clock.now(), replica.health
        if replica.control is None:
            self._count(tries, error, now)
        # A host that refuses this one while it works on others is there.
        if not (isinstance(error, RateLimitedError) and replica.gate.under_way > 1):
            _tell(health, error, now)
        self._bear_with(replica, tries, error, sent_at=sent_at)
        if health.is_suspect and replica.control is None:
            replica.gate.open(yes=False)
            replica.control = asyncio.create_task(self._put_to_control(replica))
        patience = self._options.patience_seconds
        is_put_off_long = tries.put_off_since is not None and now - tries.put_off_since >= patience
        if (
            tries.faults >= self._options.attempts
            or tries.put_off >= _MOST_PUT_OFF
            or (is_put_off_long and tries.put_off >= self._options.attempts)
        ):
            if isinstance(error, RateLimitedError) and health.is_silent_since(tries.put_off_since):
                await self._check_puts_off_one(replica, error)
            return self._give_up(question, f"{error} (after {tries.in_all} attempts)")
        if (error.retry_after or 0.0) > self._options.longest_wait_seconds:
            return self._put_off_too_long(replica, question, error)
        backoff = min(_LONGEST_BACKOFF_SECONDS, 0.5 * 2.0 ** min(tries.in_all - 1, 10))
        if isinstance(error, RateLimitedError) and tries.put_off <= _TOLD_TO_THE_PACE:
            return 0.0  # the gate holds everybody back as long as the host wants
        return max(self._clock.jitter(0.5, 1.0) * backoff, error.retry_after or 0.0)

    def _count(self, tries: _Tries, error: PassingError, now: float) -> None:
        """Whose fault it is: one without a connection is never the question's."""
        if isinstance(error, RateLimitedError):
            tries.put_off += 1
            tries.put_off_since = now if tries.put_off_since is None else tries.put_off_since
        elif not isinstance(error, UnreachableError):
            tries.faults += 1

    def _bear_with(
        self, replica: _Replica, tries: _Tries, error: PassingError, *, sent_at: float
    ) -> None:
        """A host that wants fewer requests gets fewer."""
        retry_after = error.retry_after
        if not isinstance(error, RateLimitedError) or tries.put_off > _TOLD_TO_THE_PACE:
            return
        if retry_after is not None and retry_after > self._options.longest_wait_seconds:
            return
        # A little later than asked, each a little differently: others wait for the same moment.
        asked_for = retry_after and retry_after * self._clock.jitter(1.0, 1.1)
        accepted = replica.gate.under_way - 1  # without this one, which has not left yet
        replica.gate.pace.objected(
            sent_at=sent_at, now=self._clock.now(), retry_after=asked_for, accepted=accepted
        )

    def _put_off_too_long(
        self, replica: _Replica, question: Question, error: PassingError
    ) -> Answer:
        """A host that never answered asks everybody to wait; else it may be this question alone."""
        reason = f"it asks to wait {error.retry_after:.0f} s ({error})"
        if self._judge.record.replies:
            return self._give_up(question, reason)
        raise _asks_to_wait(replica, error)

    async def _put_to_control(self, replica: _Replica) -> None:
        """Find out whether the host answers at all; meanwhile it gets no question."""
        tried = 0
        try:
            while not await self._passes_control(replica):
                wait = min(_LONGEST_BACKOFF_SECONDS, 0.5 * 2.0 ** min(tried, 10))
                tried += 1
                await self._clock.sleep(self._clock.jitter(0.5, 1.0) * wait)
        except AlphaBenchError as error:
            self._stop(error)
        finally:
            replica.control = None
            replica.gate.open(yes=True)

    async def _resolve(self, replica: _Replica, doubt: DoubtfulError) -> None:
        """The control tells whether it is this question alone; else the error stands."""
        try:
            await self._get_reply(replica, _control())
        except (PassingError, LastingError, DoubtfulError):
            raise doubt.error from None

    async def _check_puts_off_one(self, replica: _Replica, error: RateLimitedError) -> None:
        """A host that puts off the control as well does so to all: no question is at fault.

        Raises:
            AlphaBenchError: it does.
        """
        try:
            await self._get_reply(replica, _control())
        except PassingError:
            raise AlphaBenchError(
                f"the judge at {replica.endpoint.host!r} puts off every question ({error})",
                hint="give the same command again later; what it answered is kept",
            ) from error
        except (LastingError, DoubtfulError):
            pass  # an answer all the same
        replica.health.passed_control(self._clock.now())

    async def _passes_control(self, replica: _Replica) -> bool:
        try:
            await self._get_reply(replica, _control())
        except LastingError:
            pass  # an answer all the same
        except DoubtfulError as doubt:
            raise doubt.error from None
        except PassingError as error:
            now = self._clock.now()
            if (error.retry_after or 0.0) > self._options.longest_wait_seconds:
                raise _asks_to_wait(replica, error) from error
            _tell(replica.health, error, now)
            replica.health.failed_control(now)
            return False
        replica.health.passed_control(self._clock.now())
        return True

    async def _get_reply(self, replica: _Replica, question: Question) -> Reply:
        pictures = [
            await self._pictures.uri(part) for part in question.parts if isinstance(part, Picture)
        ]
        model, account = self._judge.model, self._judge.account
        body = request_body(question, pictures, model=model, fixed=self._judge.fixed_fields)
        content = json.dumps(body).encode()
        reserved, reply = await account.reserve(question), None
        try:
            if self.stopped_by is not None:
                raise self.stopped_by
            reply = await self._send(replica, content)
        finally:
            account.settle(reserved, reply)
        self._judge.check_model(reply.model)
        return reply

    async def _send(self, replica: _Replica, content: bytes) -> Reply:
        host = replica.endpoint.host
        key = self._judge.find_key(host)
        headers = {"Content-Type": "application/json", **credentials.headers(host, key)}

        def clean(text: str) -> str:
            return text if key is None else text.replace(key, "[key]")

        try:
            received = await replica.transport.post(
                f"{replica.endpoint.base}/chat/completions",
                content,
                headers,
                timeout_seconds=self._options.timeout_seconds,
            )
        except PassingError as error:
            error.args = (one_line(clean(str(error))),)
            raise
        try:
            reply = self._read(received, clean)
        except (PassingError, LastingError, DoubtfulError, AlphaBenchError):
            raise
        except Exception as error:  # the boundary to whatever a host may send
            reason = f"the answer cannot be read: {type(error).__name__}"
            raise PassingError(reason) from error
        replica.ids.refuse_if_given_before(received.content, content)
        return reply

    def _read(self, received: Received, clean: Callable[[str], str]) -> Reply:
        model, status, sent = self._judge.model, received.status, tuple(self._judge.extra)
        try:
            if not 200 <= status < 300:
                return read_refusal(status, received.content, model, clean, sent)
            if (what := _what_else(received)) is not None:
                raise StrangeAnswerError(f"it answers with {what}")
            return read_completion(
                received.content,
                asked_for=model,
                clean=clean,
                sent=sent,
                thoughts_kept=self._options.thoughts == "keep",
            )
        except PassingError as error:
            error.retry_after = retry_after_seconds(received.headers, self._clock.wall())
            raise
        except AlphaBenchError as error:
            is_own = isinstance(error, GeneralError) or status in _OWN_FAULTS
            if is_own and self._judge.record.replies:
                raise LastingError(error.message) from error
            if status in _DOUBTFUL:
                raise DoubtfulError(error) from error
            raise


def _control() -> Question:
    """What any chat model can answer: it tells a host that is down from questions it cannot do.

    Never the same twice, so that neither a fault nor an answer of a request before can stick to it.
    """
    return Question(
        image_id="control",
        id="control",
        parts=(f"Reply with one word: yes. ({secrets.token_hex(4)})",),
        sampling=Sampling(max_tokens=64, temperature=None),
        contract=YesNoText(),
    )


def _tell(health: Health, error: PassingError, now: float) -> None:
    health.failed(
        str(error),
        now,
        reached=not isinstance(error, UnreachableError),
        strange=isinstance(error, StrangeAnswerError),
        mistake=error.mistake if isinstance(error, UnreachableError) else None,
    )


def _asks_to_wait(replica: _Replica, error: PassingError) -> AlphaBenchError:
    return AlphaBenchError(
        f"the judge at {replica.endpoint.host!r} asks to wait {error.retry_after:.0f} s ({error})",
        hint="give the same command again then; what it answered is kept",
    )


def _what_else(received: Received) -> str | None:
    """What a successful answer is, if it is not even an object of the chat API."""
    content = received.content.removeprefix(b"\xef\xbb\xbf").strip()
    kind = received.headers.get("Content-Type", "").partition(";")[0].strip().casefold()
    if content.startswith(b"{"):
        is_chat = b'"choices"' in content or b'"error"' in content
        return None if is_chat else "the JSON of another API"
    if not content:
        return f"nothing (HTTP {received.status})"
    if kind == "text/event-stream" or content.startswith(b"data:"):
        return "a stream of events, though none was asked for"
    if kind == "text/html" or content[:1] == b"<":
        return "a web page"
    return "something that is no JSON object"


class _Keeper:
    """Hands replies to `keep` in a thread; those that arrive meanwhile go together next time."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._unsaved: list[tuple[Question, Reply, asyncio.Future[None]]] = []
        self._saving: asyncio.Task[None] | None = None

    async def keep(self, question: Question, reply: Reply) -> None:
        """Returns once the reply is stored."""
        saved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsaved.append((question, reply, saved))
        if self._saving is None:
            self._saving = asyncio.create_task(self._save())
        await saved

    async def _save(self) -> None:
        while self._unsaved:
            batch, self._unsaved = self._unsaved, []
            try:
                await asyncio.to_thread(self._keep, [(q, reply) for q, reply, _ in batch])
            except Exception as error:  # noqa: BLE001 - whoever waits for it raises it
                for _, _, saved in batch:
                    _settle(saved, error)
            else:
                for _, _, saved in batch:
                    _settle(saved, None)
        self._saving = None


def _settle(saved: asyncio.Future[None], error: Exception | None) -> None:
    if saved.done():
        return
    if error is None:
        saved.set_result(None)
    else:
        saved.set_exception(error)


def _place(image_id: str, n_replicas: int) -> int:
    """One image's questions go to one replica, which has the image's prefix in its cache."""
    if n_replicas == 1:
        return 0
    return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:4], "big") % n_replicas


def is_same_model(said: str, expected: str) -> bool:
    """Whether a host's name for what answered is the expected one, or a dated form of it."""
    said, expected = said.casefold(), expected.casefold()
    dated = said.removeprefix(expected)
    return said == expected or (dated != said and _DATED.fullmatch(dated) is not None)
