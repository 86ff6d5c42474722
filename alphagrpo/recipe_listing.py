"""Recipes and trainings for `alphabench list recipes`, `train --list` and `alphabench show`.

Reads recipe files and a training's logs. Imports no model library, unless the command that uses the
best weights must be worked out.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from alphabench.cli.printing import ShownPage
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_text
from alphabench.core.yaml_parsing import Tree, parse_yaml
from alphabench.reports.markdown import fenced, inline, markdown_table, number
from alphagrpo.recipe_names import RECIPE_FILE, recipe_names
from alphatrainers.reporting.history import (
    CurvePoint,
    curve_text,
    curves,
    deciding_curve,
    read_points,
    read_steps,
)
from alphatrainers.reporting.summary import outcome_sentence

_UNMEASURED: Final = ("nothing yet", "not stated")
_KEYS: Final = (
    "training.steps",
    "training.prompts_per_step",
    "training.group_size",
    "training.optimiser.lr",
    "training.lora",
    "training.image",
    "training.text",
    "training.advantage",
    "task.draw.width",
    "task.draw.height",
    "task.draw.points",
    "task.draw.window",
    "prompts",
)
"""Of a recipe, in the order of its page."""


class RecipeListing:
    """The recipes of this package, and folders of trainings."""

    def names(self) -> Sequence[str]:
        """Of the recipes."""
        return recipe_names()

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """One for each recipe: model, task, algorithms, rewards, cost, what was measured."""
        return [_recipe_row(name, _tree_of(name)) for name in recipe_names()]

    def page(self, name: str) -> ShownPage | None:
        """A recipe by name or file, or the folder of a training; None for anything else.

        Raises:
            AlphaBenchError: such a file or folder cannot be read.
        """
        if name in recipe_names():
            return _recipe_page(name, _text_of(name))
        path = Path(name).expanduser()
        if path.is_dir() and (path / RECIPE_FILE).is_file():
            return _training_page(path)
        if path.suffix in (".yaml", ".yml") and path.is_file():
            try:
                return _recipe_page(path.name, read_text(path))
            except UnreadableFileError as error:
                raise AlphaBenchError(
                    f"{name!r} cannot be read: {error}", hint="name a recipe or a YAML file"
                ) from error
        return None


RECIPES: Final = RecipeListing()
_COLUMNS: Final = ("recipe", "model", "task", "algorithm", "reward", "GPUs", "results")


def recipe_table() -> str:
    """All recipes, one a line: model, task, algorithm, reward, GPUs, and whether it is measured."""
    rows = [_COLUMNS, *((row["name"], *_cells(row)) for row in RECIPES.rows())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What a line shows beside the name."""
    model = str(row["model"]).rpartition("/")[2]
    tasks = f" ({', '.join(row['mixed'])})" if row["mixed"] else ""
    gpus = {None: "not stated", 0: "none"}.get(row["gpus"], f"{row['gpus']} or more")
    return (
        model,
        f"{row['task']}{tasks}",
        " + ".join(row["algorithms"].values()),
        ", ".join(row["rewards"]),
        gpus,
        "measured" if row["is_measured"] else "not measured",
    )


def _text_of(name: str) -> str:
    return (resources.files("alphagrpo") / "recipes" / f"{name}.yaml").read_text("utf-8")


def _tree_of(name: str) -> Tree:
    return parse_yaml(_text_of(name), source=f"recipe {name!r}")


def _at(tree: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    value: Any = tree
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _recipe_row(name: str, tree: Tree) -> dict[str, Any]:
    rewards = _at(tree, "rewards")
    kinds = [str(_at(one, "kind")) for one in rewards.values()] if rewards else []
    measured = str(_at(tree, "about.measured") or "not stated")
    algorithms = {
        part: kind
        for part in ("image", "text")
        if (kind := _at(tree, f"training.{part}.kind")) not in (None, "none")
    }
    row: dict[str, Any] = {
        "name": name,
        "model": str(_at(tree, "policy.checkpoint")),
        "task": str(_at(tree, "task.kind")),
        "mixed": list(_at(tree, "task.mixed") or ()),
        "algorithms": algorithms,
        "rewards": kinds,
        "gpus": _at(tree, "about.gpus"),
        "costs": str(_at(tree, "about.costs") or "not stated"),
        "measured": measured,
        "is_measured": not measured.startswith(_UNMEASURED),
    }
    model, task, algorithm, reward, gpus, state = _cells(row)
    facts = [model, task, algorithm, f"rewards {reward}", f"GPUs: {gpus}", state]
    return {**row, "text": "; ".join(one for one in facts if one)}


def _recipe_page(name: str, text: str) -> ShownPage:
    tree = parse_yaml(text, source=repr(name))
    row = _recipe_row(name.removesuffix(".yaml"), tree)
    row.pop("text")
    leading = takewhile(lambda line: line.startswith("#"), text.splitlines())
    comments = [line[1:].strip() for line in leading]
    facts = {**row, "about": " ".join(comments), "recipe": tree}
    shown = {
        "model": row["model"],
        "task": row["task"],
        "algorithm": ", ".join(f"{part}: {kind}" for part, kind in row["algorithms"].items()),
        **{f"reward {key}": _in_line(value) for key, value in (tree.get("rewards") or {}).items()},
        **{key: _in_line(value) for key in _KEYS if (value := _at(tree, key)) is not None},
        "validation": _in_line(tree.get("validation")),
        "costs": row["costs"],
        "measured": row["measured"],
    }
    table = markdown_table(
        ["what", "value"],
        [[key, inline(value, 300)] for key, value in shown.items() if value],
        ["left", "left"],
    )
    spec = shlex.quote(name)
    parts = [
        f"# {inline(row['name'])}",
        *([inline(facts["about"], 800)] if comments else []),
        table,
    ]
    command = f"Estimate it: `alphabench train {spec} --dry-run`. Train: `alphabench train {spec}`"
    return ShownPage("\n\n".join([*parts, f"{command}\n"]), facts)


def _in_line(value: Any) -> str:
    """A setting as a recipe writes it, on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_in_line(one)}" for key, one in value.items())
    if isinstance(value, list):
        return "; ".join(_in_line(one) for one in value)
    return "" if value is None else str(value)


def _training_page(folder: Path) -> ShownPage:
    """Where a training stands: steps, reward, held-out scores, and what to do next."""
    from alphagrpo.recipe import read_tree
    from alphatrainers.checkpoint import TrainingFolder

    tree = read_tree(folder / RECIPE_FILE)
    steps, points = read_steps(folder), read_points(folder)
    done = steps[-1].step + 1 if steps else 0
    total = _at(tree, "training.steps")
    finished = isinstance(total, int) and done >= total
    best_view = TrainingFolder(folder).best_view()
    best = _best(points, best_view)
    values = steps[-1].values if steps else {}
    resume = shlex.join(["alphabench", "train", str(folder), "--resume"])
    facts: dict[str, Any] = {
        "folder": str(folder),
        "model": _at(tree, "policy.checkpoint"),
        "steps_done": done,
        "steps": total,
        "finished": finished,
        "reward": values.get("reward/mean"),
        "best_step": None if best is None else best.step,
        "best_score": None if best is None else best.value,
        "validation": [
            {"name": p.name, "weights": p.view, "step": p.step, "score": p.value}
            | {"low": p.low, "high": p.high}
            for p in points
        ],
        "continue": None if finished else resume,
        "use": _usage(folder),
    }
    rows = {
        "model": str(facts["model"]),
        "status": f"{'finished' if finished else 'stopped or running'}, {done} of {total} steps",
        "mean reward of the last step": number(facts["reward"]),
        "best held-out score": "not measured"
        if best is None
        else f"{number(best.value)} ({best.name}, weights {best.view}) at step {best.step}",
    }
    table = markdown_table(
        ["what", "value"], [[key, inline(value)] for key, value in rows.items()], ["left", "left"]
    )
    parts = [f"# {inline(str(folder))}", table, outcome_sentence(points, best_view)]
    parts += [fenced(curve_text(curve)) for curve in curves(points).values()]
    if not finished:
        parts.append(f"Continue it: `{resume}`")
    if facts["use"]:
        parts.append(f"Run the best weights: `{facts['use']}`")
    return ShownPage("\n\n".join(parts) + "\n", facts)


def _best(points: Sequence[CurvePoint], view: str | None) -> CurvePoint | None:
    """The best point of the curve that decides which weights are best."""
    known = [point for point in deciding_curve(points, view) if point.value is not None]
    return max(known, key=lambda point: point.value or 0.0, default=None)


def _usage(folder: Path) -> str | None:
    """The command that runs the best weights; None while there are none, or none that work."""
    from alphagrpo.export import usage

    best = folder / "best"
    if not best.exists():
        return None
    try:
        return usage(folder, best)
    except (AlphaBenchError, OSError):
        return None
