"""The page about recipes lists every key of a recipe with its type and default, and no other."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin, get_type_hints

import pytest
import yaml

from alphagrpo.recipe import TrainingRecipe, load_recipe
from alphagrpo.recipe_names import recipe_names
from alphagrpo.rewards.reward_kinds import REWARD_KINDS
from alphatrainers.algorithms.schedules import DECAYS
from alphatrainers.image_algorithms import IMAGE_ALGORITHMS
from alphatrainers.strict_yaml import to_plain

PAGE = Path(__file__).parents[2] / "docs" / "training" / "recipes.md"
ROW = re.compile(r"^\| `([a-zA-Z_.\[\]]+)` \| (.+?) \| `?(.*?)`? \| (.+) \|$", re.MULTILINE)
NAMED: Final = {
    "rewards.NAME.kind": REWARD_KINDS, "training.old_decay": DECAYS,
    "training.image.kind": IMAGE_ALGORITHMS,
}  # fmt: skip
"""Keys whose values are names in a table."""
SAME_AS_DRAW = "task.refine.initial."


class Key(NamedTuple):
    """One key of a recipe as the code has it."""

    default: Any
    choices: tuple[str, ...]


REQUIRED = object()


def keys_of(cls: type, prefix: str = "") -> Iterator[tuple[str, Key]]:
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        name, hint = f"{prefix}{field.name}", hints[field.name]
        parts = [hint, *get_args(hint), *(p for part in get_args(hint) for p in get_args(part))]
        inner = next((part for part in parts if dataclasses.is_dataclass(part)), None)
        choices = tuple(
            str(choice) for p in parts if get_origin(p) is Literal for choice in get_args(p)
        )
        yield name, Key(default_of(field, is_section=inner is not None), choices)
        if isinstance(inner, type) and name not in (SAME_AS_DRAW[:-1], "rewards.NAME.of"):
            repeated = {"rewards": "rewards.NAME.", "validation": "validation[]."}
            yield from keys_of(inner, repeated.get(name, f"{name}."))


def default_of(field: dataclasses.Field[Any], *, is_section: bool) -> Any:
    if field.default is not dataclasses.MISSING:
        return to_plain(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return {} if is_section else to_plain(field.default_factory())
    return REQUIRED


def written(cell: str) -> Any:
    if cell == "required":
        return REQUIRED
    try:
        return float(cell)
    except ValueError:
        return yaml.safe_load(cell)


KEYS = dict(keys_of(TrainingRecipe))
ROWS = {name: (kind, default) for name, kind, default, _ in ROW.findall(PAGE.read_text("utf-8"))}


def test_the_page_has_a_row_for_every_key_and_names_no_unknown_one() -> None:
    assert sorted(ROWS) == sorted(KEYS)
    assert len(ROWS) > 100


@pytest.mark.parametrize("name", KEYS)
def test_a_row_states_the_default_and_all_choices(name: str) -> None:
    kind, default = ROWS[name]
    assert written(default) == KEYS[name].default
    for choice in KEYS[name].choices:
        assert f"`{choice}`" in kind


@pytest.mark.parametrize("name", NAMED)
def test_a_key_whose_values_are_names_of_a_table_lists_them_all(name: str) -> None:
    (line,) = [line for line in PAGE.read_text("utf-8").splitlines() if f"| `{name}` |" in line]
    assert [one for one in NAMED[name] if f"`{one}`" not in line] == []


def test_the_page_lists_every_recipe_with_its_model_and_algorithm() -> None:
    lines = PAGE.read_text("utf-8").splitlines()
    for name in recipe_names():
        (line,) = [line for line in lines if line.startswith(f"| `{name}` |")]
        recipe = load_recipe(name)
        assert f"| `{recipe.training.image.kind}` |" in line
        assert line.endswith("| not run here |") == (recipe.about.measured == "nothing yet")
