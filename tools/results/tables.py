"""The tables of a report, as markdown. A dash stands where nothing was measured, never a 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from alphabench.reports.comparison import RunComparison
from alphabench.reports.markdown import NOTHING, Align, inline, markdown_table, number
from alphabench.runs.stored_run import StoredRun
from alphabench.types import Estimate
from alphatrainers.reporting.history import CurvePoint
from alphatrainers.reporting.plots import SMOOTHED, reward_summary
from tools.results.reading import (
    Comparer,
    Finished,
    Totals,
    at_images,
    best_of,
    families,
    last_together,
    totals,
    without_gaps,
)

_DIGITS = 8
"""Of a digest, enough to distinguish a few."""


def recipes_table(runs: Sequence[Finished]) -> str:
    """What was trained, on what, by what."""
    rows = [
        [
            inline(run.name),
            run.recipe["task"]["kind"],
            run.recipe["training"]["image"]["kind"],
            inline(", ".join(_judged_by(run))),
            str(run.recipe["training"]["seed"]),
            _rate(run.recipe["training"]["optimiser"]),
            str(len(run.steps)),
            f"{run.images[len(run.steps)]:,}",
            _digest(run.identity["policy"].get("weights")),
        ]
        for run in runs
    ]
    head = ["run", "task", "algorithm", "rewards", "seed", "lr, 1e-4", "steps", "images", "base"]
    return markdown_table(head, rows, _aligned(head, left=4))


def score_table(runs: Sequence[Finished], compare: Comparer) -> str:
    """The held-out score of each curve at the start, at its best point and at the end."""
    rows = []
    for run in runs:
        for (name, view), curve in run.curves.items():
            known = without_gaps(curve)
            if not known:
                continue
            first, best, last = known[0], best_of(curve), known[-1]
            rows.append(
                [
                    inline(run.name),
                    inline(name),
                    view,
                    _point(first),
                    _point(last),
                    _rise(run, first, last, compare),
                    f"{_value(best)} at {best.step}",
                    _rise(run, first, best, compare),
                ]
            )
    head = ["run", "held out", "weights", "step 0", "end", "end − step 0", "best", "best − step 0"]
    return markdown_table(head, rows, _aligned(head, left=3))


def seeds_table(runs: Sequence[Finished], compare: Comparer) -> str | None:
    """Trainings that differ in their seed alone, taken together; None where there are none."""
    rows = []
    for family in families(runs):
        step = last_together(family)
        ends = [_at(run, step) for run in family]
        starts = [without_gaps(run.curve)[0] for run in family]
        points = zip(family, starts, ends, strict=True)
        rise = compare.together([(r.run_of(start), r.run_of(end)) for r, start, end in points])
        values = [end.value for end in ends if end.value is not None]
        seeds = sorted(run.recipe["training"]["seed"] for run in family)
        rows.append(
            [
                inline(family[0].name),
                ", ".join(map(str, seeds)),
                str(step),
                number(fmean(start.value for start in starts if start.value is not None)),
                number(fmean(values)),
                f"{number(min(values))} to {number(max(values))}",
                _signed(rise),
            ]
        )
    head = ["run", "seeds", "step", "step 0", "mean score", "lowest to highest",
            "score − step 0"]  # fmt: skip
    return markdown_table(head, rows, _aligned(head, left=2)) if rows else None


def _at(run: Finished, step: int) -> CurvePoint:
    return next(point for point in without_gaps(run.curve) if point.step == step)


def work_table(runs: Sequence[Finished]) -> str:
    """What the rewards did, and what it took."""
    rows = []
    for run in runs:
        spent = totals(run)
        rewards = [
            f"{inline(name)} {start:.3f} → {end:.3f}"
            for name, (start, end) in reward_summary(run.steps).items()
        ]
        rows.append(
            [
                inline(run.name),
                ", ".join(rewards),
                _distance(run, "image"),
                _distance(run, "text"),
                *_spent(spent),
            ]
        )
    head = ["run", "rewards", "KL, image", "KL, text", "hours", "CPU hours", "judge calls",
            "unscored"]  # fmt: skip
    return markdown_table(head, rows, _aligned(head, left=2))


def equal_images_table(runs: Sequence[Finished], compare: Comparer) -> tuple[int, str]:
    """All runs at the number of images that all have reached, and that number.

    The first run is what the others are compared with, sample by sample, if they began alike.
    """
    most = min(max(run.images.get(p.step, 0) for p in without_gaps(run.curve)) for run in runs)
    chosen = [(run, at_images(run, most)) for run in runs]
    first_run, first_point = chosen[0]
    rows = []
    for run, point in chosen:
        start = without_gaps(run.curve)[0]
        against = NOTHING
        if run is not first_run and _began_alike(run, first_run):
            against = _difference(compare(first_run.run_of(first_point), run.run_of(point)))
        rows.append(
            [
                inline(run.name),
                f"{run.images[point.step]:,}",
                str(point.step),
                _point(start),
                _point(point),
                _rise(run, start, point, compare),
                against,
            ]
        )
    head = ["run", "images", "step", "step 0", "score", "score − step 0",
            f"score − {inline(first_run.name)}"]  # fmt: skip
    return most, markdown_table(head, rows, _aligned(head, left=1))


def tasks_table(run: Finished, compare: Comparer) -> str:
    """Each task's score at the start and at the end, of the first curve."""
    known = without_gaps(run.curve)
    before, after = (_groups(run, point) for point in (known[0], known[-1]))
    comparison = compare(run.run_of(known[0]), run.run_of(known[-1]))
    rows = [
        [
            inline(group),
            _estimate(before.get(group)),
            _estimate(after.get(group)),
            _signed(comparison.groups.get(group)),
        ]
        for group in before
    ]
    head = ["task", "step 0", f"step {known[-1].step}", "difference"]
    return markdown_table(head, rows, _aligned(head, left=1))


def _began_alike(run: Finished, other: Finished) -> bool:
    """Whether both were measured with the same score at step 0."""
    one, two = (without_gaps(each.curve)[0] for each in (run, other))
    return (one.value, one.low, one.high) == (two.value, two.low, two.high)


def _groups(run: Finished, point: CurvePoint) -> Mapping[str, Estimate]:
    (report,) = StoredRun.open(run.run_of(point)).reports().values()
    return report.groups


def _rate(optimiser: Mapping[str, Any]) -> str:
    rate = number(optimiser["lr"] * 1e4)
    return f"{rate} → 0" if optimiser.get("schedule") == "linear" else rate


def _judged_by(run: Finished) -> list[str]:
    judges = []
    for name, one in run.recipe["rewards"].items():
        judge = _digest(run.identity["rewards"][name].get("judge.model"))
        weight = f"{one['weight']:g} × " if one["weight"] != 1 else ""
        judges.append(f"{weight}{name}" + (f" by {one['judge']} {judge}" if one["judge"] else ""))
    return judges


def _distance(run: Finished, part: str) -> str:
    name = f"{part}/kl"
    values = [step.values[name] for step in run.steps[-SMOOTHED:] if name in step.values]
    return f"{sum(values) / len(values):.2g}" if values else NOTHING


def _spent(spent: Totals) -> list[str]:
    calls = spent.judge_calls
    return [
        f"{spent.hours:.2f}",
        NOTHING if spent.processor_hours is None else f"{spent.processor_hours:.2f}",
        NOTHING if calls is None else f"{calls:,.0f}",
        f"{spent.unscored_share:.1%}",
    ]


def _rise(run: Finished, first: CurvePoint, then: CurvePoint, compare: Comparer) -> str:
    if then.step == first.step:
        return NOTHING
    return _difference(compare(run.run_of(first), run.run_of(then)))


def _difference(comparison: RunComparison) -> str:
    return _signed(comparison.headline)


def _signed(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return NOTHING
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return NOTHING
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _point(point: CurvePoint) -> str:
    return f"{_value(point)} [{number(point.low)}, {number(point.high)}]"


def _value(point: CurvePoint) -> str:
    return number(point.value)


def _digest(text: str | None) -> str:
    return NOTHING if text is None else text.removeprefix("sha256:")[:_DIGITS]


def _aligned(head: Sequence[str], *, left: int) -> list[Align]:
    return ["left" if column < left else "right" for column in range(len(head))]
