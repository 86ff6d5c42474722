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


_METRIC_CHARTS: Final[tuple[tuple[str, str, Mapping[str, str]], ...]] = (
    (
        "refined images and those that they started from",
        "reward",
        {"refinement/refined/mean": "refined", "refinement/initial/mean": "initial"},
    ),
    (
        "refinements that improve their image",
        "share",
        {"refinement/improved_share": "share"},
    ),
    ("distance from the reference", "KL", {"image/kl": "image", "text/kl": "text"}),
    (
        "groups with zero variance",
        "share",
        {"image/zero_std_share": "image", "text/zero_std_share": "text"},
    ),
    (
        "clip fraction",
        "share",
        {"image/clip_fraction": "image", "text/clip_fraction": "text"},
    ),
    ("gradient norm", "norm", {"grad_norm": "before clipping"}),
    ("entropy of the text", "nats per token", {"text/entropy": "text"}),
    ("completion length", "tokens", {"text/completion_length": "text"}),
    ("diversity of images within a group", "difference", {"image/diversity": "image"}),
    (
        "time per step",
        "seconds",
        {
            "seconds/rollout": "rollout",
            "seconds/update": "update",
            "seconds/reward_wait": "reward wait",
        },
    ),
)
"""Title, label of the y axis, and names of metrics with their labels."""


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
    names = _reward_names(steps)
    lines = []
    for colour, name in enumerate(names):
        raw = [(step.step + 1, step.values.get(name)) for step in steps]
        lines.append(Line(name="", points=raw, faint=True, colour=colour))
        lines.append(Line(name=_shown(name), points=smoothed(raw), colour=colour))
    title = f"rewards in training, mean of {SMOOTHED} steps"
    return Chart(title=title, x="training steps", y="reward", lines=lines)


def metric_charts(steps: Sequence[MetricsLine]) -> list[Chart]:
    """How training goes, beside the reward: a chart for each group of metrics.

    One that was not logged, or that was 0 in every step, has none.
    """
    charts = []
    for title, y, names in _METRIC_CHARTS:
        logged = [name for name in names if any(_values(step).get(name) for step in steps)]
        lines = [
            Line(
                name=names[name],
                points=[(step.step + 1, _values(step).get(name)) for step in steps],
                colour=colour,
            )
            for colour, name in enumerate(logged)
        ]
        if lines:
            charts.append(Chart(title=title, x="training steps", y=y, lines=lines))
    return charts


def _values(step: MetricsLine) -> dict[str, float]:
    """With seconds, and with groups without variance as a share of all."""
    values = {**step.values, **{f"seconds/{name}": one for name, one in step.seconds.items()}}
    for part in ("image", "text"):
        groups, equal = (values.get(f"{part}/{name}") for name in ("groups", "zero_std_groups"))
        if groups and equal is not None:
            values[f"{part}/zero_std_share"] = equal / groups
    return values


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
    names = _reward_names(steps)
    summary = {}
    for name in names:
        values = [step.values[name] for step in steps if name in step.values]
        first, last = values[:SMOOTHED], values[-SMOOTHED:]
        summary[_shown(name)] = (
            math.fsum(first) / len(first),
            math.fsum(last) / len(last),
        )
    return summary


def _reward_names(steps: Sequence[MetricsLine]) -> list[str]:
    """In the order in which they are shown."""
    names = {name for step in steps for name in step.values if _is_reward(name)}
    return sorted(names, key=_shown)


def _is_reward(name: str) -> bool:
    """The means of the weighted sum and of each reward, not of their parts."""
    return name.startswith("reward/") and name.endswith("/mean") and name.count("/") <= 2


def _shown(name: str) -> str:
    return "total" if name == "reward/mean" else name.split("/")[1]


def _intervals(curve: Sequence[CurvePoint]) -> list[tuple[float, float, float]]:
    return [
        (point.step, point.low, point.high)
        for point in curve
        if point.low is not None and point.high is not None
    ]
