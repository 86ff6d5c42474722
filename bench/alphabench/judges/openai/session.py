"""One stream of questions to the replicas of a judge, inside an event loop: retries and giving up.

A question is tried until it has a reply or has met too many faults of its own. When the whole judge
has to be given up, the answers that arrived are still handed on. Replies are stored on arrival.
Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.data_uris import UnusableImageError
from alphabench.judges.openai.batched_store import BatchedStore, StoreReplies
from alphabench.judges.openai.budget import SpendingAccount
from alphabench.judges.openai.chat_api import LastingError, RateLimitedError
from alphabench.judges.openai.chat_client import (
    ChatClient,
    Connection,
    DoubtfulError,
    StrangeAnswerError,
)
from alphabench.judges.openai.health import Health, JudgeRecord
from alphabench.judges.openai.rate_limit import Clock, ConcurrencyLimit, Gate
from alphabench.judges.parsing import read_reply, unscored
from alphabench.judges.yesno import YesNoText
from alphabench.questions import Answer, Question, Reply, ReplySampling
from alphabench.remote.answering_model import AnsweringModel
from alphabench.remote.endpoint import Endpoint
from alphabench.remote.responses import TransientError
from alphabench.remote.transport import Transport, UnreachableError

_LONGEST_BACKOFF_SECONDS: Final = 8.0
_MOST_RATE_LIMITED: Final = 40
"""Attempts at one question that were refused for the rate alone."""
_REFUSALS_FOR_LIMIT: Final = 4
"""Refusals of one question after which further ones say nothing about what a host can take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """What is known of one replica; outlives a session."""

    endpoint: Endpoint
    limit: ConcurrencyLimit
    health: Health


@dataclass(slots=True)
class _Replica:
    connection: Connection
    gate: Gate
    health: Health
    probing: asyncio.Task[int] | None = None
    """Runs while the host is suspect; ends with how many probes had no answer."""
    n_saving: int = 0
    """Requests that hold a slot and are answered."""

    @property
    def host(self) -> str:
        return self.connection.endpoint.host

    @property
    def n_unanswered(self) -> int:
        """Requests that the host is working on."""
        return self.gate.under_way - self.n_saving


@dataclass(slots=True)
class _Attempts:
    """What one question has met."""

    faults: int = 0
    """Those that may be its own fault."""
    faulty_since: float | None = None
    is_spared: bool = False
    """Its first faults were those of an outage."""
    rate_limited: int = 0
    rate_limited_since: float | None = None
    total: int = 0


class Session:
    """See the module; made inside the loop that it runs in."""

    def __init__(
        self,
        client: ChatClient,
        replicas: Sequence[ReplicaState],
        *,
        account: SpendingAccount,
        answering: AnsweringModel,
        record: JudgeRecord,
        store: StoreReplies,
    ) -> None:
        self._client = client
        self._options = client.options
        self._clock: Clock = client.clock
        self._account = account
        self._answering = answering
        self._record = record
        self._replicas = [
            _Replica(
                Connection(state.endpoint, Transport(state.endpoint.base)),
                Gate(state.limit, self._clock),
                state.health,
            )
            for state in replicas
        ]
        self._store = BatchedStore(store)
        self._working: set[asyncio.Task[Any]] = set()
        self._sending: set[asyncio.Task[Any]] = set()
        self.stopped_by: AlphaBenchError | None = None

    async def work(self, rank: int, question: Question) -> Answer:
        """The answer to one question, after as many attempts as it takes.

        Raises:
            AlphaBenchError: no question can be answered any more.
        """
        task = asyncio.current_task()
        assert task is not None
        self._working.add(task)
        replica = self._replicas[_replica_index(question.image_id, len(self._replicas))]
        attempts = _Attempts()
        try:
            while True:
                outcome = await self._attempt(replica, rank, question, attempts)
                if isinstance(outcome, Answer):
                    return outcome
                await self._clock.sleep(outcome)
        except AlphaBenchError as error:
            if (first := self._stop(error)) is not error:
                raise first from None
            raise
        except asyncio.CancelledError:
            if self.stopped_by is None:
                raise
            raise self.stopped_by from None
        finally:
            self._working.discard(task)
            self._sending.discard(task)

    def _stop(self, error: AlphaBenchError) -> AlphaBenchError:
        """Send nothing more; what is under way may still be answered.

        Returns:
            Why it stopped: the first error.
        """
        if self.stopped_by is None:
            self.stopped_by = error
            for task in self._working - self._sending:
                if task is not asyncio.current_task():
                    task.cancel()
        return self.stopped_by

    async def close(self) -> None:
        """Wait for what is paid already, drop what was not sent yet."""
        for task in self._working - self._sending:
            task.cancel()
        if self._sending:
            await asyncio.wait(self._sending, timeout=self._options.timeout_seconds)
        for replica in self._replicas:
            if replica.probing is not None:
                replica.probing.cancel()
            await replica.connection.transport.close()

    async def _attempt(
        self, replica: _Replica, rank: int, question: Question, attempts: _Attempts
    ) -> Answer | float:
        """The answer, or how many seconds to wait before the next attempt."""
        task = asyncio.current_task()
        assert task is not None
        async with replica.gate.slot(rank):
            if self.stopped_by is not None:
                raise self.stopped_by
            sent_at = self._clock.now()
            attempts.total += 1
            self._sending.add(task)
            try:
                reply = await self._request(replica, question)
            except (LastingError, UnusableImageError) as error:
                return self._give_up(question, str(error))
            except DoubtfulError as doubt:
                await self._resolve(replica, doubt)
                return self._give_up(question, str(doubt))
            except TransientError as error:
                self._sending.discard(task)
                return await self._after_fault(
                    replica, question, attempts, error=error, sent_at=sent_at
                )
            now = self._clock.now()
            replica.gate.limit.succeeded(now - sent_at)
            replica.health.answered(now)
            self._record.replied()
            # No other question takes the slot before: a kill loses as many answers as there are
            # slots at most, however slow the disk is.
            replica.n_saving += 1
            try:
                await self._store.save(question, reply)
            except AlphaBenchError as error:
                self._stop(error)  # and this answer is handed on all the same
            finally:
                replica.n_saving -= 1
        return read_reply(question, reply)

    async def _request(self, replica: _Replica, question: Question) -> Reply:
        content = await self._client.content_of(question)
        reserved, reply = await self._account.reserve(question), None
        try:
            if self.stopped_by is not None:
                raise self.stopped_by
            reply = await self._client.send(replica.connection, content)
        finally:
            self._account.book(reserved, reply)
        self._answering.check(reply.model)
        return reply

    def _give_up(self, question: Question, reason: str) -> Answer:
        self._record.gave_up(reason)
        return unscored(question, "failed", reason)

    async def _after_fault(
        self,
        replica: _Replica,
        question: Question,
        attempts: _Attempts,
        *,
        error: TransientError,
        sent_at: float,
    ) -> Answer | float:
        now, health = self._clock.now(), replica.health
        if replica.probing is None:
            _count(attempts, error, now)
        # A host that refuses this request while it works on others is up.
        if not (isinstance(error, RateLimitedError) and replica.n_unanswered > 1):
            _report_fault(health, error, now)
        self._slow_down(replica, attempts, error, sent_at=sent_at)
        if health.is_suspect:
            self._start_probing(replica)
        if attempts.faults >= self._options.attempts and await self._met_outage(replica, attempts):
            return 0.0
        if self._is_exhausted(attempts, now):
            if isinstance(error, RateLimitedError) and health.is_silent_since(
                attempts.rate_limited_since
            ):
                await self._check_refuses_one_question(replica, error)
            return self._give_up(question, f"{error} (after {attempts.total} attempts)")
        if (error.retry_after or 0.0) > self._options.longest_wait_seconds:
            if not self._record.replies:  # a host that never answered makes all questions wait
                raise _wait_too_long(replica, error)
            reason = f"it asks to wait {error.retry_after:.0f} s ({error})"
            return self._give_up(question, reason)
        if isinstance(error, RateLimitedError) and attempts.rate_limited <= _REFUSALS_FOR_LIMIT:
            return 0.0  # the gate holds all requests back as long as the host wants
        return max(self._backoff_seconds(attempts.total - 1), error.retry_after or 0.0)

    def _is_exhausted(self, attempts: _Attempts, now: float) -> bool:
        since, most = attempts.rate_limited_since, self._options.attempts
        is_limited_long = since is not None and now - since >= self._options.patience_seconds
        return (
            attempts.faults >= most
            or attempts.rate_limited >= _MOST_RATE_LIMITED
            or (is_limited_long and attempts.rate_limited >= most)
        )

    def _backoff_seconds(self, n_before: int) -> float:
        longest = min(_LONGEST_BACKOFF_SECONDS, 0.5 * 2.0 ** min(n_before, 10))
        return self._clock.jitter(0.5, 1.0) * longest

    def _slow_down(
        self, replica: _Replica, attempts: _Attempts, error: TransientError, *, sent_at: float
    ) -> None:
        """A host that wants fewer requests gets fewer."""
        retry_after = error.retry_after
        if not isinstance(error, RateLimitedError) or attempts.rate_limited > _REFUSALS_FOR_LIMIT:
            return
        if retry_after is not None and retry_after > self._options.longest_wait_seconds:
            return
        # A little later than requested, by a random amount: others wait for the same moment.
        pause = retry_after and retry_after * self._clock.jitter(1.0, 1.1)
        accepted = replica.n_unanswered - 1  # without this one, which has not left yet
        replica.gate.limit.refused(
            sent_at=sent_at, now=self._clock.now(), retry_after=pause, accepted=accepted
        )

    async def _met_outage(self, replica: _Replica, attempts: _Attempts) -> bool:
        """Whether a question that would be given up met faults of its host; then they do not count.

        Once: a question that brings its host down would go on for ever.
        """
        if attempts.is_spared or not replica.health.is_silent_since(attempts.faulty_since):
            return False
        n_unanswered_probes = await asyncio.shield(self._start_probing(replica))
        if n_unanswered_probes == 0:
            return False
        attempts.faults, attempts.is_spared = 0, True
        return True

    def _start_probing(self, replica: _Replica) -> asyncio.Task[int]:
        """Begin to probe the host, or return the probing under way; nothing else is sent then."""
        if replica.probing is None:
            replica.gate.close()
            replica.probing = asyncio.create_task(self._probe_until_answered(replica))
        return replica.probing

    async def _probe_until_answered(self, replica: _Replica) -> int:
        """Find out whether the host answers at all; meanwhile it gets no question.

        Returns:
            How many probes had no answer.
        """
        n_probes = 0
        try:
            while not await self._answers_probe(replica):
                n_probes += 1
                await self._clock.sleep(self._backoff_seconds(n_probes - 1))
        except AlphaBenchError as error:
            self._stop(error)
        finally:
            replica.probing = None
            replica.gate.open()
        return n_probes

    async def _answers_probe(self, replica: _Replica) -> bool:
        try:
            await self._request(replica, _probe())
        except LastingError:
            pass  # an answer all the same
        except DoubtfulError as doubt:
            raise doubt.error from None
        except TransientError as error:
            now = self._clock.now()
            if (error.retry_after or 0.0) > self._options.longest_wait_seconds:
                raise _wait_too_long(replica, error) from error
            _report_fault(replica.health, error, now)
            replica.health.failed_probe(now)
            return False
        replica.health.passed_probe(self._clock.now())
        return True

    async def _resolve(self, replica: _Replica, doubt: DoubtfulError) -> None:
        """The probe shows whether it is this question alone; if not, the error stands."""
        try:
            await self._request(replica, _probe())
        except (TransientError, LastingError, DoubtfulError):
            raise doubt.error from None

    async def _check_refuses_one_question(self, replica: _Replica, error: RateLimitedError) -> None:
        """A host that rate-limits the probe as well does so to all: no question is at fault.

        Raises:
            AlphaBenchError: it does.
        """
        try:
            await self._request(replica, _probe())
        except TransientError:
            raise AlphaBenchError(
                f"the judge at {replica.host!r} rate-limits every question ({error})",
                hint="give the same command again later; the answers so far are saved",
            ) from error
        except (LastingError, DoubtfulError):
            pass  # an answer all the same
        replica.health.passed_probe(self._clock.now())


def _count(attempts: _Attempts, error: TransientError, now: float) -> None:
    """Whose fault it is: a failed connection is never the question's."""
    if isinstance(error, RateLimitedError):
        attempts.rate_limited += 1
        if attempts.rate_limited_since is None:
            attempts.rate_limited_since = now
    elif not isinstance(error, UnreachableError):
        attempts.faults += 1
        attempts.faulty_since = now if attempts.faulty_since is None else attempts.faulty_since


def _probe() -> Question:
    """A question that any chat model can answer: separates dead hosts from hard questions.

    Never the same twice, so that no fault or answer of an earlier request can be repeated for it.
    """
    return Question(
        image_id="control",
        id="control",
        parts=(f"Reply with one word: yes. ({secrets.token_hex(4)})",),
        sampling=ReplySampling(max_tokens=64, temperature=None),
        answer_format=YesNoText(),
    )


def _report_fault(health: Health, error: TransientError, now: float) -> None:
    health.failed(
        str(error),
        now,
        reached=not isinstance(error, UnreachableError),
        strange=isinstance(error, StrangeAnswerError),
        mistake=error.mistake if isinstance(error, UnreachableError) else None,
    )


def _wait_too_long(replica: _Replica, error: TransientError) -> AlphaBenchError:
    return AlphaBenchError(
        f"the judge at {replica.host!r} asks to wait {error.retry_after:.0f} s ({error})",
        hint="give the same command again then; the answers so far are saved",
    )


def _replica_index(image_id: str, n_replicas: int) -> int:
    """One image's questions go to one replica, which has the image's prefix in its cache."""
    if n_replicas == 1:
        return 0
    return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:4], "big") % n_replicas
