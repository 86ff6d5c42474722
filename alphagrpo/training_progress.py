"""Shows a training: a few lines at the bottom of a terminal, or plain lines elsewhere.

Both say the step, the reward with its change and parts, the last held-out score, KL, clip fraction,
length of texts, seconds by phase, images a second, memory and the time left; within a step, how far
its phase is. `training_state` has the words. Knows no policy and no file format.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from alphabench.core.terminal import echo, shown
from alphabench.runs.progress import Progress
from alphagrpo.training_state import TrainingState
from alphatrainers.protocols import ValidationPoint, WeightView
from alphatrainers.reporting.history import CurvePoint, MetricsLine
from alphatrainers.training_display import StepSummary, TrainingDisplay

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SECONDS_BETWEEN_LINES: Final = 10.0
"""Between two plain lines, steps included: a training of short steps does not flood a log."""
_SECONDS_IN_LONG_PHASES: Final = 60.0
"""Between two lines of a phase that has lasted some minutes."""
_BAR: Final = 24
"""Characters of a bar."""


class TrainingLines:
    """Plain lines, one a step where steps are long; a phase that lasts speaks up, too."""

    def __init__(
        self, state: TrainingState, write: Callable[[str], None] = echo,
        *, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._state, self._write, self._clock = state, write, clock
        self._spoke = self._stepped = -math.inf
        self._lock, self._over = threading.RLock(), threading.Event()
        self._ticker = threading.Thread(target=self._tick_until_over, daemon=True)

    def __enter__(self) -> TrainingLines:
        self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._ticker.join()

    def start(self, *, step: int, steps: int) -> None:
        self._state.start(step=step, steps=steps)

    def begin(self, phase: str, *, total: int, done: int) -> None:
        with self._lock:
            self._state.begin(phase, total=total, done=done)
            self._spoke = max(self._spoke, self._clock() - SECONDS_BETWEEN_LINES / 2)

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        del unscored
        with self._lock:
            self._state.advance(count)
            self.tick()

    def end(self) -> None:
        with self._lock:
            self._state.end()

    def note(self, text: str) -> None:
        with self._lock:
            self._speak(text)

    def step_done(self, summary: StepSummary) -> None:
        state = self._state
        with self._lock:
            first = state.step == 0
            state.step_done(summary)
            since = self._clock() - self._stepped
            if not (first or state.step == state.steps or since >= SECONDS_BETWEEN_LINES):
                return
            self._stepped = self._clock()
            self._speak(f"step {state.step}/{state.steps}: {', '.join(_all_words(state))}")

    def measured(self, name: str, view: WeightView, point: ValidationPoint | None) -> None:
        self._state.measured(name, view, point)

    def tick(self) -> None:
        """Speaks of the present phase if it is time to."""
        state = self._state
        with self._lock:
            if state.phase and self._is_time() and not 0 < state.total <= state.done:
                where = f"step {state.step + 1}/{state.steps}: " if state.steps else ""
                validates = state.phase.startswith("validation")
                self._speak(f"{'' if validates else where}{state.phase_words()}")

    def _is_time(self) -> bool:
        """Each ten seconds at first, then more seldom, at last each minute."""
        pause = max(SECONDS_BETWEEN_LINES, self._state.phase_seconds / 4)
        return self._clock() - self._spoke >= min(pause, _SECONDS_IN_LONG_PHASES)

    def _speak(self, text: str) -> None:
        self._spoke = self._clock()
        self._write(text)

    def _tick_until_over(self) -> None:
        while not self._over.wait(1.0):
            self.tick()


class TrainingScreen:
    """Three lines at the bottom of a terminal, below the messages."""

    def __init__(self, state: TrainingState, console: Console) -> None:
        from rich.live import Live

        self._state, self._console = state, console
        self._live = Live(
            get_renderable=self._lines, console=console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> TrainingScreen:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def start(self, *, step: int, steps: int) -> None:
        self._state.start(step=step, steps=steps)

    def begin(self, phase: str, *, total: int, done: int) -> None:
        self._state.begin(phase, total=total, done=done)

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        del unscored
        self._state.advance(count)

    def end(self) -> None:
        self._state.end()

    def note(self, text: str) -> None:
        self._console.print(shown(text), markup=False, highlight=False, soft_wrap=True)

    def step_done(self, summary: StepSummary) -> None:
        self._state.step_done(summary)

    def measured(self, name: str, view: WeightView, point: ValidationPoint | None) -> None:
        self._state.measured(name, view, point)

    def _lines(self) -> RenderableType:
        from rich.text import Text

        state, width = self._state, self._console.width
        text = Text(no_wrap=True, overflow="ellipsis")
        if state.steps:
            text.append_text(_bar(state.step, state.steps, "green"))
            step = f" step {state.step}/{state.steps}"
            text.append(step, style="bold")
            pace = [*state.pace(), *filter(None, [state.memory()])]
            text.append(f"  {_wrapped(pace, width, taken=_BAR + len(step) + 2)}\n", style="cyan")
            text.append(f"{shown(_wrapped(_score_words(state), width))}\n")
        if state.total:
            text.append_text(_bar(state.done, state.total, "blue"))
            text.append(" ")
        text.append(shown(state.phase_words()), style="dim")
        return text


def _bar(done: int, total: int, colour: str) -> Any:
    from rich.text import Text

    filled = round(_BAR * min(1.0, done / max(1, total)))
    return Text("━" * filled, style=colour).append("━" * (_BAR - filled), style="bright_black")


def _score_words(state: TrainingState) -> list[str]:
    words = [state.reward(), *state.reward_parts(), state.refinement(), state.held_out()]
    return [word for word in (*words, *state.numbers()) if word]


def _all_words(state: TrainingState) -> list[str]:
    return [word for word in (*_score_words(state), *state.pace(), state.memory()) if word]


def _wrapped(words: Sequence[str], width: int, *, taken: int = 0) -> str:
    """Words two spaces apart, and on a new line where the width is used up.

    Args:
        words: none is broken.
        width: of the terminal, in characters.
        taken: of the first line, by what stands before.
    """
    text, used = "", taken
    for word in words:
        between = "  " if text else ""
        if used and used + len(between) + len(word) > width:
            between, used = "\n", 0
        used += len(between.strip("\n")) + len(word)
        text += between + word
    return text


class ValidationPhases:
    """The progress of a benchmark run, as phases of a training's display."""

    def __init__(self, display: TrainingDisplay, name: str) -> None:
        self._display, self._name = display, name

    def begin(self, phase: str, *, total: int, done: int) -> None:
        self._display.begin(f"validation {self._name}, {phase}", total=total, done=done)

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        self._display.advance(count, unscored=unscored)

    def note(self, text: str) -> None:
        self._display.note(f"{self._name}: {text}")

    def end(self) -> None:
        self._display.end()


def validation_progress(display: TrainingDisplay) -> Callable[[str], Progress]:
    """For `AssemblyContext.validation_progress`: the progress of a validation by its name."""
    return lambda name: ValidationPhases(display, name)


@contextmanager
def training_display(
    steps: Sequence[MetricsLine], points: Sequence[CurvePoint], *, best_view: str | None = None
) -> Iterator[TrainingDisplay]:
    """Lines at the bottom of a terminal, plain lines where standard output is none.

    Args:
        steps: what was logged before, if the training is continued.
        points: its validations.
        best_view: whose held-out score is shown.
    """
    from rich.console import Console

    console = Console()
    state = TrainingState(steps=steps, points=points, best_view=best_view)
    if console.is_terminal and not console.is_dumb_terminal:
        with TrainingScreen(state, console) as screen:
            yield screen
    else:
        with TrainingLines(state) as lines:
            yield lines
