"""Which progress display a run has: bars on a terminal, a live bar in a notebook, lines, or none.

Knows counts and phases only, as `progress` does; imports no notebook library outside a notebook.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from html import escape
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.terminal import warn
from alphabench.runs.progress import Bars, Lines, Progress, Silent, duration, rate_words

_SECONDS_BETWEEN_UPDATES: Final = 0.2
_METHODS: Final = ("begin", "advance", "note", "end")


def _nothing_spent() -> str:
    return ""


@contextlib.contextmanager
def progress_display(wanted: bool | Progress | None) -> Iterator[Progress]:
    """The display for a run.

    Args:
        wanted: False shows nothing. None shows a display where somebody can watch it: on a
            terminal or in a notebook. True shows lines on standard error everywhere else, too. An
            object of your own receives the progress.

    Raises:
        AlphaBenchError: it is none of these.
    """
    if wanted is False:
        yield Silent()
    elif wanted is not None and wanted is not True:
        yield _checked(wanted)
    elif in_notebook():
        yield NotebookBars()
    else:
        from rich.console import Console

        console = Console(stderr=True)
        if not console.is_terminal and not wanted:
            yield Silent()
            return
        display = Bars(console) if console.is_terminal else Lines(warn)
        with display as progress, _notes_to(progress.note):
            yield progress


class _NoteHandler(logging.Handler):
    """Passes warnings of the library on to the progress display."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        self._note(record.getMessage())


@contextlib.contextmanager
def _notes_to(note: Callable[[str], None]) -> Iterator[None]:
    """Within the block, what the library logs for the user goes to `note`, between the bars."""
    log, handler = logging.getLogger("alphabench"), _NoteHandler(note)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def is_watched() -> bool:
    """Whether somebody can watch a display: on a terminal or in a notebook."""
    return in_notebook() or sys.stderr.isatty()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    return type(running).__name__ not in ("NoneType", "TerminalInteractiveShell")


class NotebookBars:
    """A live bar for each phase, as HTML that stays in the saved notebook."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._handle: Any = None
        self._phase, self._total, self._done, self._fresh, self._unscored = "", 0, 0, 0, 0
        self._first, self._cost = "", _nothing_spent
        self._began = self._shown = 0.0

    def beside(self) -> NotebookBars:
        return NotebookBars(clock=self._clock)

    def begin(self, phase: str, *, total: int, done: int) -> None:
        displays: Any = importlib.import_module("IPython.display")
        self._phase, self._total, self._done, self._fresh, self._unscored = phase, total, done, 0, 0
        self._began = self._shown = self._clock()
        self._handle = displays.display(self._bar(), display_id=True)

    def explain(self, *, first: str, cost: Callable[[], str]) -> None:
        self._first, self._cost = first, cost

    @contextlib.contextmanager
    def busy(self, what: str, state: Callable[[], str]) -> Iterator[None]:
        """Displayed as a line of its own, which is gone afterwards."""
        del state
        displays: Any = importlib.import_module("IPython.display")
        handle = displays.display(_Shown(what, done=0, total=0), display_id=True)
        yield
        if handle is not None:
            handle.update(_Shown("", done=0, total=0))

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        self._done += count
        self._fresh += count
        self._unscored += unscored
        if self._clock() - self._shown >= _SECONDS_BETWEEN_UPDATES:
            self._update()

    def note(self, text: str) -> None:
        warn(text)

    def end(self) -> None:
        self._update()

    def _update(self) -> None:
        self._shown = self._clock()
        if self._handle is not None:
            self._handle.update(self._bar())

    def _bar(self) -> _Shown:
        return _Shown(self._line(), done=self._done, total=self._total)

    def _line(self) -> str:
        elapsed = self._clock() - self._began
        rate = self._fresh / elapsed if elapsed > 0 else 0.0
        left = self._total - self._done
        words = [f"{self._phase}: {self._done}/{self._total}"]
        words += [rate_words(rate)] if rate else [self._first] if left and self._first else []
        words += [f"{duration(left / rate)} left"] if left and rate else []
        words += [f"{self._unscored} unscored"] if self._unscored else []
        words += [cost] if (cost := self._cost()) else []
        return ", ".join(words)


class _Shown:
    """A line of progress, with a bar where HTML is displayed."""

    def __init__(self, line: str, *, done: int, total: int) -> None:
        self._line, self._done, self._total = line, done, total

    def __repr__(self) -> str:
        return self._line

    def _repr_html_(self) -> str:
        if not self._line:
            return ""
        bar = f'<progress value="{self._done}" max="{self._total}"></progress> '
        return f"<div>{bar if self._total else ''}<code>{escape(self._line)}</code></div>"


def _checked(display: Any) -> Progress:
    lacking = [name for name in _METHODS if not callable(getattr(display, name, None))]
    if lacking:
        raise AlphaBenchError(
            f"progress={display!r} cannot display progress: it has no method {lacking[0]}()",
            hint="give True, False, or an object with begin, advance, note and end",
        )
    shown: Progress = display
    return shown
