"""One stream of questions to the replicas of a judge, inside an event loop.

A question is tried until it has a reply, has met too many faults, or the whole judge has to be
given up. What arrives is stored before it is handed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from alphabench.checkpoints.http import Endpoint
from alphabench.checkpoints.http_answers import PassingError, retry_after_seconds
from alphabench.errors import AlphaBenchError
from alphabench.judges.chat import (
    LastingError,
    RateLimitedError,
    one_line,
    read_completion,
    read_refusal,
    request_body,
)
from alphabench.judges.limits import Gate, Health
from alphabench.judges.pictures import PictureCache, UnusablePictureError
from alphabench.judges.question import Answer, Picture, Question, Reply
from alphabench.judges.reading import read_reply, unscored
from alphabench.judges.transport import PlainTransport

if TYPE_CHECKING:
    from alphabench.judges.openai import OpenAIJudge

Keep = Callable[[Sequence[tuple[Question, Reply]]], None]
"""Stores replies; they are durable when it returns."""

_LONGEST_BODY: Final = 16 * 2**20
_LONGEST_BACKOFF_SECONDS: Final = 8.0
_MOST_PUT_OFF: Final = 40
"""Tries of one question that a host only puts off."""
_HOPELESS_AFTER: Final = 16
"""Questions that will not do, before the first that did: then it is not the questions."""
_DATED: Final = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{3,4})")
"""What hosts append to an undated name to say which snapshot answered."""
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(slots=True)
class _Replica:
    endpoint: Endpoint
    gate: Gate
    health: Health
    clients: _Clients


@dataclass(slots=True)
class _Tries:
    """What one question has met."""

    faults: int = 0
    """Those that may be its own fault."""
    put_off: int = 0
    in_all: int = 0


class Session:
    """See the module; made inside the loop that it runs in."""

    def __init__(self, judge: OpenAIJudge, keep: Keep) -> None:
        self._judge = judge
        self._options = judge.options
        self._clock = judge.clock
        self._replicas = [
            _Replica(
                endpoint,
                Gate(pace, judge.clock),
                Health(host=endpoint.host, patience_seconds=judge.options.patience_seconds),
                _Clients(endpoint),
            )
            for endpoint, pace in zip(judge.replicas, judge.paces, strict=True)
        ]
        self._pictures = PictureCache()
        self._keeper = _Keeper(keep)
        self._asking: set[asyncio.Task[Any]] = set()
        self._sending: set[asyncio.Task[Any]] = set()
        self._stopped_by: AlphaBenchError | None = None
        self._n_replies = 0
        self._n_given_up = 0

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
            self._stopped_by = self._stopped_by or error
            raise
        finally:
            self._asking.discard(task)
            self._sending.discard(task)

    async def close(self) -> None:
        """Wait for what is paid already, drop what was not sent yet."""
        for task in self._asking - self._sending:
            task.cancel()
        if self._sending:
            await asyncio.wait(self._sending, timeout=self._options.timeout_seconds)
        for replica in self._replicas:
            await replica.clients.close()

    async def _take_turn(
        self, replica: _Replica, rank: int, question: Question, tries: _Tries
    ) -> Answer | float:
        """The answer, or how many seconds to wait before the next try."""
        task = asyncio.current_task()
        assert task is not None
        async with replica.gate.turn(rank):
            if self._stopped_by is not None:
                raise self._stopped_by
            sent_at = self._clock.now()
            tries.in_all += 1
            self._sending.add(task)
            try:
                reply = await self._get_reply(replica, question)
            except (LastingError, UnusablePictureError) as error:
                return self._give_up(question, str(error))
            except PassingError as error:
                self._sending.discard(task)
                return self._after_fault(replica, question, tries, error=error, sent_at=sent_at)
            replica.gate.pace.succeeded(self._clock.now() - sent_at)
            replica.health.succeeded()
            replica.gate.probing = False
        self._n_replies += 1
        await self._keeper.keep(question, reply)
        return read_reply(question, reply)

    def _give_up(self, question: Question, reason: str) -> Answer:
        self._n_given_up += 1
        if not self._n_replies and self._n_given_up >= _HOPELESS_AFTER:
            raise AlphaBenchError(
                f"the judge {self._judge.model!r} accepts none of the first "
                f"{self._n_given_up} questions ({reason})",
                hint="check its options, and whether it takes this many images and tokens",
            )
        return unscored(question, "failed", reason)

    def _after_fault(
        self,
        replica: _Replica,
        question: Question,
        tries: _Tries,
        *,
        error: PassingError,
        sent_at: float,
    ) -> Answer | float:
        now, pace, retry_after = self._clock.now(), replica.gate.pace, error.retry_after
        is_put_off = isinstance(error, RateLimitedError)
        if is_put_off:
            tries.put_off += 1
            # A little later than asked, each a little differently: others wait for the same moment.
            asked_for = retry_after and retry_after * self._clock.jitter(1.0, 1.1)
            accepted = replica.gate.under_way - 1  # without this one, which has not left yet
            pace.objected(sent_at=sent_at, now=now, retry_after=asked_for, accepted=accepted)
        elif not replica.health.is_down:
            tries.faults += 1
        replica.health.failed(str(error), now, alive=is_put_off)
        replica.gate.probing = replica.health.is_down
        if tries.faults >= self._options.attempts or tries.put_off >= _MOST_PUT_OFF:
            return unscored(question, "failed", f"{error} (after {tries.in_all} attempts)")
        if retry_after is not None and retry_after > self._options.longest_wait_seconds:
            raise AlphaBenchError(
                f"the judge at {replica.endpoint.host!r} asks to wait {retry_after:.0f} s "
                f"({error})",
                hint="give the same command again then; what it answered is kept",
            )
        if is_put_off:
            return 0.0  # the gate holds everybody back as long as the host wants
        backoff = min(_LONGEST_BACKOFF_SECONDS, 0.5 * 2.0 ** min(tries.in_all - 1, 10))
        wait = self._clock.jitter(0.5, 1.0) * backoff
        if replica.health.is_down:
            pace.pause(now + wait)
        return wait

    async def _get_reply(self, replica: _Replica, question: Question) -> Reply:
        pictures = [
            await self._pictures.uri(part) for part in question.parts if isinstance(part, Picture)
        ]
        model, account = self._judge.model, self._judge.account
        body = request_body(question, pictures, model=model, fixed=self._judge.fixed_fields)
        content = json.dumps(body).encode()
        reserved, reply = await account.reserve(question), None
        try:
            reply = await self._send(replica, content)
        finally:
            account.settle(reserved, reply)
        self._judge.check_model(reply.model)
        return reply

    async def _send(self, replica: _Replica, content: bytes) -> Reply:
        key = self._judge.find_key(replica.endpoint.host)
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"

        def clean(text: str) -> str:
            return text if key is None else text.replace(key, "[key]")

        seconds = self._options.timeout_seconds
        url = f"{replica.endpoint.base}/chat/completions"
        try:
            async with (
                asyncio.timeout(seconds),
                replica.clients.one() as client,
                client.stream("POST", url, content=content, headers=headers) as response,
            ):
                received = await _read_body(response)
        except TimeoutError as error:
            raise PassingError(f"no answer within {seconds:g} s") from error
        except httpx.HTTPError as error:
            reason = one_line(clean(f"{type(error).__name__}: {error}"))
            raise PassingError(reason) from error
        if response.status_code == 200:
            return read_completion(received, asked_for=self._judge.model, clean=clean)
        try:
            return read_refusal(response.status_code, received, self._judge.model, clean)
        except PassingError as error:
            error.retry_after = retry_after_seconds(response.headers, self._clock.wall())
            raise


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


class _Clients:
    """A client with one connection for each request under way, the last used first.

    One client with many connections looks at all of them for each request.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        # A proxy of the environment knows nothing of this machine's own servers.
        self._proxied = endpoint.host not in _LOOPBACK and _has_proxy(endpoint)
        self._plain = endpoint.base.startswith("http://") and not self._proxied
        self._context: ssl.SSLContext | bool = True if self._plain else httpx.create_ssl_context()
        self._limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        self._free: list[httpx.AsyncClient] = []
        self._all: list[httpx.AsyncClient] = []

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[httpx.AsyncClient]:
        client = self._free.pop() if self._free else self._make()
        try:
            yield client
        finally:
            self._free.append(client)

    def _make(self) -> httpx.AsyncClient:
        client = httpx.AsyncClient(
            timeout=None,  # noqa: S113 - the whole attempt has one
            limits=self._limits,
            trust_env=self._proxied,
            verify=self._context,
            transport=PlainTransport() if self._plain else None,
        )
        self._all.append(client)
        return client

    async def close(self) -> None:
        for client in self._all:
            await client.aclose()


def _has_proxy(endpoint: Endpoint) -> bool:
    scheme = endpoint.base.partition(":")[0]
    found = urllib.request.getproxies()
    return bool({scheme, "all"} & found.keys()) and not urllib.request.proxy_bypass(endpoint.host)


async def _read_body(response: httpx.Response) -> bytes:
    received = bytearray()
    async for chunk in response.aiter_bytes():
        received += chunk
        if len(received) > _LONGEST_BODY:
            raise LastingError(f"the answer is larger than {_LONGEST_BODY // 2**20} MiB")
    return bytes(received)


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
