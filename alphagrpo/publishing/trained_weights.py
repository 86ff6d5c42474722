"""Trained weights and what the folder of their training says about them.

Reads recipes and logs of earlier versions too, so a key that a recipe lacks is unknown (None or
empty), never a default. What cannot be read is a sentence in `notes`. Knows no card and no hub.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.yaml_parsing import Tree
from alphabench.runs.records import Manifest
from alphabench.runs.stored_run import StoredRun
from alphabench.types import Report
from alphagrpo.recipe import read_tree
from alphagrpo.recipe_names import RECIPE_FILE
from alphatrainers.checkpoint import TrainingFolder
from alphatrainers.reporting.history import CurvePoint, read_points, read_steps
from alphatrainers.sharded_files import SHARDS

ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors")
VALUES_FILE: Final = "model.safetensors"
"""Trained values, written instead of an adapter by a training without LoRA."""
_BEST: Final = re.compile(r"best(-\d+)?")
_STEP: Final = re.compile(r"step-(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedWeights:
    """Where trained weights are, and which of a training's they are."""

    folder: Path
    training: Path | None = None
    """The folder of their training, where it is known."""
    step: int | None = None
    """Training steps done."""
    view: str | None = None
    """train, ema or old."""
    best: bool = False
    """Chosen as the best point of the first validation."""
    in_parts: bool = False
    """Whether `folder` is a checkpoint whose values lie in parts, those of `view` among them."""

    @property
    def adapter(self) -> bool:
        """Whether they are a LoRA; otherwise the trained values themselves."""
        return (self.folder / ADAPTER_FILES[0]).is_file()

    def recipe(self) -> Tree:
        """The recipe of their training as it is written; empty where there is none.

        Raises:
            AlphaBenchError: it cannot be read.
        """
        return {} if self.training is None else read_tree(self.training / RECIPE_FILE)


def find_trained_weights(run: Path) -> TrainedWeights:
    """The best weights of a training, or those in a folder of it.

    Args:
        run: the folder of a training, one in it that holds weights, or a checkpoint in parts: alone
            for its trained weights, or followed by a view, as in `step-000020/ema`.

    Raises:
        AlphaBenchError: nothing was trained there.
    """
    for folder in (run, run / "best"):
        if any((folder / name).is_file() for name in (ADAPTER_FILES[0], VALUES_FILE)):
            return _placed(folder)
    for folder, view in ((run, "train"), (run.parent, run.name)):
        if (folder / SHARDS).is_dir() and view != SHARDS:
            return replace(_placed(folder / view), folder=folder, view=view, in_parts=True)
    raise AlphaBenchError(
        f"{str(run)!r} holds no adapter and no trained values",
        hint="name the folder of a training that has validated, or an adapter in it",
    )


def _placed(folder: Path) -> TrainedWeights:
    """Which weights they are, by where they lie in the folder of a training."""
    path = folder.resolve()
    above = [path.parent, *path.parents[2:3]]
    training = next((one for one in above if (one / RECIPE_FILE).is_file()), None)
    if training is None:
        return TrainedWeights(folder=folder)
    if training == path.parent:
        best = bool(_BEST.fullmatch(path.name))
        step = TrainingFolder(training).best_step() if best else None
        view = _best_view(training) if best else None
        return TrainedWeights(folder=folder, training=training, step=step, view=view, best=best)
    match = _STEP.fullmatch(path.parent.name)
    if match is None:
        return TrainedWeights(folder=folder)
    return TrainedWeights(folder=folder, training=training, step=int(match[1]), view=path.name)


def _best_view(training: Path) -> str | None:
    """Whose best point `best` holds, as the training recorded it or as its recipe says."""
    if (recorded := TrainingFolder(training).best_view()) is not None:
        return recorded
    settings = section(read_tree(training / RECIPE_FILE), "training")
    if isinstance(chosen := settings.get("best_view"), str):
        return chosen
    views = settings.get("validate_views")
    return str(views[0]) if isinstance(views, list) and views else None


def section(tree: Tree, key: str) -> Tree:
    """A section of a recipe; empty where it has none of that name."""
    found = tree.get(key)
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedRun:
    """The run folder of a validation, as far as a reader of its score must know it."""

    manifest: Manifest
    report: Report
    identity: Mapping[str, str]
    """Of the evaluator and its protocol."""

    @property
    def images_per_sample(self) -> int:
        return int(self.manifest.pixels["benchmark.images_per_sample"])

    @property
    def judge(self) -> str | None:
        """The judge's model, or its kind where it has no name; None without a judge."""
        return self.identity.get("judge.model") or self.identity.get("judge.kind")

    @property
    def version(self) -> str | None:
        """Of AlphaBench, when the images were generated."""
        packages = self.manifest.circumstances.get("packages")
        found = packages.get("alphabench") if isinstance(packages, dict) else None
        return found if isinstance(found, str) else None

    @property
    def began(self) -> str | None:
        """ISO 8601."""
        found = self.manifest.circumstances.get("began")
        return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedScore:
    """What one validation measured of the weights."""

    point: CurvePoint
    start: CurvePoint | None
    """The first point of its curve; None where that is the point itself."""
    run: ValidatedRun | None
    """None where its run folder is gone, or cannot be read."""
    decided: bool
    """Whether the weights were chosen because this point was the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """What is known of trained weights."""

    weights: TrainedWeights
    recipe: Tree
    scores: Sequence[ValidatedScore]
    """Of the exported weights; empty where they were never validated."""
    steps: int
    """Training steps in the log."""
    curves: bool
    """Whether there is anything to plot."""
    notes: Sequence[str]
    """What could not be read, one clause each."""

    def setting(self, *path: str) -> Any:
        """A value of the recipe by its keys; None where it has none."""
        found: Any = self.recipe
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found


def read_training_record(weights: TrainedWeights) -> TrainingRecord:
    """Everything that the folder of a training says about weights of it.

    Raises:
        AlphaBenchError: its recipe cannot be read.
    """
    notes: list[str] = []
    points: list[CurvePoint] = []
    steps, logged = 0, False
    if weights.training is not None:
        try:
            lines = read_steps(weights.training)
            points = read_points(weights.training)
            steps = lines[-1].step + 1 if lines else 0
            logged = bool(lines or points)
        except AlphaBenchError as error:
            points = []
            notes.append(f"the curves and scores are left out: {error.message}")
    recipe = weights.recipe()
    return TrainingRecord(
        weights=weights,
        recipe=recipe,
        scores=_scores(weights, recipe, points),
        steps=steps,
        curves=logged,
        notes=notes,
    )


def _scores(
    weights: TrainedWeights, recipe: Tree, points: Sequence[CurvePoint]
) -> list[ValidatedScore]:
    """The newest point of each validation at the weights' own step and view."""
    if weights.training is None:
        return []
    newest = {
        point.name: point
        for point in points
        if (point.step, point.view) == (weights.step, weights.view)
    }
    starts = {
        point.name: point for point in reversed(points) if point.view == weights.view
    }  # the first of each curve
    validations = recipe.get("validation")
    names = [one.get("benchmark") for one in validations or [] if isinstance(one, dict)]
    first = names[0] if names else None
    return [
        ValidatedScore(
            point=point,
            start=starts[name] if starts[name] is not point else None,
            run=_run_of(weights.training, point),
            decided=weights.best and name == first,
        )
        for name, point in newest.items()
    ]


def _run_of(training: Path, point: CurvePoint) -> ValidatedRun | None:
    """The run folder of a point, with the report that the point's value is from."""
    if point.folder is None or point.value is None:
        return None
    try:
        run = StoredRun.open(training / point.folder)
        for name, report in run.reports().items():
            if report.headline.value == point.value:
                identity = run.folder.evaluation_identity(name)
                return ValidatedRun(manifest=run.manifest, report=report, identity=identity)
    except AlphaBenchError:
        return None
    return None
