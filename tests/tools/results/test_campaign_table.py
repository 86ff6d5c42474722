"""A table file: what it may say, and in which order it is run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from alphabench.core.errors import AlphaBenchError
from alphatrainers.strict_yaml import to_plain
from tests.tools.results.campaign_tables import table_file
from tools.results.campaign.__main__ import chosen_cells
from tools.results.campaign.plan import recipe_digest
from tools.results.campaign.table import (
    TableCell,
    evaluations_of,
    home_of,
    load_table,
    overrides_of,
    recipe_of,
    table_cells,
)

TABLES = sorted((Path(__file__).parents[3] / "tools/results/campaigns").glob("*.yaml"))


def test_cells_come_seed_by_seed_and_what_is_not_trained_has_no_seed(tmp_path: Path) -> None:
    table = load_table(table_file(tmp_path))
    names = [cell.name for cell in table_cells(table)]
    assert names == ["base", "one, seed 0", "other, seed 0", "one, seed 1", "other, seed 1"]
    assert [cell.seed for cell in chosen_cells(table, "one", "1")] == [1]
    with pytest.raises(AlphaBenchError, match="no seeds '3'"):
        chosen_cells(table, "one", "3")


def test_a_condition_s_overrides_count_before_those_of_the_table(tmp_path: Path) -> None:
    table = load_table(table_file(tmp_path))
    cell = next(cell for cell in table_cells(table) if cell.name == "other, seed 1")
    assert overrides_of(table, cell) == [
        "validation=[]",
        "training.steps=3",
        "rewards.dvreward.kind=holistic",
        "training.seed=1",
    ]


def test_an_evaluation_may_be_for_some_conditions_alone(tmp_path: Path) -> None:
    path = table_file(tmp_path, evaluations={"refined": {"benchmark": "geneval:mini",
                                                         "conditions": ["one"]}})  # fmt: skip
    table = load_table(path)
    assert [c.name for c in table_cells(table) if evaluations_of(table, c)] == [
        "one, seed 0",
        "one, seed 1",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [0, 0]}, "a seed occurs twice"),
        ({"comparisons": [["one", "othr"]]}, "no condition named 'othr'"),
        ({"conditions": {"A b": {"recipe": "nano-awm"}}}, "'A b' is no name"),
        ({"overrides": ["training.stps=2"]}, "base: there is no setting at training named 'stps'"),
        ({"evaluatons": {}}, "evaluatons"),
    ],
)  # fmt: skip
def test_a_table_that_could_not_be_run_is_refused_with_its_place(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(AlphaBenchError) as caught:
        load_table(table_file(tmp_path, **change))
    assert message in caught.value.message


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_the_tables_of_the_project_can_be_run(path: Path) -> None:
    table = load_table(path)
    assert len(table.seeds) >= 3
    assert yaml.safe_load(path.read_text())["comparisons"]


def test_trainings_that_another_table_keeps_are_the_same_there() -> None:
    tables = {path.stem: load_table(path) for path in TABLES}
    shared = 0
    for table in tables.values():
        for cell in table_cells(table):
            home, name = home_of(table, cell.condition)
            if home == table.name or cell.seed is None:
                continue
            other = TableCell(condition=name, seed=cell.seed)
            ours, theirs = (
                recipe_digest(to_plain(recipe_of(*one)))
                for one in ((table, cell), (tables[home], other))
            )
            assert ours == theirs, f"{table.name}: {cell.name}"
            shared += 1
    assert shared
