"""Writes a report's folder: README.md, and for each training its curves, images and numbers.

OUT/README.md
OUT/comparison.svg                  all trainings over the images that they sampled
OUT/NAME/curves.svg  drawings.png   of one training
OUT/NAME/recipe.yaml                as it was read, defaults filled in
OUT/NAME/metrics.jsonl  validation.jsonl   what the charts show, rounded
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.reports.markdown import inline
from alphatrainers.reporting.history import CurvePoint, MetricsLine
from alphatrainers.reporting.metric_names import METRICS_VERSION
from tools.results import tables
from tools.results.image_panels import before_and_after, comparison_figure, run_figure
from tools.results.reading import Comparer, Finished

_LEFT_OUT: Final = ("forward_passes/", "images")
"""Beginnings of the names of numbers that are not copied: what a step computed, which its recipe
decides, and the number that stands at the head of each line."""
INTRODUCTION: Final = (
    "Written by `python -m tools.results` from the folders of finished trainings. Brackets are 95% "
    "intervals. Differences are paired by sample, as in `alphabench compare`; a positive "
    "difference is an improvement. A dash means not measured. Scores are of the weights `{view}` "
    "where a table names no others."
)
NOTES: Final = {
    "images": "`images`: images generated for training, without those of validations. `base` and "
    "the letters after a judge are the first digits of the SHA-256 of their weights.",
    "best": "`best` is the highest point of the curve, so its difference is optimistic. The "
    "difference at the end is not.",
    "seeds": "Trainings that differ only in their seed, at the last step at which all of them were "
    "validated. The interval is a bootstrap over prompts for the mean of these seeds. The lowest "
    "and the highest score show how much seeds differ.",
    "equal": "Trainings are compared with each other only if they started from the same score.",
    "work": "Rewards: mean of the first five steps → mean of the last five; `total` is their "
    "weighted sum. KL: distance to the base model, mean of the last five steps; measured where "
    "the recipe has a weight for it. Hours: wall-clock time of the training steps, on a machine "
    "shared with other work. CPU hours: processor time of the training, validations included. "
    "Unscored: fraction of trajectories without a reward.",
}
"""What stands below the tables."""
_COLOURS: Final = 192
"""Of the sheet of images, which is stored with a palette."""


def write_report(out: Path, runs: Sequence[Finished], compare: Comparer, *, title: str) -> int:
    """Writes everything; returns the bytes written.

    Raises:
        AlphaBenchError: two trainings have one name, or two points were not measured alike.
    """
    _refuse_same_names(runs)
    for run in runs:
        _write_run(out / run.name, run)
    (out / "comparison.svg").write_text(comparison_figure(runs), encoding="utf-8")
    (out / "README.md").write_text(_page(runs, compare, title), encoding="utf-8")
    names = {run.name for run in runs}
    files = [*out.glob("*"), *(path for name in names for path in (out / name).iterdir())]
    return sum(path.stat().st_size for path in files if path.is_file())


def _refuse_same_names(runs: Sequence[Finished]) -> None:
    name, number = Counter(run.name for run in runs).most_common(1)[0]
    if number > 1:
        raise AlphaBenchError(
            f"{number} trainings are named {name!r}", hint="name their folders differently"
        )


def _write_run(folder: Path, run: Finished) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    recipe = (run.folder / "recipe.yaml").read_text(encoding="utf-8")
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    (folder / "curves.svg").write_text(run_figure(run), encoding="utf-8")
    before_and_after(run).quantize(_COLOURS).save(folder / "drawings.png", optimize=True)
    _write_lines(folder / "metrics.jsonl", (_step_line(step) for step in run.steps))
    _write_lines(folder / "validation.jsonl", (_point_line(point) for point in run.points))


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _step_line(step: MetricsLine) -> dict[str, Any]:
    values = {
        name: float(f"{value:.4g}")
        for name, value in step.values.items()
        if not name.startswith(_LEFT_OUT)
    }
    seconds = {name: round(value, 1) for name, value in step.seconds.items()}
    head = {"step": step.step, "version": METRICS_VERSION, "images": int(step.values["images"])}
    return {**head, **values, "seconds": seconds}


def _point_line(point: CurvePoint) -> dict[str, Any]:
    rise = point.from_start
    return {
        "step": point.step,
        "name": point.name,
        "view": point.view,
        "value": _rounded(point.value),
        "low": _rounded(point.low),
        "high": _rounded(point.high),
        "samples": point.samples,
        "from_start": None if rise is None else [_rounded(v) for v in rise[:3]],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _page(runs: Sequence[Finished], compare: Comparer, title: str) -> str:
    parts = [
        f"# {title}",
        INTRODUCTION.format(view=runs[0].view),
        "## What was trained",
        tables.recipes_table(runs),
        NOTES["images"],
        "## Held-out score",
        tables.score_table(runs, compare),
        NOTES["best"],
        "![all trainings](comparison.svg)",
    ]
    if (seeds := tables.seeds_table(runs, compare)) is not None:
        parts += ["## Seeds together", seeds, NOTES["seeds"]]
    if len(runs) > 1:
        most, table = tables.equal_images_table(runs, compare)
        parts += [f"## At equal numbers of images ({most:,} at most)", table, NOTES["equal"]]
    parts += ["## Rewards, distance and work", tables.work_table(runs), NOTES["work"]]
    for run in runs:
        parts += _section(run, compare)
    return "\n\n".join(parts) + "\n"


def _section(run: Finished, compare: Comparer) -> list[str]:
    name = run.name
    return [
        f"## {inline(name)}",
        f"[recipe]({name}/recipe.yaml), [metrics of each step]({name}/metrics.jsonl), "
        f"[validations]({name}/validation.jsonl)"
        + (f". `best` holds the {run.best}." if run.best else ""),
        tables.tasks_table(run, compare),
        f"![curves of {inline(name)}]({name}/curves.svg)",
        f"![held-out prompts before and after {inline(name)}]({name}/drawings.png)",
    ]
