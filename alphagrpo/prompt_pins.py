"""Which commit of a data set on the hub a training takes its prompts from, once and for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from alphagrpo.hub_prompts import HUB, newest_commit, read_hub_source
from alphagrpo.recipe import TrainingRecipe, load_recipe
from alphagrpo.recipe_names import RECIPE_FILE


def with_pinned_prompts(
    recipe: TrainingRecipe, folder: Path, report: Callable[[str], None]
) -> TrainingRecipe:
    """The recipe with a commit for prompts of the hub; others as they are.

    A training that was begun keeps the commit of its folder's recipe, so that it resumes with the
    prompts that it began with, whatever the data set has become.

    Args:
        recipe: as the user gave it.
        folder: of the training; its recipe is read where there is one.
        report: receives the commit that was chosen.

    Raises:
        AlphaBenchError: the newest commit is wanted and the hub does not name it, or the folder's
            recipe cannot be read.
    """
    source = recipe.prompts.source
    if not source.startswith(HUB) or recipe.prompts.revision is not None:
        return recipe
    commit = _recorded_commit(folder, source)
    why = f"as {RECIPE_FILE} says"
    if commit is None:
        commit = newest_commit(read_hub_source(source))
        why = f"the newest; {RECIPE_FILE} records it, and the training resumes with it"
    report(f"prompts of {source} are those of commit {commit} ({why})")
    return replace(recipe, prompts=replace(recipe.prompts, revision=commit))


def _recorded_commit(folder: Path, source: str) -> str | None:
    if not (folder / RECIPE_FILE).is_file():
        return None
    recorded = load_recipe(str(folder / RECIPE_FILE)).prompts
    return recorded.revision if recorded.source == source else None
