"""A training's folder read back: its steps, its validation points, and these as terminal text.

Reads what `metrics` and `validation_curve` wrote, of this version and of the one before, and the
shorter lines of `tools.results`; an incomplete last line is left out. What was not
measured is absent or None, never 0. Imports no model library and knows no benchmark.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from alphabench.core.errors import AlphaBenchError
from alphatrainers.reporting.old_metric_names import seconds_of_version_1, values_of_version_1

T = TypeVar("T")
_NO_VALUES: Final = {"step", "version", "seconds", "memory"}

_TRACK: Final = 41
"""Width of an interval in a terminal, in characters."""


class Rise(NamedTuple):
    """The paired difference from the first point of a curve, with its 95% interval."""

    value: float
    low: float
    high: float
    pairs: int | None
    """None: not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """A line of validation.jsonl."""

    step: int
    name: str
    view: str
    value: float | None
    """None: it could not be measured; the curve has a gap."""
    low: float | None = None
    high: float | None = None
    samples: int = 0
    best: bool = False
    """Best so far of its curve."""
    from_start: Rise | None = None
    below_best: Rise | None = None
    """The fall below the best point, where the guard saw reward hacking."""
    folder: str | None = None
    """The run folder, from the training's."""
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsLine:
    """A line of metrics.jsonl."""

    step: int
    """From 0: the line was written when `step + 1` steps were done."""
    values: Mapping[str, float]
    """By today's names: see `metric_names`."""
    seconds: Mapping[str, float]
    memory: Mapping[str, float] = field(default_factory=dict)


def read_steps(run: Path) -> list[MetricsLine]:
    """All training steps, in order.

    Raises:
        AlphaBenchError: for a line that is none of a step.
    """
    return list(_rows(run / "metrics.jsonl", _step))


def read_points(run: Path) -> list[CurvePoint]:
    """All validation points, in the order of measuring.

    Raises:
        AlphaBenchError: for a line that is none of a point.
    """
    return list(_rows(run / "validation.jsonl", _point))


def curves(points: Sequence[CurvePoint]) -> dict[tuple[str, str], list[CurvePoint]]:
    """The points of each curve by (validation, view), in the order of measuring."""
    by_curve: dict[tuple[str, str], list[CurvePoint]] = {}
    for point in points:
        by_curve.setdefault((point.name, point.view), []).append(point)
    return by_curve


def deciding_curve(points: Sequence[CurvePoint], view: str | None) -> list[CurvePoint]:
    """The curve of the first validation whose highest point `best` is; empty without any.

    Args:
        points: of all curves, in the order of measuring.
        view: whose weights `best` holds; None, or one that was not measured: the first one.
    """
    by_curve = curves(points)
    if not by_curve:
        return []
    first = next(iter(by_curve))
    return by_curve.get((first[0], view or first[1]), by_curve[first])


def images_at(steps: Sequence[MetricsLine]) -> dict[int, int]:
    """Trajectories sampled for training, by the number of steps done; 0 at 0."""
    sampled = {step.step + 1: int(step.values["images"]) for step in steps}
    return {0: 0, **sampled}


def curve_text(points: Sequence[CurvePoint]) -> str:
    """One curve as lines for a terminal: a point and its interval in each."""
    name, view = points[0].name, points[0].view
    ends = [end for p in points for end in (p.low, p.high) if end is not None]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    lines = [
        f"{name}, held out, weights {view!r}; 95% intervals",
        f" step  score  {f'{low:.2f}':<{_TRACK - 4}}{high:.2f}  since the start",
    ]
    return "\n".join([*lines, *(_line(point, low, high) for point in points)])


def _line(point: CurvePoint, low: float, high: float) -> str:
    if point.value is None or point.low is None or point.high is None:
        return f"{point.step:5d}      —  (could not be measured)"
    span = high - low or 1.0
    left, middle, right = (
        round((value - low) / span * (_TRACK - 1)) for value in (point.low, point.value, point.high)
    )
    track = [" "] * _TRACK
    track[left : right + 1] = "─" * (right - left + 1)
    track[middle] = "●"
    text = f"{point.step:5d}  {point.value:.3f}  {''.join(track)}"
    rise = point.from_start
    if rise is None or point.step == 0:
        return text.rstrip()
    return f"{text}  {rise.value:+.3f} [{rise.low:+.3f}, {rise.high:+.3f}]"


def _step(row: Mapping[str, Any]) -> MetricsLine:
    values = row["values"] if "values" in row else _flat_values(row)
    seconds = dict(row["seconds"])
    if row.get("version") is None:
        values, seconds = values_of_version_1(values), seconds_of_version_1(seconds)
    memory = dict(row.get("memory", {}))
    return MetricsLine(step=int(row["step"]), values=dict(values), seconds=seconds, memory=memory)


def _flat_values(row: Mapping[str, Any]) -> dict[str, float]:
    """Of a line of `tools.results`, which has its values beside its step."""
    return {name: float(value) for name, value in row.items() if name not in _NO_VALUES}


def _point(row: Mapping[str, Any]) -> CurvePoint:
    known = {name: row[name] for name in CurvePoint.__slots__ if name in row}
    for name in ("from_start", "below_best"):
        if known.get(name) is not None:
            known[name] = _rise(known[name])
    if any(not isinstance(known.get(end), int | float | None) for end in ("value", "low", "high")):
        raise TypeError("a value is a number")
    known["seconds"] = seconds_of_version_1(known.get("seconds", {}))
    return CurvePoint(**known)


def _rise(stored: Any) -> Rise:
    if isinstance(stored, list):  # of `tools.results`
        value, low, high = stored
        return Rise(value, low, high, None)
    return Rise(*(stored[name] for name in Rise._fields))


def _rows(path: Path, read: Callable[[Mapping[str, Any]], T]) -> Iterator[T]:
    if not path.is_file():
        return
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield read(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            if number == len(lines):
                return  # torn by a crash
            raise AlphaBenchError(
                f"line {number} of {str(path)!r} is damaged",
                hint="delete that line; it is only a record",
            ) from error
