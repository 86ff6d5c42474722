"""Validation while training: measures, compares in pairs, finds the best, detects reward hacking.

A point is measured by something other than the reward, with fixed seeds, so that two points of a
curve are compared sample by sample. Knows no benchmark.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from alphabench.core.errors import TrainingStoppedError
from alphatrainers.checkpoint import TrainingFolder, append_line
from alphatrainers.distributed import Processes
from alphatrainers.guards import Curve, Difference, paired
from alphatrainers.protocols import (
    JsonValue,
    SharedValidation,
    Validation,
    ValidationPoint,
    WeightView,
)
from alphatrainers.settings import GuardSettings

_NONE_LEFT: Final = -1
"""In place of the number of the validation that is measured next."""


class MeasuredPoint(NamedTuple):
    """One point, as it was judged."""

    name: str
    view: WeightView
    point: ValidationPoint | None
    best: bool
    """Best so far of its curve."""
    rise: Difference | None = None
    """Paired difference from the first point; None at the first one, and for a gap."""


class _Where(NamedTuple):
    """Which point, and what it took."""

    name: str
    step: int
    view: WeightView
    seconds: dict[str, float]

    @property
    def curve(self) -> str:
        """Each view of each validation has a curve of its own."""
        return f"{self.name} ({self.view})"

    @property
    def line(self) -> dict[str, Any]:
        """How its line begins."""
        return {"step": self.step, "name": self.name, "view": self.view, "seconds": self.seconds}


class ValidationCurves:
    """All validation curves of one training."""

    def __init__(
        self,
        validations: Sequence[Validation],
        settings: GuardSettings,
        *,
        folder: TrainingFolder,
        report: Callable[[str], None],
        processes: Processes | None = None,
    ) -> None:
        self._validations, self._settings = list(validations), settings
        self._folder, self._report = folder, report
        self._processes = processes or Processes()
        self._curves: dict[str, Curve] = {}

    @property
    def first_name(self) -> str | None:
        """The validation whose best point decides which weights are the best; None without any."""
        return self._validations[0].name if self._validations else None

    def measure(self, *, step: int, view: WeightView, reward: float) -> list[MeasuredPoint]:
        """Measures every validation once, under the weights in force, in the first process.

        Args:
            step: training steps done.
            view: whose weights are in force.
            reward: mean training reward of late; NaN if there was none yet.

        Raises:
            TrainingStoppedError: if the held-out score fell while the reward rose, and the
                settings say stop.
        """
        points = []
        try:
            for number, validation in enumerate(self._validations):
                if isinstance(validation, SharedValidation):
                    self._processes.of_first(number)
                began, worked = time.monotonic(), time.process_time()
                point = validation.measure(step=step, view=view)
                seconds = {
                    "point": time.monotonic() - began,
                    "cpu": time.process_time() - worked,
                }
                where = _Where(validation.name, step, view, seconds)
                points.append(self._judge(where, point, reward))
        finally:
            self._processes.of_first(_NONE_LEFT)
        return points

    def assist(self) -> None:
        """Helps the first process while it measures, in each other process."""
        while (number := self._processes.of_first(_NONE_LEFT)) != _NONE_LEFT:
            validation = self._validations[number]
            assert isinstance(validation, SharedValidation)
            validation.assist()

    def backfill_reward(self, reward: float) -> None:
        """Backfills the reward of curves whose best point precedes the first reward."""
        for curve in self._curves.values():
            curve.backfill_reward(reward)

    def state(self) -> dict[str, JsonValue]:
        """What decisions need after a restart."""
        return {name: _curve_to_json(curve) for name, curve in self._curves.items()}

    def restore(self, state: Any) -> None:
        """Takes back what `state` gave."""
        self._curves = {name: _curve_from_json(curve) for name, curve in state.items()}

    def _judge(self, where: _Where, point: ValidationPoint | None, reward: float) -> MeasuredPoint:
        if point is None:
            self._report(f"step {where.step}: {where.curve} could not be measured")
            append_line(self._folder.validation, {**where.line, "value": None})
            return MeasuredPoint(where.name, where.view, None, best=False)
        curve = self._curves.setdefault(where.curve, Curve())
        fall = curve.hacked(point, reward=reward)
        best = curve.add(where.step, point, reward=reward)
        assert curve.first is not None
        rise = paired(point, curve.first)
        self._write(where, point, rise, fall, best=best)
        self._report(_sentence(where, point, rise))
        if fall is not None:
            self._alarm(where, curve, fall)
        return MeasuredPoint(where.name, where.view, point, best, rise if where.step else None)

    def _write(
        self,
        where: _Where,
        point: ValidationPoint,
        rise: Difference | None,
        fall: Difference | None,
        *,
        best: bool,
    ) -> None:
        line: dict[str, Any] = {**where.line, "value": point.value}
        line |= {"low": point.low, "high": point.high, "samples": len(point.items), "best": best}
        line["from_start"] = rise._asdict() if rise else None
        line["below_best"] = fall._asdict() if fall else None
        line["folder"] = None if point.folder is None else self._relative(point.folder)
        append_line(self._folder.validation, line)

    def _relative(self, folder: Path) -> str:
        inside = folder.is_relative_to(self._folder.path)
        return str(folder.relative_to(self._folder.path) if inside else folder)

    def _alarm(self, where: _Where, curve: Curve, fall: Difference) -> None:
        message = (
            f"step {where.step}: {where.curve} fell {-fall.value:.3f} below step {curve.best_step}"
            " while the training reward rose; this looks like reward hacking"
        )
        if self._settings.stop_when_hacked:
            raise TrainingStoppedError(message, hint="use the folder `best`, and repair the reward")
        self._report(message)


def _sentence(where: _Where, point: ValidationPoint, rise: Difference | None) -> str:
    text = f"step {where.step}: {where.curve} {point.value:.3f} [{point.low:.3f}, {point.high:.3f}]"
    if rise is None or where.step == 0:
        return text
    return f"{text}; since the start {rise.value:+.3f} [{rise.low:+.3f}, {rise.high:+.3f}]"


def _curve_to_json(curve: Curve) -> JsonValue:
    reward = curve.best_reward
    return {
        "best": _point_to_json(curve.best),
        "best_step": curve.best_step,
        "best_reward": reward if math.isfinite(reward) else None,
        "first": _point_to_json(curve.first),
    }


def _curve_from_json(stored: Any) -> Curve:
    reward = stored["best_reward"]
    return Curve(
        best=_point_from_json(stored["best"]),
        best_step=stored["best_step"],
        best_reward=math.nan if reward is None else reward,
        first=_point_from_json(stored["first"]),
    )


def _point_to_json(point: ValidationPoint | None) -> JsonValue:
    if point is None:
        return None
    folder = None if point.folder is None else str(point.folder)
    values: dict[str, JsonValue] = {"value": point.value, "low": point.low, "high": point.high}
    return {**values, "items": dict(point.items), "folder": folder}


def _point_from_json(stored: Any) -> ValidationPoint | None:
    if stored is None:
        return None
    folder = stored["folder"]
    return ValidationPoint(
        value=stored["value"],
        low=stored["low"],
        high=stored["high"],
        items=stored["items"],
        folder=None if folder is None else Path(folder),
    )
