"""Progress display: bars on a terminal, occasional lines elsewhere.

Knows counts and phases; knows nothing of images or verdicts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol

from alphabench.core.terminal import shown

if TYPE_CHECKING:
    from rich.console import Console

SECONDS_BETWEEN_LINES: Final = 30.0


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


class Lines:
    """Plain lines: at the start and end of a phase, and every half minute between."""

    def __init__(
        self, write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._phase, self._total, self._done, self._fresh, self._unscored = "", 0, 0, 0, 0
        self._began = self._spoke = 0.0

    def begin(self, phase: str, *, total: int, done: int) -> None:
        self._phase, self._total, self._done, self._fresh, self._unscored = phase, total, done, 0, 0
        self._began = self._spoke = self._clock()
        earlier = f", {done} of them done before" if done else ""
        self._write(f"{phase}: {total} images{earlier}")

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        self._done += count
        self._fresh += count
        self._unscored += unscored
        if self._clock() - self._spoke >= SECONDS_BETWEEN_LINES:
            self._speak()

    def note(self, text: str) -> None:
        self._write(text)

    def end(self) -> None:
        self._speak()

    def _speak(self) -> None:
        self._spoke = self._clock()
        elapsed = self._spoke - self._began
        rate = self._fresh / elapsed if elapsed > 0 else 0.0
        left = self._total - self._done
        eta = f", {left / rate:.0f} s left" if left and rate else ""
        unscored = f", {self._unscored} unscored" if self._unscored else ""
        self._write(
            f"{self._phase}: {self._done}/{self._total}, {rate:.1f} a second{eta}{unscored}"
        )


class Bars:
    """A bar for each phase, with rate and time left. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{task.speed or 0.0:.1f}/s", style="cyan")

        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:>10}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(compact=True),
            TextColumn("[yellow]{task.fields[unscored]}"),
            console=console,
        )
        self._task: Any = None
        self._unscored = 0

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

    def begin(self, phase: str, *, total: int, done: int) -> None:
        self._unscored = 0
        self._task = self._bars.add_task(phase, total=total, completed=done, unscored="")

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        self._unscored += unscored
        shown = f"{self._unscored} unscored" if self._unscored else ""
        self._bars.update(self._task, advance=count, unscored=shown)

    def note(self, text: str) -> None:
        self._console.print(shown(text), markup=False, highlight=False)

    def end(self) -> None:
        self._bars.refresh()
