"""What a training tells while it runs: phases of a step, steps done, validations measured.

The trainer calls a display in the first process only; nothing that it returns changes a result.
Knows no terminal: `alphagrpo.training_progress` has displays for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from alphatrainers.protocols import ValidationPoint, WeightView
from alphatrainers.rank_activity import RankActivity


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSummary:
    """The numbers of one finished training step."""

    step: int
    """Steps done, this one counted."""
    values: Mapping[str, float]
    """By the names of `reporting.metric_names`."""
    seconds: Mapping[str, float]
    memory: Mapping[str, float] = field(default_factory=dict)
    """Of this process; see `metrics.peak_memory`."""


class TrainingDisplay(Protocol):
    """Receives the progress of a training."""

    def start(self, *, step: int, steps: int) -> None:
        """The first step begins after `step` of `steps` done earlier."""
        ...

    def begin(self, phase: str, *, total: int, done: int) -> None:
        """A phase starts: `rollout`, `rewards`, `update`, `validation ...`."""
        ...

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        """So many more items of the present phase are through."""
        ...

    def end(self) -> None:
        """The present phase is over."""
        ...

    def note(self, text: str) -> None:
        """A message for the user."""
        ...

    def step_done(self, summary: StepSummary) -> None:
        """A training step was logged."""
        ...

    def measured(self, name: str, view: WeightView, point: ValidationPoint | None) -> None:
        """A validation was measured; None: it could not be."""
        ...


class NoDisplay:
    """Shows nothing."""

    def start(self, *, step: int, steps: int) -> None:
        pass

    def begin(self, phase: str, *, total: int, done: int) -> None:
        pass

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        pass

    def end(self) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def step_done(self, summary: StepSummary) -> None:
        pass

    def measured(self, name: str, view: WeightView, point: ValidationPoint | None) -> None:
        pass


class ObservedDisplay:
    """A display whose phases are this process's activity, too."""

    def __init__(self, display: TrainingDisplay, activity: RankActivity) -> None:
        self._display, self._activity = display, activity

    def start(self, *, step: int, steps: int) -> None:
        self._display.start(step=step, steps=steps)

    def begin(self, phase: str, *, total: int, done: int) -> None:
        self._activity.begin(phase)
        self._display.begin(phase, total=total, done=done)

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        self._activity.advance()
        self._display.advance(count, unscored=unscored)

    def end(self) -> None:
        self._activity.end()
        self._display.end()

    def note(self, text: str) -> None:
        self._display.note(text)

    def step_done(self, summary: StepSummary) -> None:
        self._display.step_done(summary)

    def measured(self, name: str, view: WeightView, point: ValidationPoint | None) -> None:
        self._display.measured(name, view, point)


def observed(display: TrainingDisplay, activity: RankActivity | None) -> TrainingDisplay:
    """The display; what it shows is what this process tells the others of its progress, too."""
    return display if activity is None else ObservedDisplay(display, activity)
