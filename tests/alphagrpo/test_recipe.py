"""Recipes: every one in the package is whole, and a mistake in one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphagrpo.recipe import load_recipe, recipe_names
from alphatrainers.errors import TrainingError

EXPECTED = {
    "nano-rt2i", "nano-srr", "nano-awm", "nano-nft", "nano-holistic", "bagel-rt2i", "bagel-srr",
    "bagel-unigrpo-style", "bagel-awm", "sd35-dvreward",
}  # fmt: skip


def test_the_package_holds_the_recipes_that_the_documentation_names() -> None:
    assert set(recipe_names()) >= EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_recipe_of_the_package_says_what_it_costs_and_what_was_measured(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.about.costs
    assert recipe.about.measured
    stored = recipe.training.image.kind in {"flow_grpo", "guard"}
    assert stored == (recipe.task.draw.window.kind != "none")
    assert recipe.validation


def test_recipes_that_results_were_published_with_can_be_trained_again() -> None:
    published = sorted((Path(__file__).parents[2] / "docs" / "results").rglob("recipe.yaml"))
    assert published
    for path in published:
        load_recipe(str(path))


def test_the_control_differs_from_its_original_in_its_reward_alone() -> None:
    control, original = load_recipe("nano-holistic"), load_recipe("nano-rt2i")
    assert control.training == original.training
    assert control.task == original.task
    assert control.prompts == original.prompts
    assert set(control.rewards) ^ set(original.rewards) == {"dvreward", "holistic"}


def test_assignments_change_a_recipe() -> None:
    recipe = load_recipe("nano-rt2i", ["training.steps=3", "task.draw.window.size=2"])
    assert (recipe.training.steps, recipe.task.draw.window.size) == (3, 2)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("training.stepz=3", "'steps'"),
        ("task.draw.window.siez=3", "'size'"),
        ("task.draw.window.high=30", "30 of 6"),
        ("task.kind=rtti", "'rt2i'"),
        ("task.kind=srr", "refine"),
        ("task.kind=mixed", "weights"),
        ("rewards.dvreward.judge=null", "needs a judge"),
        ("task.draw.width=64", "height"),
        ("task.draw.guidance={renorm_floor: 2}", "task.draw.guidance: renorm_floor"),
        ("task.draw.shift=0", "shift"),
        ("task.draw.kernel=ode", "no stochastic steps"),
        ("task.draw.eta=0", "eta"),
        ("task.draw.eta=1.5", "eta"),
        ("task.thought.temperature=0", "temperature"),
        ("task.draw.window={kind: none}", "task.draw stores no steps"),
        ("training.image.kind=guard", "guard"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(assignment: str, words: str) -> None:
    with pytest.raises(TrainingError) as caught:
        load_recipe("nano-rt2i", [assignment])
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "assignments", "words"),
    [
        ("nano-srr", ["task.refine.train_initial=true"], "task.refine.initial stores no steps"),
        ("nano-srr", ["task.kind=mixed", "task.mixed={rt2i: 0, srr: 0}"], "one of them above 0"),
        ("nano-srr", ["task.kind=mixed", "task.mixed={rt2i: -1, srr: 2}"], "one of them above 0"),
        (
            "nano-rt2i",
            ["validation=[{benchmark: 'geneval:mini'}, {benchmark: 'geneval:mini', seed: 1}]"],
            "'geneval:mini' twice",
        ),
        (
            "nano-rt2i",
            ["training.image.kind=guard", "task.draw.kernel=dance",
             "task.draw.density=squared_error"],
            "squared_error",
        ),
    ],
)  # fmt: skip
def test_parts_that_would_train_nothing_or_fail_later_are_named(
    name: str, assignments: list[str], words: str
) -> None:
    with pytest.raises(TrainingError) as caught:
        load_recipe(name, assignments)
    assert words in str(caught.value)


def test_guard_is_taken_where_it_is_defined() -> None:
    load_recipe("nano-rt2i", ["training.image.kind=guard", "task.draw.kernel=flow_sde"])


def test_an_unknown_recipe_names_the_nearest_and_an_absent_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nano-rt2i"):
        load_recipe("nano-rt21")
    with pytest.raises(TrainingError, match="cannot be read"):
        load_recipe(str(tmp_path / "none.yaml"))
