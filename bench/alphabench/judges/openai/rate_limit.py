"""How many requests one replica of a judge gets at once. Sends nothing.

The limit grows by half every round trip until the host refuses, stays just below where that was, is
cut if the host goes on refusing, and is probed beyond from time to time. Everything is counted in
round trips, not in seconds: a host that answers slowly is asked slowly.
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
"""Requests gained an answer until the first refusal: half as many more in a round trip."""
_CUT: Final = 0.85
_CLIMB: Final = 4.0
"""Requests gained a round trip, below the level at which the host refused."""
_BACKOFF: Final = 0.25
"""Of a round trip: what is sent at once after a refusal is refused as well."""
_FIRST_BACKOFF_SECONDS: Final = 0.25
"""While it is not known how long a round trip is."""
_LONGEST_BACKOFF_SECONDS: Final = 10.0
_FORGOTTEN_ROUND_TRIPS: Final = 1.0
_SMOOTHING: Final = 0.1
_OVERSHOT: Final = 0.85
"""What is left of the first level that met a refusal, where it is not known what was accepted."""
_LEAST_LEFT: Final = 0.5
"""What is left of it at least: a host that refuses all may mean its clock and not their number."""
_PROBE_ROUND_TRIPS: Final = 10
"""Round trips at the ceiling before a probe beyond it; each success doubles the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time and chance as arguments, so that tests neither wait nor depend on luck."""

    now: Callable[[], float] = time.monotonic
    """Seconds, never decreasing."""
    wall: Callable[[], float] = time.time
    """Seconds since the epoch, to read a host's dates."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[float, float], float] = random.uniform


@dataclass(kw_only=True)
class ConcurrencyLimit:
    """How many requests may be under way at one replica; outlives one stream of questions."""

    maximum: int
    current: float = 0.0
    ceiling: float = math.inf
    """The level at which the host last refused."""
    last_cut: float = -math.inf
    last_refusal: float = -math.inf
    answers_at_ceiling: int = 0
    """Answers since the ceiling was reached."""
    consecutive_backoffs: int = 0
    """Backoff pauses since the last answer; each doubles."""
    step: float = 1.0
    """How far the next probe goes beyond the ceiling."""
    round_trip_seconds: float = 0.0
    """How long an answer takes, smoothed."""
    resume_at: float = -math.inf
    """Nothing is sent before."""
    floor: float | None = None
    """While the first refusals come in: the limit becomes what the host accepts, but no less."""

    def __post_init__(self) -> None:
        self.current = self.current or float(min(START, self.maximum))

    def succeeded(self, seconds: float) -> None:
        """One request was answered, after so long."""
        self.round_trip_seconds += _SMOOTHING * (seconds - self.round_trip_seconds)
        self.consecutive_backoffs = 0
        if math.isinf(self.ceiling):
            self.current = min(float(self.maximum), self.current + _GROWTH)
            if self.current >= self.maximum:
                self.ceiling = self.current
        elif self.current < self.ceiling:
            self.current = min(self.ceiling, self.current + _CLIMB / self.current)
        else:
            self._raise_ceiling_after_a_while()

    def _raise_ceiling_after_a_while(self) -> None:
        self.answers_at_ceiling += 1
        is_due = self.answers_at_ceiling > _PROBE_ROUND_TRIPS * self.ceiling
        if is_due and self.ceiling < self.maximum:
            self.ceiling = min(float(self.maximum), self.ceiling + self.step)
            self.step, self.answers_at_ceiling = 2 * self.step, 0

    def refused(
        self, *, sent_at: float, now: float, retry_after: float | None, accepted: int | None = None
    ) -> None:
        """The host wants fewer requests, or none for `retry_after` seconds.

        A single refusal means a step too far; those that follow it cause a pause and a cut. A host
        refuses at once, so all refusals of a round trip count as one.

        Args:
            sent_at: when the refused request was sent, in seconds of the clock.
            now: when it was refused.
            retry_after: seconds that the host asks for.
            accepted: requests that it is working on all the same, if that is known.
        """
        pause = retry_after or 0.0
        forgotten_after = _FORGOTTEN_ROUND_TRIPS * self.round_trip_seconds + pause
        is_single = now - self.last_refusal > forgotten_after
        self.last_refusal = now
        if retry_after is not None:
            self.pause(now + retry_after)
        elif not is_single and now >= self.resume_at:
            self.pause(now + self._backoff_seconds())
            self.consecutive_backoffs += 1
        if sent_at < self.last_cut or now - self.last_cut < self.round_trip_seconds + pause:
            self._lower_to(accepted)
            return
        self.last_cut, self.step, self.answers_at_ceiling = now, 1.0, 0
        is_first = math.isinf(self.ceiling)
        self.floor = max(1.0, _LEAST_LEFT * self.current) if is_first else None
        if is_first and accepted is not None:
            self._lower_to(accepted)
        elif is_first:
            self.ceiling = max(1.0, self.current - 1.0)
            self.current = max(1.0, _OVERSHOT * self.current)
        elif is_single:
            self.current = self.ceiling = max(1.0, self.current - 1.0)
        else:
            # The old level is tried again; a little lower, if this was a second try already.
            is_second_try = self.current < self.ceiling
            self.ceiling = self.current * (1.0 + _CUT) / 2.0 if is_second_try else self.current
            self.current = max(1.0, _CUT * self.current)

    def _lower_to(self, accepted: int | None) -> None:
        """A host that refuses at once is, after the last refusal, working on what it can take."""
        if self.floor is not None and accepted is not None:
            self.current = self.ceiling = max(self.floor, float(accepted))

    def _backoff_seconds(self) -> float:
        first = _BACKOFF * self.round_trip_seconds or _FIRST_BACKOFF_SECONDS
        return min(_LONGEST_BACKOFF_SECONDS, first * 2.0 ** min(self.consecutive_backoffs, 20))

    def pause(self, until: float) -> None:
        """Send nothing before `until`, in seconds of the clock."""
        self.resume_at = max(self.resume_at, until)


class Gate:
    """Lets coroutines send as the limit allows, lowest rank first."""

    def __init__(self, limit: ConcurrencyLimit, clock: Clock) -> None:
        self.limit = limit
        self.under_way = 0
        self.is_closed = False
        """No request passes: the host may be down, and a probe finds out."""
        self._clock = clock
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._timer: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def slot(self, rank: int) -> AsyncIterator[None]:
        """Room for one request; retries of early questions precede first attempts of late ones."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._order), granted))
        self._grant_slots()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._free_slot()
            raise
        try:
            yield
        finally:
            self._free_slot()

    def _free_slot(self) -> None:
        self.under_way -= 1
        self._grant_slots()

    def _grant_slots(self) -> None:
        if self.is_closed:
            return
        pause = self.limit.resume_at - self._clock.now()
        if pause > 0:
            if self._waiting and (self._timer is None or self._timer.done()):
                self._timer = asyncio.create_task(self._grant_slots_after(pause))
            return
        while self._waiting and self.under_way < int(self.limit.current):
            _, _, granted = heapq.heappop(self._waiting)
            if not granted.done():
                self.under_way += 1
                granted.set_result(None)

    def close(self) -> None:
        """Let no request pass until `open`."""
        self.is_closed = True

    def open(self) -> None:
        """Let requests pass again."""
        self.is_closed = False
        self._grant_slots()

    async def _grant_slots_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._timer = None
        self._grant_slots()
