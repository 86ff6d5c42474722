"""The figures of a report: charts of curves, and images before and after training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from alphabench.runs.stored_run import StoredRun
from alphatrainers.reporting.history import CurvePoint
from alphatrainers.reporting.plots import reward_chart, smoothed, validation_charts
from alphatrainers.reporting.svg import Chart, Line, svg
from tools.results.reading import Finished, without_gaps

SIDE: Final = 112
"""Side of an image in the sheet, in pixels."""
_GAP, _CAPTION, _HEAD = 10, 30, 22
_SHOWN: Final = 12
_INK, _RIGHT, _WRONG = "#222222", "#2e8b57", "#c0392b"


def run_figure(run: Finished) -> str:
    """One training: held-out curve, rewards, tasks."""
    charts = [*validation_charts(run.points), reward_chart(run.steps), tasks_chart(run)]
    return svg(charts, columns=len(charts))


def tasks_chart(run: Finished) -> Chart:
    """Each task's held-out score, of the first curve."""
    by_task: dict[str, list[tuple[float, float | None]]] = {}
    for point in without_gaps(run.curve):
        (report,) = StoredRun.open(run.run_of(point)).reports().values()
        for task, estimate in report.groups.items():
            by_task.setdefault(task, []).append((point.step, estimate.value))
    lines = [
        Line(name=task.replace("_", " "), points=points, dots=True, colour=colour)
        for colour, (task, points) in enumerate(by_task.items())
    ]
    return Chart(title="held out, by task", x="training steps", y="score", lines=lines)


def comparison_figure(runs: Sequence[Finished]) -> str:
    """All trainings over the images that they sampled: held-out scores, and what rewarded them."""
    scores, rewards = [], []
    for colour, run in enumerate(runs):
        curve, images = run.curve, run.images
        last = without_gaps(curve)[-1]
        scores.append(
            Line(
                name=run.name,
                points=[(images.get(p.step, 0), p.value) for p in curve],
                bars=[_bar(p, images[p.step]) for p in (last,)],
                dots=True,
                colour=colour,
            )
        )
        total = [(step.values["images"], step.values.get("reward/mean")) for step in run.steps]
        rewards.append(Line(name=run.name, points=smoothed(total), colour=colour))
    x = "images sampled for training"
    held_out = f"{runs[0].curve[0].name}, held out, 95% interval at the end"
    return svg(
        [
            Chart(title=held_out, x=x, y="score", lines=scores),
            Chart(title="reward in training, mean of 5 steps", x=x, y="reward", lines=rewards),
        ],
        columns=2,
    )


def _bar(point: CurvePoint, x: float) -> tuple[float, float, float]:
    assert point.low is not None
    assert point.high is not None
    return x, point.low, point.high


class _Pair(NamedTuple):
    """One held-out prompt's first image, with the same seed at both points."""

    prompt: str
    before: Path
    after: Path
    was_right: bool | None
    is_right: bool | None


def before_and_after(run: Finished) -> Image.Image:
    """Held-out prompts at even distances, chosen by position alone, at step 0 and at the end."""
    known = without_gaps(run.curve)
    pairs = _pairs(run, known[0], known[-1])
    shown = [pairs[number * len(pairs) // _SHOWN] for number in range(min(_SHOWN, len(pairs)))]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    cell = 2 * SIDE + 2 + _GAP, SIDE + _CAPTION + _GAP
    size = columns * cell[0] + _GAP, rows * cell[1] + _GAP + _HEAD
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    head = f"left: step 0, right: step {known[-1].step}; the same seed; green: counted as right"
    pen.text((_GAP, 6), head, fill=_INK, font=ImageFont.load_default(12))
    for number, pair in enumerate(shown):
        row, column = divmod(number, columns)
        _draw_pair(sheet, pen, pair, (_GAP + column * cell[0], _GAP + _HEAD + row * cell[1]))
    return sheet


def _pairs(run: Finished, first: CurvePoint, last: CurvePoint) -> list[_Pair]:
    before, after = (StoredRun.open(run.run_of(point)) for point in (first, last))
    records, right = after.images, [_right(run) for run in (before, after)]
    return [
        _Pair(
            record.prompt,
            before.root / record.path,
            after.root / records[name].path,
            right[0].get(name),
            right[1].get(name),
        )
        for name, record in sorted(before.images.items())
        if name.endswith("/0") and name in records
    ]


def _right(run: StoredRun) -> dict[str, bool | None]:
    (evaluation,) = run.reports()
    found: dict[str, bool | None] = {}
    for verdict in run.evaluation(evaluation).verdicts:
        good = None if verdict.value is None else verdict.value == 1.0
        found[verdict.image_id] = good if found.get(verdict.image_id, True) else False
    return found


def _draw_pair(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, pair: _Pair, corner: tuple[int, int]
) -> None:
    left, top = corner
    for path, good in ((pair.before, pair.was_right), (pair.after, pair.is_right)):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        image.thumbnail((SIDE, SIDE))
        if max(image.size) < SIDE:
            factor = SIDE / max(image.size)
            size = round(image.width * factor), round(image.height * factor)
            image = image.resize(size, Image.Resampling.LANCZOS)
        sheet.paste(image, (left, top))
        colour = {True: _RIGHT, False: _WRONG, None: "#999999"}[good]
        pen.rectangle((left, top + SIDE + 1, left + SIDE - 1, top + SIDE + 3), fill=colour)
        left += SIDE + 2
    font = ImageFont.load_default(11)
    for number, line in enumerate(_wrapped(pair.prompt, pen, font)):
        pen.text((corner[0], top + SIDE + 6 + 12 * number), line, fill=_INK, font=font)


def _wrapped(
    text: str, pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> list[str]:
    """At most two lines as wide as two drawings."""
    lines = [""]
    for word in text.removeprefix("a picture of ").split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and pen.textlength(longer, font=font) > 2 * SIDE:
            lines.append(word)
        else:
            lines[-1] = longer
    if len(lines) > 2:
        lines = [lines[0], f"{lines[1]} …"]
    return lines
