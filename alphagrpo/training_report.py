"""Writes `report.html` into a training's folder, with the commands that continue and use it.

What is on the page is `alphatrainers.reporting.training_page`'s matter.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from alphagrpo.export import adapter_of, usage
from alphagrpo.publishing.trained_weights import ADAPTER_FILES
from alphagrpo.recipe import TrainingRecipe
from alphagrpo.recipe_names import RECIPE_FILE
from alphatrainers.checkpoint import TrainingFolder, replace_text
from alphatrainers.reporting.training_page import REPORT_FILE, AboutTraining, training_page


def write_training_report(folder: Path, recipe: TrainingRecipe) -> Path:
    """Writes the page anew from what the folder holds now; returns its path.

    Raises:
        AlphaBenchError: a log is damaged, or the folder cannot be written.
    """
    about = AboutTraining(
        name=folder.resolve().name,
        steps=recipe.training.steps,
        facts=_facts(recipe),
        commands=_commands(folder, recipe),
        recipe=(folder / RECIPE_FILE).read_text(encoding="utf-8"),
        best_view=TrainingFolder(folder).best_view(),
    )
    page = folder / REPORT_FILE
    replace_text(page, training_page(folder, about))
    return page


def _facts(recipe: TrainingRecipe) -> dict[str, str]:
    training = recipe.training
    return {
        "checkpoint": recipe.policy.checkpoint,
        "task": recipe.task.kind,
        "image algorithm": training.image.kind,
        "text algorithm": training.text.kind,
        "rewards": ", ".join(recipe.rewards),
        "seed": str(training.seed),
    }


def _commands(folder: Path, recipe: TrainingRecipe) -> dict[str, str]:
    again = ["alphabench", "train", str(folder), "--resume"]
    steps = recipe.training.steps
    commands = {
        "Continue where it stopped": shlex.join(again),
        "Train longer": shlex.join([*again, f"training.steps={2 * steps}"]),
    }
    training = TrainingFolder(folder)
    best_step, view = training.best_step(), training.best_view()
    if best_step is not None:
        best = folder / "best"
        which = f"the best weights{f' ({view})' if view else ''}, of step {best_step}"
        commands[f"Run {which}"] = usage(folder, best)
        # The adapter of step 0 is the base itself, which is a checkpoint already.
        if adapter_of(best) is not None or not (best / ADAPTER_FILES[1]).is_file():
            export = ["alphabench", "export", str(folder), "--merge", "--out", f"{folder}-merged"]
            commands["Write them as a checkpoint of their own"] = shlex.join(export)
    return commands
