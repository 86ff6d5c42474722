"""`report.html` of a training: its curves, panels, validations and settings on one page.

The page needs no network and no script; panels that are too large to be embedded are linked in the
training's folder. Every text is escaped. Knows no recipe: what it says about one is given.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from alphabench.core.terminal import shown
from alphatrainers.reporting.history import (
    CurvePoint,
    MetricsLine,
    curves,
    deciding_curve,
    read_points,
    read_steps,
)
from alphatrainers.reporting.plots import (
    SMOOTHED,
    metric_charts,
    reward_chart,
    reward_summary,
    validation_charts,
)
from alphatrainers.reporting.summary import outcome_sentence
from alphatrainers.reporting.svg import Chart, svg

REPORT_FILE: Final = "report.html"
PANELS: Final = "panels"
PANEL_PROMPTS: Final = "prompts.json"
"""In the folder of panels: the prompts of their images, row by row."""
EMBEDDED_BYTES: Final = 8_000_000
"""Of all panels together; larger ones are linked."""
_MOST_PANELS: Final = 8
_RUN_PAGE: Final = "gallery.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutTraining:
    """What the page says about a training that its logs do not."""

    name: str
    steps: int
    """That are planned."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Such as the checkpoint and the algorithm."""
    commands: Mapping[str, str] = field(default_factory=dict)
    """What one can do next, and with which command."""
    recipe: str = ""
    """As text."""
    best_view: str | None = None
    """Whose weights `best` holds; None where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    step: int
    source: str
    """An address for CSS: a data URI, or a path within the folder."""
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panels:
    """The same prompts at several steps; the images of each step stand in one file."""

    shown: list[_Panel]
    prompts: list[str]
    """Empty: the files are shown whole, since nothing says what is in them."""
    columns: int
    rows: int


def training_page(folder: Path, about: AboutTraining) -> str:
    """The page of a training's folder as it is now.

    Raises:
        AlphaBenchError: a log is damaged.
    """
    steps, points = read_steps(folder), read_points(folder)
    panels = _panels(folder)
    style = _style_sheet() + _panel_rules(panels)
    return _template().render(
        about=about,
        outcome=outcome_sentence(points, about.best_view),
        done=steps[-1].step + 1 if steps else 0,
        figures=_figures(steps, deciding_curve(points, about.best_view)),
        charts=[
            Markup(shown(svg([chart])))  # noqa: S704  `svg` escapes its texts
            for chart in _charts(steps, points)
        ],
        panels=panels,
        tables=[_table(folder, curve) for curve in curves(points).values()],
        deciding=list(curves(points).values()).index(deciding_curve(points, about.best_view))
        if points
        else None,
        style=Markup(style),  # noqa: S704  a file of this package, numbers and base64
        style_digest=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )


def _charts(steps: Sequence[MetricsLine], points: Sequence[CurvePoint]) -> list[Chart]:
    if not steps:
        return validation_charts(points)
    return [*validation_charts(points), reward_chart(steps), *metric_charts(steps)]


def _figures(steps: Sequence[MetricsLine], curve: Sequence[CurvePoint]) -> list[tuple[str, str]]:
    """What stands at the top: (number, what it is); scores are of the deciding curve."""
    found = []
    known = [point for point in curve if point.value is not None]
    if known:
        last = known[-1]
        held_out = f"held out, {last.name}, weights {last.view}, after step {last.step}"
        found.append((f"{last.value:.3f}", held_out))
        best = max(known, key=lambda point: point.value or 0.0)
        found.append((f"{best.value:.3f}", f"the best, after step {best.step}"))
    if steps:
        start, end = reward_summary(steps).get("total", (None, None))
        if start is not None and end is not None:
            which = "reward, first and last five steps"
            if len(steps) <= SMOOTHED:
                # Both means would be of the same steps.
                rewards = [step.values.get("reward/mean") for step in steps]
                known_rewards = [one for one in rewards if one is not None]
                start, end = known_rewards[0], known_rewards[-1]
                which = "reward, first and last step"
            found.append((f"{start:.3f} → {end:.3f}", which))
        found.append((f"{steps[-1].values.get('images', 0):,.0f}", "images sampled for training"))
        found.append((f"{fmean(step.seconds['step'] for step in steps):.1f} s", "a step"))
        shares = [step.values.get("reward/unscored_share", 0.0) for step in steps]
        if any(shares):
            found.append((f"{fmean(shares):.1%}", "of the trajectories unscored"))
        if (cost := steps[-1].values.get("cost_usd")) is not None:
            found.append((f"${cost:,.2f}", "for judges"))
    return found


def _table(folder: Path, curve: Sequence[CurvePoint]) -> dict[str, Any]:
    """The rows of one curve, texts only."""
    rows = []
    for point in curve:
        page = None if point.folder is None else f"{point.folder}/{_RUN_PAGE}"
        rows.append(
            {
                "step": point.step,
                "score": _interval(point.value, point.low, point.high),
                "rise": _rise(point),
                "best": point.best,
                "page": page if page is not None and (folder / page).is_file() else None,
            }
        )
    return {"name": curve[0].name, "view": curve[0].view, "rows": rows}


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return "could not be measured"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _rise(point: CurvePoint) -> str:
    rise = point.from_start
    if rise is None or point.step == 0:
        return "—"
    return f"{rise.value:+.3f} [{rise.low:+.3f}, {rise.high:+.3f}]"


def _panels(folder: Path) -> _Panels | None:
    """The panels to show, evenly apart in time; None if there are none."""
    files = sorted((folder / PANELS).glob("step-*.png"))
    if not files:
        return None
    most = min(_MOST_PANELS, len(files))
    last = len(files) - 1
    files = [files[round(number * last / max(1, most - 1))] for number in range(most)]
    contents = [file.read_bytes() for file in files]
    embedded = sum(map(len, contents)) <= EMBEDDED_BYTES
    shown_panels = [
        _Panel(
            step=int(file.stem.removeprefix("step-")),
            source=_data_uri(content) if embedded else f"{PANELS}/{file.name}",
            file=f"{PANELS}/{file.name}",
        )
        for file, content in zip(files, contents, strict=True)
    ]
    prompts = _prompts(folder / PANELS / PANEL_PROMPTS)
    columns = max(1, math.ceil(math.sqrt(len(prompts))))
    rows = max(1, math.ceil(len(prompts) / columns))
    return _Panels(shown=shown_panels, prompts=prompts, columns=columns, rows=rows)


def _prompts(path: Path) -> list[str]:
    """Empty for a folder of an older version, or a damaged file."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(prompt) for prompt in stored] if isinstance(stored, list) else []


def _data_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _panel_rules(panels: _Panels | None) -> str:
    """Which part of a panel's file each image is, as CSS."""
    if panels is None:
        return ""
    rules = [
        f".p{panel.step} {{ background-image: url({panel.source}); }}" for panel in panels.shown
    ]
    if panels.prompts:
        columns, rows = panels.columns, panels.rows
        rules.append(f".cell {{ background-size: {100 * columns}% {100 * rows}%; }}")
        for number in range(len(panels.prompts)):
            row, column = divmod(number, columns)
            x, y = (100 * at / max(1, of - 1) for at, of in ((column, columns), (row, rows)))
            rules.append(f".c{number} {{ background-position: {x:.4g}% {y:.4g}%; }}")
    return "\n" + "\n".join(rules) + "\n"


@functools.cache
def _style_sheet() -> str:
    file = resources.files("alphatrainers.reporting") / "training_page.css"
    return file.read_text(encoding="utf-8")


@functools.cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("alphatrainers", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_representable,
        keep_trailing_newline=True,
    )
    return environment.get_template("training_page.html.jinja")


def _representable(value: Any) -> Any:
    """Text without what UTF-8 or HTML cannot hold, and without marks that reverse it."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return shown(value)
