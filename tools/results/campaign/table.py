"""A table file: the conditions that are compared, their seeds, and what each training is scored on.

    title, question, design, meaning   text of the page
    seeds: [0, 1, 2]                   of every condition that is trained
    overrides: [KEY=VALUE]             of all trainings, as `alphabench train` takes them
    conditions: {NAME: {recipe, overrides, trained, about, kept_with, weights}}
    evaluations: {NAME: {benchmark, weights, step, options, initial, conditions}}
    comparisons: [[A, B]]              condition A minus condition B
    contrasts: [[A, B]]                evaluation A minus evaluation B, image by image
    metrics: [NAME]                    of training steps, for the page's table and figure
    shows: [brightness]                of the images that are scored, as tables of their own

Reads the file and refuses what no training could run. Knows no result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.files import UnreadableFileError, read_text
from alphabench.core.yaml_parsing import parse_yaml
from alphagrpo.recipe import TrainingRecipe, load_recipe
from alphatrainers.strict_yaml import build_settings

_MOST_BYTES: Final = 2**20
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
SWAPPED: Final = "swapped:"
Weights = Literal["ema", "train", "old", "best"]
ImageMeasure = Literal["brightness"]
METRICS: Final = (
    "reward/mean",
    "image/kl",
    "text/approx_kl",
    "text/clip_fraction",
    "image/zero_std_groups",
    "grad_norm",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCondition:
    """One row of the tables."""

    recipe: str
    """A name or a file, as `alphabench train` takes it."""
    overrides: tuple[str, ...] = ()
    """After those of the table."""
    trained: bool = True
    """False: the recipe's checkpoint as it is; it has no seed."""
    about: str = ""
    """What distinguishes it, for the page."""
    kept_with: str = ""
    """TABLE/CONDITION of another table that has the same trainings; they are run and kept once."""

    weights: Weights | None = None
    """On which it is scored, instead of the evaluations' own: `best` where a guard may stop it."""

    def __post_init__(self) -> None:
        if self.kept_with and not re.fullmatch(f"{_NAME.pattern}/{_NAME.pattern}", self.kept_with):
            raise ValueError(f"kept_with={self.kept_with!r} is not TABLE/CONDITION")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """An `alphabench run` with the weights of each training."""

    benchmark: str
    weights: Weights = "ema"
    step: int | None = None
    """Of the checkpoint; null is the last one. `best` has none."""
    options: tuple[str, ...] = ()
    """Further words of `alphabench run`, such as [--refine, always]."""
    initial: str = ""
    """CONDITION/EVALUATION of this table whose images are refined, or `swapped:` and that; the
    condition is one that is not trained, so that all refine the same images."""
    conditions: tuple[str, ...] = ()
    """For which it is done; empty: for all."""

    def __post_init__(self) -> None:
        if self.weights == "best" and self.step is not None:
            raise ValueError("best weights have no step of your choice")

    @property
    def initial_of(self) -> tuple[str, str] | None:
        """Condition and evaluation of `initial`."""
        if not self.initial:
            return None
        condition, _, evaluation = self.initial.removeprefix(SWAPPED).partition("/")
        return condition, evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignTable:
    """A table file, read; its name is the file's."""

    title: str
    question: str
    seeds: tuple[int, ...]
    conditions: Mapping[str, TrainingCondition]
    evaluations: Mapping[str, EvaluationPlan]
    design: str = ""
    meaning: str = ""
    """What the results mean and what they do not; written when they are there."""
    overrides: tuple[str, ...] = ()
    comparisons: tuple[tuple[str, str], ...] = ()
    contrasts: tuple[tuple[str, str], ...] = ()
    """An evaluation that is done for conditions without training alone serves all conditions."""
    metrics: tuple[str, ...] = METRICS
    shows: tuple[ImageMeasure, ...] = ()
    """What the page says of the scored images beside their scores; it is kept of all of them."""
    name: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if not (self.seeds and self.conditions and self.evaluations):
            raise ValueError("a table has seeds, conditions and evaluations")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed occurs twice")
        for name in (*self.conditions, *self.evaluations):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name: use small letters, digits and hyphens")
        named = [one for pair in self.comparisons for one in pair]
        named += [one for plan in self.evaluations.values() for one in plan.conditions]
        for name in named:
            if name not in self.conditions:
                raise unknown_name("condition", name, self.conditions)
        for name in (one for pair in self.contrasts for one in pair):
            if name not in self.evaluations:
                raise unknown_name("evaluation", name, self.evaluations)
        for plan in self.evaluations.values():
            self._check_initial(plan)

    def _check_initial(self, plan: EvaluationPlan) -> None:
        if plan.initial_of is None:
            return
        condition, name = plan.initial_of
        if condition not in self.conditions:
            raise unknown_name("condition", condition, self.conditions)
        if name not in self.evaluations:
            raise unknown_name("evaluation", name, self.evaluations)
        source = self.evaluations[name]
        if self.conditions[condition].trained:
            raise ValueError(f"initial={plan.initial}: a trained condition has other images a seed")
        if source.initial or source.benchmark != plan.benchmark:
            raise ValueError(f"initial={plan.initial}: not one pass on {plan.benchmark}")
        if source.conditions and condition not in source.conditions:
            raise ValueError(f"initial={plan.initial}: {name} is not done for {condition}")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class TableCell:
    """A condition with a seed: one training, or a checkpoint as it is."""

    condition: str
    seed: int | None
    """None: not trained."""

    @property
    def name(self) -> str:
        return self.condition if self.seed is None else f"{self.condition}, seed {self.seed}"


def load_table(path: Path) -> CampaignTable:
    """The table in a YAML file; all its recipes are read once, so that a mistake is found here.

    Raises:
        AlphaBenchError: it cannot be read, or something in it cannot be run.
    """
    try:
        tree = parse_yaml(read_text(path, max_bytes=_MOST_BYTES), source=repr(str(path)))
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"the table {str(path)!r} cannot be read: {error}",
            hint="name a file of tools/results/campaigns",
        ) from error
    table = build_settings(CampaignTable, {**tree, "name": path.stem})
    for cell in table_cells(table):
        try:
            recipe_of(table, cell)
        except AlphaBenchError as error:
            raise AlphaBenchError(f"{cell.name}: {error.message}", hint=error.hint) from error
    return table


def home_of(table: CampaignTable, condition: str) -> tuple[str, str]:
    """The table and the condition below whose names its numbers are kept."""
    other = table.conditions[condition].kept_with
    if not other:
        return table.name, condition
    name, _, kept = other.partition("/")
    return name, kept


def table_cells(table: CampaignTable) -> list[TableCell]:
    """Seed by seed, so that what is finished first can be compared."""
    untrained = [
        TableCell(condition=n, seed=None) for n, c in table.conditions.items() if not c.trained
    ]
    trained = [name for name, condition in table.conditions.items() if condition.trained]
    return [
        *untrained,
        *(TableCell(condition=n, seed=seed) for seed in table.seeds for n in trained),
    ]


def evaluations_of(table: CampaignTable, cell: TableCell) -> dict[str, EvaluationPlan]:
    """What a cell is scored on, by name."""
    weights = table.conditions[cell.condition].weights
    return {
        name: plan if weights is None else replace(plan, weights=weights, step=None)
        for name, plan in table.evaluations.items()
        if not plan.conditions or cell.condition in plan.conditions
    }


def overrides_of(table: CampaignTable, cell: TableCell) -> list[str]:
    """All assignments of a training; where two name one key, the condition's counts."""
    condition = table.conditions[cell.condition]
    by_key = {one.partition("=")[0]: one for one in (*table.overrides, *condition.overrides)}
    if cell.seed is not None:
        by_key["training.seed"] = f"training.seed={cell.seed}"
    return list(by_key.values())


def recipe_of(table: CampaignTable, cell: TableCell) -> TrainingRecipe:
    """The recipe of a cell, overrides included.

    Raises:
        AlphaBenchError: there is none of that name, or a key or value that it does not take.
    """
    return load_recipe(table.conditions[cell.condition].recipe, overrides_of(table, cell))
