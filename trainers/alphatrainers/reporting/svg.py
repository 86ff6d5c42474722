"""Line charts as SVG text: curves with gaps, bands and interval bars, several charts in one image.

Equal data give equal text. Knows nothing of trainings and imports no plotting library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, NamedTuple

LINE_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""The palette of Okabe and Ito, distinguishable with colour blindness; repeats with dashes."""
_WIDTH, _HEIGHT = 480, 330
_LEFT, _RIGHT, _BOTTOM = 52, 14, 44
_LETTER: Final = 6.1
"""Width of a letter of the legend; an estimate."""
_MARK: Final = 22
"""Width of a legend's stroke and the gap after it."""
_ROW: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve of a chart."""

    name: str
    """In the legend; empty: not there."""
    points: Sequence[tuple[float, float | None]]
    """(x, y), x ascending; None is a gap."""
    band: Sequence[tuple[float, float, float]] = ()
    """(x, low, high), below all curves."""
    bars: Sequence[tuple[float, float, float]] = ()
    """(x, low, high), upright; those of several lines stand side by side."""
    dots: bool = False
    faint: bool = False
    colour: int = 0
    """Number of the colour, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One pair of axes."""

    title: str
    x: str
    """Counts something: its marks are whole numbers."""
    y: str
    lines: Sequence[Line]
    zero: bool = False
    """A stroke at y = 0, which is then in sight."""


class _Scale(NamedTuple):
    """From values to pixels."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)


def svg(charts: Sequence[Chart], *, columns: int = 1) -> str:
    """The charts side by side, row by row."""
    columns = min(columns, len(charts))
    rows = math.ceil(len(charts) / columns)
    width, height = columns * _WIDTH, rows * _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, chart in enumerate(charts):
        row, column = divmod(number, columns)
        parts.append(f'<g transform="translate({column * _WIDTH} {row * _HEIGHT})">')
        parts += _chart(chart)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def ticks(low: float, high: float, *, most: int = 6, whole: bool = False) -> list[float]:
    """Round numbers, equally far apart, from at or below `low` to at or above `high`.

    `whole` allows whole numbers only.
    """
    span = high - low
    raw = span / (most - 1) if span > 0 else max(abs(low), 1.0) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _chart(chart: Chart) -> list[str]:
    legend, top = _legend(chart.lines)
    ranges = [one for line in chart.lines for one in (*line.band, *line.bars)]
    xs = [x for line in chart.lines for x, _ in line.points] + [x for x, _, _ in ranges]
    ys = [y for line in chart.lines for _, y in line.points if y is not None]
    ys += [end for _, low, high in ranges for end in (low, high)]
    if chart.zero:
        ys.append(0.0)
    title = _text(_WIDTH / 2, 16, chart.title, extra='text-anchor="middle" font-size="13"')
    if not xs or not ys:
        return [title, _text(_WIDTH / 2, _HEIGHT / 2, "nothing measured", extra=_MIDDLE)]
    y_ticks, x_ticks = ticks(min(ys), max(ys)), ticks(min(xs), max(xs), whole=True)
    span = max(xs) - min(xs) or 1.0
    across = _Scale(min(xs) - 0.02 * span, max(xs) + 0.02 * span, _LEFT, _WIDTH - _RIGHT)
    up = _Scale(y_ticks[0], y_ticks[-1], _HEIGHT - _BOTTOM, top)
    parts = [title, *legend, *_grid(chart, across, up, x_ticks, y_ticks)]
    for line in chart.lines:
        parts += _band(line, across, up)
    for number, line in enumerate(chart.lines):
        shift = 4.0 * (number - (len(chart.lines) - 1) / 2)
        parts += _bars(line, across, up, shift)
        parts += _curve(line, across, up)
    return parts


_MIDDLE: Final = 'text-anchor="middle"'


def _grid(
    chart: Chart,
    across: _Scale,
    up: _Scale,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
) -> list[str]:
    floor, parts = up.start, []
    for value, label in zip(y_ticks, _labels(y_ticks), strict=True):
        y = up(value)
        stroke = "#888" if chart.zero and value == 0 else "#e4e4e4"
        parts.append(_stroke(across.start, y, across.stop, y, stroke))
        parts.append(_text(_LEFT - 6, y + 4, label, extra='text-anchor="end" fill="#444"'))
    for value, label in zip(x_ticks, _labels(x_ticks), strict=True):
        if across.low <= value <= across.high:
            x = across(value)
            parts.append(_stroke(x, floor, x, floor + 4, "#888"))
            parts.append(_text(x, floor + 16, label, extra=f'{_MIDDLE} fill="#444"'))
    parts.append(_stroke(across.start, floor, across.stop, floor, "#888"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, chart.x, extra=_MIDDLE))
    middle = (up.start + up.stop) / 2
    turned = f'{_MIDDLE} transform="rotate(-90 12 {_n(middle)})"'
    return [*parts, _text(12, middle, chart.y, extra=turned)]


def _legend(lines: Sequence[Line]) -> tuple[list[str], int]:
    """The legend below the title, and where the axes begin."""
    parts, x, y = [], float(_LEFT), 36
    for line in lines:
        if not line.name:
            continue
        width = _MARK + _LETTER * len(line.name) + 14
        if x > _LEFT and x + width > _WIDTH - _RIGHT:
            x, y = float(_LEFT), y + _ROW
        parts.append(_stroke(x, y - 4, x + _MARK - 6, y - 4, _colour(line), _style(line)))
        parts.append(_text(x + _MARK, y, line.name))
        x += width
    return parts, y + 10 if parts else 28


def _band(line: Line, across: _Scale, up: _Scale) -> list[str]:
    if not line.band:
        return []
    upper = [f"{_n(across(x))},{_n(up(high))}" for x, _, high in line.band]
    lower = [f"{_n(across(x))},{_n(up(low))}" for x, low, _ in reversed(line.band)]
    corners = " ".join([*upper, *lower])
    return [f'<polygon points="{corners}" fill="{_colour(line)}" fill-opacity="0.15"/>']


def _bars(line: Line, across: _Scale, up: _Scale, shift: float) -> list[str]:
    parts = []
    for x, low, high in line.bars:
        at, bottom, top = across(x) + shift, up(low), up(high)
        parts.append(_stroke(at, bottom, at, top, _colour(line)))
        parts += [_stroke(at - 2, end, at + 2, end, _colour(line)) for end in (bottom, top)]
    return parts


def _curve(line: Line, across: _Scale, up: _Scale) -> list[str]:
    parts: list[str] = []
    stretch: list[str] = []
    for x, y in [*line.points, (0.0, None)]:
        if y is not None:
            stretch.append(f"{_n(across(x))},{_n(up(y))}")
            continue
        if len(stretch) > 1:
            parts.append(
                f'<polyline points="{" ".join(stretch)}" fill="none" stroke="{_colour(line)}"'
                f" {_style(line)}/>"
            )
        if line.dots or len(stretch) == 1:
            centres = (corner.split(",") for corner in stretch)
            fill = f'r="2.6" fill="{_colour(line)}"'
            parts += [f'<circle cx="{cx}" cy="{cy}" {fill}/>' for cx, cy in centres]
        stretch = []
    return parts


def _colour(line: Line) -> str:
    return LINE_COLOURS[line.colour % len(LINE_COLOURS)]


def _style(line: Line) -> str:
    width = 'stroke-width="1" stroke-opacity="0.35"' if line.faint else 'stroke-width="2"'
    return f'{width} stroke-dasharray="5 3"' if line.colour >= len(LINE_COLOURS) else width


def _labels(values: Sequence[float]) -> list[str]:
    step = values[1] - values[0]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    # More decimals do not fit beside the axis.
    style = f",.{decimals}f" if decimals <= 5 else ".3g"
    return [f"{value + 0.0:{style}}" for value in values]


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str, style: str = "") -> str:
    ends = f'x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"'
    return f'<line {ends} stroke="{colour}" {style}/>'


def _text(x: float, y: float, text: str, *, extra: str = "") -> str:
    return f'<text x="{_n(x)}" y="{_n(y)}" {extra}>{escape(text)}</text>'


def _n(value: float) -> str:
    return f"{value:.1f}"
