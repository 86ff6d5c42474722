"""A finished training, read from its folder, and paired comparisons of its validation points.

Comparisons are the harness's (`alphabench.reports.comparison`): the points are ordinary run
folders.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from alphabench import open_benchmark
from alphabench.core.errors import AlphaBenchError
from alphabench.reports.comparison import (
    ComparisonBasis,
    RunComparison,
    basis_of,
    clusters_of,
    compare_runs,
    shared_evaluation,
)
from alphabench.runs.stored_run import StoredRun
from alphabench.statistics import Cluster, paired_difference
from alphabench.types import Estimate
from alphabench.upstream import UpstreamData
from alphatrainers.checkpoint import TrainingFolder
from alphatrainers.reporting.history import (
    CurvePoint,
    MetricsLine,
    curves,
    images_at,
    read_points,
    read_steps,
)

QUESTIONS = "questions"
"""The part of a reward that counts its judge calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A training's folder, read."""

    name: str
    folder: Path
    recipe: Mapping[str, Any]
    identity: Mapping[str, Any]
    steps: Sequence[MetricsLine]
    points: Sequence[CurvePoint]
    view: str
    """The weights that tables and figures compare."""
    best: str | None = None
    """What `best` holds, such as `weights ema of step 20`; None where it was not recorded."""

    @property
    def curves(self) -> dict[tuple[str, str], list[CurvePoint]]:
        """By (validation, view)."""
        return curves(self.points)

    @property
    def curve(self) -> list[CurvePoint]:
        """Of the first validation, by `view`."""
        return next(points for (_, view), points in self.curves.items() if view == self.view)

    @property
    def images(self) -> dict[int, int]:
        """Trajectories sampled for training, by steps done."""
        return images_at(self.steps)

    def run_of(self, point: CurvePoint) -> Path:
        """The run folder of a point."""
        assert point.folder is not None, "validations by benchmarks leave run folders"
        return self.folder / point.folder


class Totals(NamedTuple):
    """What a training cost; None where its log does not record it."""

    hours: float
    """Of the steps, by the clock; on a busy machine more than its work."""
    processor_hours: float | None
    """Of all threads of the process, validations included."""
    judge_calls: float | None
    unscored_share: float
    """Of all trajectories."""


def read_run(folder: Path, *, view: str | None = None) -> Finished:
    """Reads a training's folder; None takes the view whose best weights the training kept.

    Raises:
        AlphaBenchError: it holds no training, or one without a step or a validation of that view.
    """
    if not (folder / "recipe.yaml").is_file():
        raise AlphaBenchError(
            f"{str(folder)!r} holds no training", hint="name folders that `alphabench train` wrote"
        )
    steps, points = read_steps(folder), read_points(folder)
    if not steps or not without_gaps(points):
        raise AlphaBenchError(
            f"{str(folder)!r} has no training step or no validation", hint="leave it out"
        )
    view = view or TrainingFolder(folder).best_view() or points[0].view
    views = {point.view for point in without_gaps(points)}
    if view not in views:
        raise AlphaBenchError(
            f"{str(folder)!r} was not validated with the weights {view!r}",
            hint=f"choose --view {' or '.join(sorted(views))}, or leave it out",
        )
    return Finished(
        name=folder.resolve().name,
        folder=folder,
        recipe=yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8")),
        identity=json.loads((folder / "identity.json").read_text(encoding="utf-8")),
        steps=steps,
        points=points,
        view=view,
        best=_best_of(TrainingFolder(folder)),
    )


def _best_of(training: TrainingFolder) -> str | None:
    view = training.best_view()
    return None if view is None else f"weights {view} of step {training.best_step()}"


def without_gaps(curve: Sequence[CurvePoint]) -> list[CurvePoint]:
    """Without its gaps."""
    return [point for point in curve if point.value is not None]


def best_of(curve: Sequence[CurvePoint]) -> CurvePoint:
    """The highest point, the first of several."""
    return max(without_gaps(curve), key=lambda point: point.value or 0.0)


def at_images(run: Finished, most: int) -> CurvePoint:
    """The last measured point of the first curve with at most so many images."""
    return [p for p in without_gaps(run.curve) if run.images.get(p.step, math.inf) <= most][-1]


def families(runs: Sequence[Finished]) -> list[list[Finished]]:
    """Trainings whose recipes differ in their seed alone, wherever there are two at least."""
    found: dict[str, list[Finished]] = {}
    for run in runs:
        training = {key: value for key, value in run.recipe["training"].items() if key != "seed"}
        same = json.dumps({**run.recipe, "training": training}, sort_keys=True)
        found.setdefault(same, []).append(run)
    return [family for family in found.values() if len(family) > 1]


def last_together(family: Sequence[Finished]) -> int:
    """The last step at which all were measured."""
    return max(set.intersection(*({p.step for p in without_gaps(run.curve)} for run in family)))


def totals(run: Finished) -> Totals:
    """Sums over all steps and validations."""
    seconds = [step.seconds for step in run.steps]
    work = [one.get("cpu") for one in (*seconds, *(p.seconds for p in run.points))]
    known = [one for one in work if one is not None]
    calls = [_calls(run, step) for step in run.steps]
    counted = [one for one in calls if one is not None]
    shares = [step.values.get("reward/unscored_share", 0.0) for step in run.steps]
    return Totals(
        hours=math.fsum(one["step"] for one in seconds) / 3600,
        processor_hours=math.fsum(known) / 3600 if len(known) == len(work) else None,
        judge_calls=math.fsum(counted) if len(counted) == len(calls) else None,
        unscored_share=math.fsum(shares) / len(shares),
    )


def _calls(run: Finished, step: MetricsLine) -> float | None:
    """Questions about all images of a step, from the mean over those that are trained."""
    names = [n for n in step.values if n.startswith("reward/") and n.endswith(f"/{QUESTIONS}/mean")]
    if not names:
        return None
    images = run.images[step.step + 1] - run.images.get(step.step, 0)
    return images * math.fsum(step.values[name] for name in names)


class Comparer:
    """Paired comparisons of run folders; opens each benchmark once."""

    def __init__(self, data: UpstreamData) -> None:
        self._data = data
        self._bases: dict[tuple[str, str], ComparisonBasis] = {}

    def __call__(self, before: Path, after: Path) -> RunComparison:
        """The difference of two points, `after` minus `before`.

        Raises:
            AlphaBenchError: they were not measured alike.
        """
        one, other = StoredRun.open(before), StoredRun.open(after)
        evaluation = shared_evaluation(one, other)
        return compare_runs(one, other, self._basis(one, evaluation), evaluation=evaluation)

    def together(self, pairs: Sequence[tuple[Path, Path]]) -> Estimate:
        """The mean difference of several pairs of points, all of the same samples.

        Raises:
            AlphaBenchError: they were not measured alike.
        """
        for before, after in pairs:
            self(before, after)
        baselines, candidates = zip(*pairs, strict=True)
        one = StoredRun.open(baselines[0])
        evaluation = shared_evaluation(one, StoredRun.open(candidates[0]))
        basis = self._basis(one, evaluation)
        ours, theirs = (
            _merged([clusters_of(run, run.evaluation(evaluation), basis) for run in side])
            for side in (map(StoredRun.open, candidates), map(StoredRun.open, baselines))
        )
        return paired_difference(ours, theirs, basis.formula, basis.settings)

    def _basis(self, run: StoredRun, evaluation: str) -> ComparisonBasis:
        protocol = run.protocol(evaluation)
        key = (run.manifest.benchmark, protocol)
        if key not in self._bases:
            benchmark = open_benchmark(key[0], protocol=protocol, data=self._data)
            run.check_same_data(benchmark)
            self._bases[key] = basis_of(benchmark)
        return self._bases[key]


def _merged(runs: Iterable[Sequence[Cluster]]) -> list[Cluster]:
    """The samples of several runs, each with the verdicts of all."""
    found: dict[tuple[str, str], Cluster] = {}
    for one in (cluster for run in runs for cluster in run):
        key = (one.group, one.sample_id)
        before = found.get(key)
        found[key] = (
            one
            if before is None
            else replace(
                one,
                total=before.total + one.total,
                n_scored=before.n_scored + one.n_scored,
                n_expected=before.n_expected + one.n_expected,
            )
        )
    return list(found.values())
