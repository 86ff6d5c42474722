"""Shows a training: three lines at the bottom of a terminal, or plain lines elsewhere.

Both say the step, the reward and its change, the last held-out score, KL, clip fraction, seconds a
step and the time left; within a step, how far its phase is. Knows no policy and no file format.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from alphabench.core.terminal import echo, shown
from alphabench.runs.progress import Progress, duration
from alphatrainers.protocols import ValidationPoint, WeightView
from alphatrainers.reporting.history import CurvePoint, MetricsLine
from alphatrainers.training_display import StepSummary, TrainingDisplay

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SECONDS_BETWEEN_LINES: Final = 10.0
"""Between two plain lines, steps included: a training of short steps does not flood a log."""
SMOOTHED_STEPS: Final = 5
_BAR: Final = 24
"""Characters of a bar."""


class TrainingState:
    """What the displays know, in words."""

    def __init__(
        self,
        *,
        steps: Sequence[MetricsLine] = (),
        points: Sequence[CurvePoint] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins with what an interrupted training logged.

        Args:
            steps: its steps, in order.
            points: its validations, in order.
            clock: in seconds.
        """
        self._clock = clock
        rewards = [one.values["reward/mean"] for one in steps if "reward/mean" in one.values]
        self._first = rewards[:SMOOTHED_STEPS]
        self._last = deque(rewards[-SMOOTHED_STEPS:], maxlen=SMOOTHED_STEPS)
        self._rewards = len(rewards)
        self._seconds = deque((one.seconds["step"] for one in steps[-3:]), maxlen=3)
        self._values: Mapping[str, float] = steps[-1].values if steps else {}
        self._held_out: dict[str, tuple[float, str]] = {}
        for point in points:
            if point.value is not None and point.low is not None and point.high is not None:
                self._keep(point.name, point.view, point.value, point.low, point.high)
        self.step = self.steps = self._done_before = 0
        self.phase, self.total, self.done = "", 0, 0
        self._began: float | None = None
        self._phase_began = clock()

    def start(self, *, step: int, steps: int) -> None:
        self.step, self.steps, self._done_before = step, steps, step

    def begin(self, phase: str, *, total: int, done: int) -> None:
        if self._began is None and self.steps and not phase.startswith("validation"):
            self._began = self._clock()
        self.phase, self.total, self.done = phase, total, done
        self._phase_began = self._clock()

    def advance(self, count: int = 1) -> None:
        self.done += count

    def end(self) -> None:
        self.phase, self.total = "", 0

    def step_done(self, summary: StepSummary) -> None:
        self.step, self._values = summary.step, summary.values
        self._seconds.append(summary.seconds["step"])
        if (reward := summary.values.get("reward/mean")) is not None:
            self._last.append(reward)
            self._rewards += 1
            if len(self._first) < SMOOTHED_STEPS:
                self._first.append(reward)

    def measured(self, name: str, view: WeightView, point: ValidationPoint | None) -> None:
        if point is not None:
            self._keep(name, view, point.value, point.low, point.high)

    @property
    def seconds_left(self) -> float | None:
        """Until the last step, at the pace so far, validations included; None before a step."""
        made = self.step - self._done_before
        if self._began is None or made <= 0:
            return None
        return (self._clock() - self._began) / made * (self.steps - self.step)

    def reward(self) -> str:
        """`reward 0.953 (+0.021)`: the last step, and the mean of the last five minus the first.

        The change is left out while the last five are the first ones.
        """
        value = self._values.get("reward/mean")
        if value is None:
            return "no reward yet" if not self._values else "reward none"
        if self._rewards <= SMOOTHED_STEPS:
            return f"reward {value:.3f}"
        change = fmean(self._last) - fmean(self._first)
        return f"reward {value:.3f} ({change:+.3f})"

    def held_out(self) -> str:
        """`held out 0.612 [0.55, 0.67] (+0.030)` of the first curve, or nothing."""
        return next(iter(text for _, text in self._held_out.values()), "")

    def numbers(self) -> list[str]:
        """KL, clip fraction, groups without variance, unscored: those that were measured."""
        values, words = self._values, []
        for name, label in (("kl", "KL"), ("clip_fraction", "clip")):
            found = [values[key] for key in (f"image/{name}", f"text/{name}") if key in values]
            if found:
                shown_value = f"{found[0]:.2g}" if name == "kl" else f"{max(found):.0%}"
                words.append(f"{label} {shown_value}")
        if values.get("image/groups") and values.get("image/zero_std_groups"):
            same, groups = values["image/zero_std_groups"], values["image/groups"]
            words.append(f"{same:.0f}/{groups:.0f} groups zero-std")
        if share := values.get("reward/unscored_share"):
            words.append(f"{share:.0%} unscored")
        return words

    def pace(self) -> list[str]:
        """Seconds a step, and the time left."""
        words = [f"{fmean(self._seconds):.1f} s/step"] if self._seconds else []
        left = self.seconds_left
        return [*words, f"{duration(left)} left"] if left and left >= 1.0 else words

    def phase_words(self) -> str:
        """`update 12/96`, with the time so far where it is long."""
        lasted = self._clock() - self._phase_began
        words = f"{self.phase} {self.done}/{self.total}" if self.total else self.phase
        return f"{words} ({duration(lasted)})" if lasted >= SECONDS_BETWEEN_LINES else words

    def _keep(self, name: str, view: str, value: float, low: float, high: float) -> None:
        curve = f"{name} {view}"
        first, _ = self._held_out.get(curve, (value, ""))
        change = f" ({value - first:+.3f})" if curve in self._held_out else ""
        text = f"held out {value:.3f} [{low:.2f}, {high:.2f}]{change}"
        self._held_out[curve] = (first, text)


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
            words = [state.reward(), *state.numbers(), *state.pace()]
            self._speak(f"step {state.step}/{state.steps}: {', '.join(words)}")

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
        return self._clock() - self._spoke >= SECONDS_BETWEEN_LINES

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

        state = self._state
        text = Text(no_wrap=True, overflow="ellipsis")
        if state.steps:
            text.append_text(_bar(state.step, state.steps, "green"))
            text.append(f" step {state.step}/{state.steps}", style="bold")
            text.append("".join(f"  {one}" for one in state.pace()), style="cyan")
            text.append("\n")
            scores = "  ".join(filter(None, [state.reward(), state.held_out()]))
            numbers = "  ".join(state.numbers())
            room = self._console.width - len(scores)
            between = "  " if len(numbers) + 2 <= room else "\n"
            text.append(f"{scores}{between if numbers else ''}{numbers}\n")
        if state.total:
            text.append_text(_bar(state.done, state.total, "blue"))
            text.append(" ")
        text.append(shown(state.phase_words()), style="dim")
        return text


def _bar(done: int, total: int, colour: str) -> Any:
    from rich.text import Text

    filled = round(_BAR * min(1.0, done / max(1, total)))
    return Text("━" * filled, style=colour).append("━" * (_BAR - filled), style="bright_black")


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
    steps: Sequence[MetricsLine], points: Sequence[CurvePoint]
) -> Iterator[TrainingDisplay]:
    """Lines at the bottom of a terminal, plain lines where standard output is none.

    Args:
        steps: what was logged before, if the training is continued.
        points: its validations.
    """
    from rich.console import Console

    console = Console()
    state = TrainingState(steps=steps, points=points)
    if console.is_terminal and not console.is_dumb_terminal:
        with TrainingScreen(state, console) as screen:
            yield screen
    else:
        with TrainingLines(state) as lines:
            yield lines
