"""`list recipes` and `show`: recipes by what they train, trainings by where they stand."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from alphagrpo.recipe import load_recipe
from alphagrpo.recipe_listing import RECIPES, recipe_table
from alphagrpo.recipe_names import recipe_names

OLD = Path(__file__).parents[1] / "compatibility" / "training_folder"


def test_every_recipe_is_listed_with_what_it_trains() -> None:
    rows = {row["name"]: row for row in RECIPES.rows()}
    assert list(rows) == recipe_names()
    nano = rows["nano-rt2i"]
    assert (nano["model"], nano["task"], nano["is_measured"]) == ("nano", "rt2i", True)
    assert nano["algorithms"] == {"image": "flow_grpo", "text": "dapo"}
    assert rows["bagel-rt2i"]["is_measured"] is False


def test_a_line_of_the_table_says_what_a_recipe_trains_and_needs() -> None:
    head, *lines = recipe_table().splitlines()
    assert [line.partition(" ")[0] for line in lines] == recipe_names()
    assert head.split() == ["recipe", "model", "task", "algorithm", "reward", "GPUs", "results"]
    found = {line.partition(" ")[0]: re.split(" {2,}", line)[1:] for line in lines}
    assert found["nano-awm"] == [
        "nano", "rt2i", "awm + dapo", "dvreward, think_tags", "none", "measured",
    ]  # fmt: skip
    assert found["bagel-rt2i"][-2:] == ["1 or more", "not measured"]


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_of_the_model_in_the_package_alone_need_no_gpu(name: str) -> None:
    recipe = load_recipe(name)
    assert (recipe.about.gpus == 0) == (recipe.policy.checkpoint == "nano")


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_shown_with_its_costs_and_what_was_measured(name: str) -> None:
    page = RECIPES.page(name)
    assert page is not None
    assert page.facts["recipe"]["policy"]["checkpoint"] == page.facts["model"]
    for text in ("costs", "measured", f"alphabench train {name} --dry-run"):
        assert text in page.markdown


def test_a_recipe_of_ones_own_is_shown_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("policy: {checkpoint: my-model}\ntask: {kind: t2i}\n")
    page = RECIPES.page(str(path))
    assert page is not None
    assert page.facts["model"] == "my-model"


def test_what_is_neither_recipe_nor_training_has_no_page(tmp_path: Path) -> None:
    assert RECIPES.page("geneval") is None
    assert RECIPES.page(str(tmp_path)) is None


def test_a_finished_training_is_shown_with_its_curve_and_how_to_use_it() -> None:
    page = RECIPES.page(str(OLD))
    assert page is not None
    assert page.facts["finished"]
    assert (page.facts["steps_done"], page.facts["best_score"]) == (2, 1.0)
    assert page.facts["continue"] is None
    assert "●" in page.markdown
    assert "--lora" in page.facts["use"]


def test_a_training_that_stopped_is_shown_with_the_command_that_continues_it(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "stopped"
    shutil.copytree(OLD, folder)
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:1]))
    page = RECIPES.page(str(folder))
    assert page is not None
    assert (page.facts["finished"], page.facts["steps_done"]) == (False, 1)
    assert page.facts["continue"] == f"alphabench train {folder} --resume"
    assert "1 of 2 steps" in page.markdown


def test_a_training_without_any_step_yet_is_shown(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        "policy: {checkpoint: nano}\ntask: {kind: t2i}\ntraining: {steps: 3}\n"
    )
    page = RECIPES.page(str(tmp_path))
    assert page is not None
    assert (page.facts["steps_done"], page.facts["reward"]) == (0, None)
    assert "not measured" in page.markdown
