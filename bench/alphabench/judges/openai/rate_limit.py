"""How fast one replica of a judge is asked. Sends nothing.

The number of requests under way grows by half every round until the host objects, stays just below
where that was, is cut if the host goes on objecting, and probes beyond from time to time. Rounds,
not seconds: a host that answers slowly is asked slowly.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

START: Final = 32
"""Requests under way at first."""
_GROWTH: Final = 0.5
"""Requests gained an answer until the first refusal: half as many more in a round."""
_CUT: Final = 0.85
_CLIMB: Final = 4.0
"""Requests gained a round, below the level at which the host objected."""
_BREATHER: Final = 0.25
"""Of a round: what is sent at once after a refusal is refused as well."""
_FIRST_BREATHER_SECONDS: Final = 0.25
"""While nobody knows how long a round is."""
_LONGEST_BREATHER_SECONDS: Final = 10.0
_FORGOTTEN_ROUNDS: Final = 1.0
_SMOOTHING: Final = 0.1
_OVERSHOT: Final = 0.85
"""What is left of the first level that met a refusal, where nobody knows what was accepted."""
_LEAST_LEFT: Final = 0.5
"""What is left of it at least: a host that refuses all may mean its clock and not their number."""
_PROBE_ROUNDS: Final = 10
"""Rounds at the ceiling before a probe beyond it; after one that succeeds the next is bolder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time and chance, as arguments, so that tests neither wait nor gamble."""

    now: Callable[[], float] = time.monotonic
    """Seconds, never going back."""
    wall: Callable[[], float] = time.time
    """Seconds since the epoch, to read a host's dates."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[float, float], float] = random.uniform


@dataclass(kw_only=True)
class Pace:
    """How many requests may be under way at one replica; outlives one stream of questions."""

    most: int
    limit: float = 0.0
    ceiling: float = math.inf
    """The level at which the host last objected."""
    last_cut: float = -math.inf
    last_refusal: float = -math.inf
    at_ceiling: int = 0
    """Answers since the ceiling was reached."""
    in_vain: int = 0
    """Breathers since the last answer; each is twice as long as the one before."""
    step: float = 1.0
    """How far the next probe goes beyond it."""
    round_seconds: float = 0.0
    """How long an answer takes, smoothed."""
    resume_at: float = -math.inf
    """Nothing is sent before."""
    least: float | None = None
    """While the first refusals come in: the limit becomes what the host accepts, but no less."""

    def __post_init__(self) -> None:
        self.limit = self.limit or float(min(START, self.most))

    def succeeded(self, seconds: float) -> None:
        """One request was answered, after so long."""
        self.round_seconds += _SMOOTHING * (seconds - self.round_seconds)
        self.in_vain = 0
        if math.isinf(self.ceiling):
            self.limit = min(float(self.most), self.limit + _GROWTH)
            if self.limit >= self.most:
                self.ceiling = self.limit
        elif self.limit < self.ceiling:
            self.limit = min(self.ceiling, self.limit + _CLIMB / self.limit)
        else:
            self._stay()

    def _stay(self) -> None:
        """At the ceiling: after some rounds a step beyond is tried."""
        self.at_ceiling += 1
        if self.at_ceiling > _PROBE_ROUNDS * self.ceiling and self.ceiling < self.most:
            self.ceiling = min(float(self.most), self.ceiling + self.step)
            self.step, self.at_ceiling = 2 * self.step, 0

    def objected(
        self, *, sent_at: float, now: float, retry_after: float | None, accepted: int | None = None
    ) -> None:
        """The host wants fewer requests, or none for `retry_after` seconds.

        Args:
            sent_at: when the refused request was sent.
            now: when it was refused.
            retry_after: seconds that the host asks for.
            accepted: requests that it is working on all the same, if that is known.

        One refusal alone means a step too far; those that follow on it want a breather, and a
        cut. A host refuses at once, so that all refusals of a round are one piece of news.
        """
        pause = retry_after or 0.0
        alone = now - self.last_refusal > _FORGOTTEN_ROUNDS * self.round_seconds + pause
        self.last_refusal = now
        if retry_after is not None:
            self.pause(now + retry_after)
        elif not alone and now >= self.resume_at:
            self.pause(now + self._breather_seconds())
            self.in_vain += 1
        if sent_at < self.last_cut or now - self.last_cut < self.round_seconds + pause:
            self._settle(accepted)
            return
        self.last_cut, self.step, self.at_ceiling = now, 1.0, 0
        is_first = math.isinf(self.ceiling)
        self.least = max(1.0, _LEAST_LEFT * self.limit) if is_first else None
        if is_first and accepted is not None:
            self._settle(accepted)
        elif is_first:
            self.ceiling = max(1.0, self.limit - 1.0)
            self.limit = max(1.0, _OVERSHOT * self.limit)
        elif alone:
            self.limit = self.ceiling = max(1.0, self.limit - 1.0)
        else:
            # Where it was is tried again, a little lower where that had been a comeback already.
            comeback = self.limit < self.ceiling
            self.ceiling = self.limit * (1.0 + _CUT) / 2.0 if comeback else self.limit
            self.limit = max(1.0, _CUT * self.limit)

    def _settle(self, accepted: int | None) -> None:
        """A host that refuses at once has, after the last refusal, just what it bears."""
        if self.least is not None and accepted is not None:
            self.limit = self.ceiling = max(self.least, float(accepted))

    def _breather_seconds(self) -> float:
        first = _BREATHER * self.round_seconds or _FIRST_BREATHER_SECONDS
        return min(_LONGEST_BREATHER_SECONDS, first * 2.0 ** min(self.in_vain, 20))

    def pause(self, until: float) -> None:
        self.resume_at = max(self.resume_at, until)


class Gate:
    """Lets coroutines through as the pace allows, lowest rank first."""

    def __init__(self, pace: Pace, clock: Clock) -> None:
        self.pace = pace
        self.under_way = 0
        self.closed = False
        """Nobody goes through: the host may be down, and somebody else finds out."""
        self._clock = clock
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._timer: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def turn(self, rank: int) -> AsyncIterator[None]:
        """One request's place; retries of early questions go before the first try of late ones."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._order), turn))
        self.wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        self.under_way -= 1
        self.wake()

    def wake(self) -> None:
        """Let through whoever may go now."""
        if self.closed:
            return
        pause = self.pace.resume_at - self._clock.now()
        if pause > 0:
            if self._waiting and (self._timer is None or self._timer.done()):
                self._timer = asyncio.create_task(self._wake_after(pause))
            return
        while self._waiting and self.under_way < int(self.pace.limit):
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self.under_way += 1
                turn.set_result(None)

    def open(self, *, yes: bool) -> None:
        """Open or close it for everybody."""
        self.closed = not yes
        self.wake()

    async def _wake_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._timer = None
        self.wake()
