"""Progress display: bars on a terminal, lines at growing intervals elsewhere.

Both show items done, rate, time left, how many have no result so far, and a few words of the
caller's about cost. What takes longer than a few seconds without any result (weights that load, a
judge that does not answer) is shown, too. Knows counts and phases; knows nothing of images or
verdicts.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from alphabench.core.terminal import shown

if TYPE_CHECKING:
    from rich.console import Console

_FIRST_SECONDS: Final = 5.0
"""After the beginning of a phase; each next interval is as long as the phase has lasted ..."""
_LONGEST_SECONDS: Final = 60.0
"""... up to this."""
_BUSY_SECONDS: Final = 3.0
"""What takes no longer is not mentioned."""
_STALLED_SECONDS: Final = 30.0
_TICK_SECONDS: Final = 1.0
_WIDE: Final = 90
_MEDIUM: Final = 70
"""Columns of a terminal; narrower ones get shorter bars."""


def _nothing() -> str:
    return ""


class Progress(Protocol):
    """Receives the progress of a run and displays it."""

    def begin(self, phase: str, *, total: int, done: int) -> None:
        """`phase` starts: `total` items in all, `done` of them from an earlier run."""
        ...

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        """So many more items of the present phase are through, so many of them without a result."""
        ...

    def note(self, text: str) -> None:
        """A message for the user."""
        ...

    def end(self) -> None:
        """The present phase is over."""
        ...


@runtime_checkable
class DetailedProgress(Progress, Protocol):
    """A display that can also show costs, and what takes long before there is a result."""

    def explain(self, *, first: str, cost: Callable[[], str]) -> None:
        """About the phase that begins next.

        Args:
            first: what is under way until its first new item is through: `loading weights`.
            cost: what was spent so far in a few words, or nothing; called whenever it is shown.
        """
        ...

    def busy(self, what: str, state: Callable[[], str]) -> contextlib.AbstractContextManager[None]:
        """Within the block, `what` is under way; displayed if it takes more than a moment.

        Args:
            what: is under way.
            state: a remark that is displayed with it; may be empty.
        """
        ...


@runtime_checkable
class HasRoomBeside(Protocol):
    """A display that can show two phases at the same time, from two threads."""

    def beside(self) -> Progress:
        """A display for a phase that runs beside the present one."""
        ...


def display_beside(progress: Progress) -> Progress | None:
    """`HasRoomBeside.beside`; None where the display shows one phase at a time."""
    return progress.beside() if isinstance(progress, HasRoomBeside) else None


def begin_phase(
    progress: Progress,
    phase: str,
    *,
    total: int,
    done: int,
    first: str,
    cost: Callable[[], str] = _nothing,
) -> None:
    """`Progress.begin`, with what `explain` takes where the display can show it."""
    if isinstance(progress, DetailedProgress):
        progress.explain(first=first, cost=cost)
    progress.begin(phase, total=total, done=done)


def while_busy(
    progress: Progress, what: str, state: Callable[[], str] = _nothing
) -> contextlib.AbstractContextManager[None]:
    """`DetailedProgress.busy` where the display can show it."""
    if isinstance(progress, DetailedProgress):
        return progress.busy(what, state)
    return contextlib.nullcontext()


class Silent:
    """Shows nothing: for library use and tests."""

    def begin(self, phase: str, *, total: int, done: int) -> None:
        pass

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def end(self) -> None:
        pass

    def beside(self) -> Silent:
        return self


class Lines:
    """Plain lines: at the start and end of a phase, soon after the start, then less often.

    As a context manager it also speaks while nothing advances.
    """

    def __init__(
        self, write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._phase, self._total, self._done, self._fresh, self._unscored = "", 0, 0, 0, 0
        self._cost: Callable[[], str] = _nothing
        self._state: Callable[[], str] = _nothing
        self._first, self._busy = "none new", ""
        self._began = self._spoke = self._moved = 0.0
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None
        self._others: list[Lines] = []

    def __enter__(self) -> Lines:
        self._ticker = threading.Thread(target=self._tick_until_over, daemon=True)
        self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._ticker is not None:
            self._ticker.join()

    def beside(self) -> Lines:
        with self._lock:
            other = Lines(self._write, clock=self._clock)
            other._lock = self._lock
            self._others = [*(one for one in self._others if one._phase), other]
            return other

    def begin(self, phase: str, *, total: int, done: int) -> None:
        with self._lock:
            self._phase, self._total, self._done = phase, total, done
            self._fresh = self._unscored = 0
            self._began = self._spoke = self._moved = self._clock()
            earlier = f", {done} of them done before" if done else ""
            self._write(f"{phase}: {total} images{earlier}")

    def explain(self, *, first: str, cost: Callable[[], str]) -> None:
        self._first, self._cost = first, cost

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        with self._lock:
            self._done += count
            self._fresh += count
            self._unscored += unscored
            self._moved = self._clock()
            self.tick()

    def note(self, text: str) -> None:
        with self._lock:
            self._write(text)

    def end(self) -> None:
        with self._lock:
            if self._fresh:
                self._speak()
            self._phase = ""

    @contextlib.contextmanager
    def busy(self, what: str, state: Callable[[], str] = _nothing) -> Iterator[None]:
        with self._lock:
            self._busy, self._state, self._began = what, state, self._clock()
            self._spoke = self._began
        try:
            yield
        finally:
            with self._lock:
                self._busy = ""

    def tick(self) -> None:
        """Speak if it is time to."""
        with self._lock:
            now = self._clock()
            elapsed = now - self._began
            if self._busy:
                lasted = self._spoke - self._began
                wait = min(max(lasted, _FIRST_SECONDS), 30.0) if lasted else _BUSY_SECONDS
                if now - self._spoke >= wait:
                    self._spoke = now
                    state = self._state()
                    note = f"; {state}" if state else ""
                    self._write(f"{self._busy} ({duration(elapsed)} so far{note})")
            elif self._phase:
                wait = min(max(self._spoke - self._began, _FIRST_SECONDS), _LONGEST_SECONDS)
                if now - self._spoke >= wait:
                    self._speak()
            for other in self._others:
                other.tick()

    def _tick_until_over(self) -> None:
        while not self._over.wait(_TICK_SECONDS):
            self.tick()

    def _speak(self) -> None:
        now = self._spoke = self._clock()
        elapsed, left = now - self._began, self._total - self._done
        parts = [f"{self._phase}: {self._done}/{self._total}"]
        if not self._fresh:
            parts.append(f"{self._first} ({duration(elapsed)} so far)")
        else:
            rate = self._fresh / elapsed if elapsed > 0 else 0.0
            parts += [rate_words(rate)] if rate else []
            if left and now - self._moved >= _STALLED_SECONDS:
                parts.append(f"none for {duration(now - self._moved)}")
            elif left and rate:
                parts.append(f"{duration(left / rate)} left")
        parts += [f"{self._unscored} unscored"] if self._unscored else []
        parts += [cost] if (cost := self._cost()) else []
        self._write(", ".join(parts))


def rate_words(rate: float) -> str:
    """`3.2/s`, or `12 s each` below one a second; `rate` is above 0."""
    if rate >= 1:
        return f"{rate:.1f}/s" if rate < 100 else f"{rate:.0f}/s"
    return f"{1 / rate:.1f} s each" if rate > 0.1 else f"{1 / rate:.0f} s each"


def duration(seconds: float) -> str:
    """`37 s`, `12 min`, `3 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


class Bars:
    """A bar for each phase, with rate and time left. Use as a context manager."""

    def __init__(self, console: Console, *, busy_seconds: float = _BUSY_SECONDS) -> None:
        """Shows nothing yet.

        Args:
            console: a terminal.
            busy_seconds: what `busy` names is displayed once it has taken so long.
        """
        from rich.progress import (
            BarColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
        )
        from rich.text import Text

        class Counts(ProgressColumn):
            """Done of all, rate and time left; the time so far while there is no result."""

            def render(self, task: Task) -> Text:
                seconds = (task.finished_time if task.finished else task.elapsed) or 0.0
                if task.total is None:
                    return Text(duration(seconds), style="cyan")
                text = Text(f"{task.completed:.0f}/{task.total:.0f}", style="green")
                fresh = task.completed - task.fields["done"]
                if task.finished or not fresh or not seconds:
                    text.append(f" {duration(seconds)}", style="cyan")
                else:
                    rate = fresh / seconds
                    text.append(f" {rate_words(rate)}", style="cyan")
                    left = duration((task.total - task.completed) / rate)
                    text.append(f" {left} left", style="cyan")
                return text

        class Account(ProgressColumn):
            """What has no result, and what was spent."""

            max_refresh = 0.5

            def render(self, task: Task) -> Text:
                fields, cost = task.fields, task.fields["cost"]()
                is_waiting = task.completed == fields["done"] and not task.finished
                words = [
                    fields["first"] if is_waiting else "",
                    f"{fields['unscored']} unscored" if fields["unscored"] else "",
                    cost,
                ]
                return Text(", ".join(filter(None, words)), style="yellow")

        self._console, self._busy_seconds = console, busy_seconds
        width = 28 if console.width >= _WIDE else 14 if console.width >= _MEDIUM else 4
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=width),
            Counts(),
            Account(),
            console=console,
        )
        self._task: Any = None
        self._unscored = 0
        self._first, self._cost = "", _nothing

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def beside(self) -> Bars:
        other = copy.copy(self)  # with the same bars
        other._task = None
        return other

    def begin(self, phase: str, *, total: int, done: int) -> None:
        self._unscored = 0
        self._task = self._bars.add_task(
            phase,
            total=total,
            completed=done,
            done=done,
            unscored=0,
            first=shown(self._first),
            cost=self._cost,
        )

    def explain(self, *, first: str, cost: Callable[[], str]) -> None:
        self._first, self._cost = first, cost

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        self._unscored += unscored
        self._bars.update(self._task, advance=count, unscored=self._unscored)

    def note(self, text: str) -> None:
        self._console.print(shown(text), markup=False, highlight=False)

    def end(self) -> None:
        self._bars.refresh()

    @contextlib.contextmanager
    def busy(self, what: str, state: Callable[[], str] = _nothing) -> Iterator[None]:
        task = self._bars.add_task(
            shown(what), total=None, visible=False, done=0, unscored=0, first="", cost=state
        )
        timer = threading.Timer(self._busy_seconds, self._bars.update, (task,), {"visible": True})
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            self._bars.remove_task(task)
