"""The curves of one training as charts: its rewards, and its held-out validation.

Reads nothing itself and imports no model library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from alphatrainers.reporting.history import CurvePoint, MetricsLine, curves, read_points, read_steps
from alphatrainers.reporting.svg import Chart, Line, svg

SMOOTHED: Final = 5
"""Steps in the running mean of a reward."""


def training_figure(run: Path) -> str:
    """Held-out validation and rewards of a training's folder, as SVG."""
    return svg([*validation_charts(read_points(run)), reward_chart(read_steps(run))], columns=2)


def validation_charts(points: Sequence[CurvePoint]) -> list[Chart]:
    """A chart for each validation: a line for each view, the first one's interval as a band."""
    by_name: dict[str, list[Line]] = {}
    for (name, view), curve in curves(points).items():
        lines = by_name.setdefault(name, [])
        lines.append(
            Line(
                name=f"weights {view!r}",
                points=[(point.step, point.value) for point in curve],
                band=[] if lines else _intervals(curve),
                dots=True,
                colour=len(lines),
            )
        )
    return [
        Chart(title=f"{name}, held out, 95% interval", x="training steps", y="score", lines=lines)
        for name, lines in by_name.items()
    ]


def reward_chart(steps: Sequence[MetricsLine]) -> Chart:
    """Each reward's mean over a step's trajectories, faint, and its running mean."""
    names = sorted({name for step in steps for name in step.values if _is_reward(name)})
    lines = []
    for colour, name in enumerate(names):
        raw = [(step.step + 1, step.values.get(name)) for step in steps]
        lines.append(Line(name="", points=raw, faint=True, colour=colour))
        shown = name.removeprefix("reward/")
        lines.append(Line(name=shown, points=smoothed(raw), colour=colour))
    title = f"rewards in training, mean of {SMOOTHED} steps"
    return Chart(title=title, x="training steps", y="reward", lines=lines)


def smoothed(
    points: Sequence[tuple[float, float | None]], *, over: int = SMOOTHED
) -> list[tuple[float, float | None]]:
    """The mean of the last `over` known values at each x; a gap stays one."""
    smooth: list[tuple[float, float | None]] = []
    for number, (x, y) in enumerate(points):
        recent = [v for _, v in points[max(0, number - over + 1) : number + 1] if v is not None]
        smooth.append((x, None if y is None else math.fsum(recent) / len(recent)))
    return smooth


def reward_summary(steps: Sequence[MetricsLine]) -> Mapping[str, tuple[float, float]]:
    """Mean of each reward over the first and over the last few steps that have it."""
    names = sorted({name for step in steps for name in step.values if _is_reward(name)})
    summary = {}
    for name in names:
        values = [step.values[name] for step in steps if name in step.values]
        first, last = values[:SMOOTHED], values[-SMOOTHED:]
        summary[name.removeprefix("reward/")] = (
            math.fsum(first) / len(first),
            math.fsum(last) / len(last),
        )
    return summary


def _is_reward(name: str) -> bool:
    """Not their spreads, the finer parts of them, or the share of the unscored."""
    if not name.startswith("reward/") or name == "reward/unscored_share":
        return False
    return not name.endswith("_spread") and name.count("/") == 1


def _intervals(curve: Sequence[CurvePoint]) -> list[tuple[float, float, float]]:
    return [
        (point.step, point.low, point.high)
        for point in curve
        if point.low is not None and point.high is not None
    ]
