"""Tables of a campaign's page beside scores and metrics: what images look like, what guards did.

A dash stands where nothing was measured. Runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alphabench.reports.comparison import is_distinguishable, signed
from alphabench.reports.markdown import NOTHING, interval, markdown_table, number
from alphabench.statistics import DEFAULT, Cluster, mean_of_groups
from alphabench.types import Estimate
from tools.results.campaign.evidence import KeptEvaluation, KeptTraining
from tools.results.campaign.intervals import difference_over_seeds, mean_over_seeds
from tools.results.campaign.table import CampaignTable, ImageMeasure

_Kept = Mapping[str, Mapping[int | None, KeptEvaluation]]
"""Condition -> seed -> one evaluation."""
_MEANT: Mapping[ImageMeasure, str] = {
    "brightness": "Brightness of the scored images, 0 to 1, mean over tasks:",
}


def measure_tables(table: CampaignTable, by_condition: _Kept) -> list[str]:
    """For each measure that the table shows: means, and the table's differences."""
    parts = []
    for name in table.shows:
        kept = {
            condition: {seed: one.measured(name) for seed, one in runs.items()}
            for condition, runs in by_condition.items()
        }
        known = {c: runs for c, runs in kept.items() if runs and all(runs.values())}
        if not known:
            continue
        rows = []
        for condition in (one for one in table.conditions if one in known):
            mean = mean_over_seeds(list(known[condition].values()), mean_of_groups, DEFAULT)
            rows.append([condition, f"{number(mean.value)} {interval(mean)}"])
        parts += [_MEANT[name], markdown_table(["condition", name], rows, ["left", "right"])]
        rows = [row for pair in table.comparisons if (row := _difference(known, *pair))]
        if rows:
            head = ["difference", name, "interval excludes 0"]
            parts.append(markdown_table(head, rows, ["left", "right", "right"]))
    return parts


def _difference(
    known: Mapping[str, Mapping[int | None, list[Cluster]]], ours: str, theirs: str
) -> list[str] | None:
    if ours not in known or theirs not in known:
        return None
    one, other = known[ours], known[theirs]
    if None in other:
        pairs = [(clusters, other[None]) for clusters in one.values()]
    else:
        pairs = [(one[seed], other[seed]) for seed in one if seed in other]
    if not pairs:
        return None
    found = difference_over_seeds(
        [a for a, _ in pairs], [b for _, b in pairs], mean_of_groups, DEFAULT
    )
    what = f"{signed(found.value)} {_signed_interval(found)}"
    return [f"{ours} − {theirs}", what, "yes" if is_distinguishable(found) else "no"]


def _signed_interval(one: Estimate) -> str:
    return NOTHING if one.low is None else f"[{signed(one.low)}, {signed(one.high)}]"


def guard_tables(trainings: Mapping[str, Sequence[KeptTraining]]) -> list[str]:
    """What the guard against reward hacking saw in each training that has validations."""
    rows = []
    for condition, kept in trainings.items():
        for one in kept:
            guard = one.about.get("guard")
            if guard is not None:
                seed = str(one.about.get("seed", NOTHING))
                rows.append([condition, seed, *_guard_cells(guard, len(one.steps))])
    if not rows:
        return []
    head = ["condition", "seed", "validations", "highest", "last", "first alarm", "ended"]
    return [
        "The guard against reward hacking: an alarm is a validation score that fell below the best "
        "one, with its paired 95% interval, while the moving mean of the training reward rose.",
        markdown_table(head, rows, ["left", "right", "right", "right", "right", "left", "left"]),
    ]


def _guard_cells(guard: Mapping[str, Any], steps: int) -> list[str]:
    points = [(step, value) for step, _, _, value in guard["points"] if value is not None]
    highest = max(points, key=lambda point: point[1], default=None)
    last = points[-1] if points else None
    alarm = NOTHING
    if guard["alarms"]:
        first = guard["alarms"][0]
        value, low, high = first["fall"]
        alarm = f"step {first['step']}: {signed(value)} [{signed(low)}, {signed(high)}]"
    stopped = guard["stopped_at"]
    ended = f"after {steps} steps" if stopped is None else f"stopped after step {stopped}"
    return [str(len(guard["points"])), _point(highest), _point(last), alarm, ended]


def _point(point: tuple[int, float] | None) -> str:
    return NOTHING if point is None else f"{number(point[1])} (step {point[0]})"
