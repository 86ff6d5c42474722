"""Suites of runs: what is shared between cells, and what is not."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.runs.plan import CheckpointFactory
from alphabench.runs.prepared_run import RunSettings
from alphabench.runs.run import Work
from alphabench.runs.suite import (
    SharedCheckpoint,
    SuiteColumn,
    SuitePlan,
    SuiteRow,
    execute_suite,
    plan_suite,
)
from alphabench.types import Card
from tests.support.fakes import Dots, Reds


class Named(Reds):
    """Reds under a name of its own."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    @property
    def card(self) -> Card:
        return replace(super().card, name=self.name)


class Opened:
    """A checkpoint that remembers what was opened."""

    def __init__(self, name: str, *, fail: frozenset[str] | None = frozenset()) -> None:
        self.name, self.fail = name, fail
        self.every: list[Dots] = []

    def __call__(self, *, device: str) -> Dots:
        self.every.append(Dots(name=self.name, fail=self.fail))
        return self.every[-1]

    @property
    def factory(self) -> CheckpointFactory:
        return CheckpointFactory(name=self.name, open=self)


def planned(benches: Sequence[Named], opened: Sequence[Opened], settings: RunSettings) -> SuitePlan:
    columns = [SuiteColumn(benchmark=one, settings=settings) for one in benches]
    return plan_suite(columns, [SuiteRow(checkpoint=one.factory) for one in opened], device="cpu")


def test_one_opened_checkpoint_makes_the_images_of_all_its_benchmarks(tmp_path: Path) -> None:
    opened = Opened("a"), Opened("b")
    benches = [Named("one"), Named("two"), Named("three")]
    settings = RunSettings(out=tmp_path / "suite", limit=3, judge="scripted:", no_cache=True)
    plan = planned(benches, opened, settings)
    results = execute_suite(plan, Work())
    assert [result.failure for result in results] == [""] * 6
    for one in opened:
        assert [len(dots.made) for dots in one.every if dots.made] == [3 * 3 * 2]
    judges = {id(cell.run.judge) for cell in plan.cells if cell.run is not None}
    assert len(judges) == 1, "a budget is of the command, not of each cell"


def test_a_checkpoint_that_fails_stops_no_other_and_is_tried_again(tmp_path: Path) -> None:
    settings = RunSettings(out=tmp_path / "suite")
    bad, good = Opened("bad", fail=None), Opened("good")
    benches = [Named("one"), Named("two")]

    def outcomes() -> list[bool]:
        plan = planned(benches, [bad, good], settings)
        return [result.outcome is not None for result in execute_suite(plan, Work())]

    assert outcomes() == [False, False, True, True]
    bad.fail = frozenset()
    assert outcomes() == [True, True, True, True]


def test_a_held_checkpoint_goes_to_another_process_without_what_it_holds() -> None:
    shared = SharedCheckpoint(CheckpointFactory(name="dots", open=Dots))
    assert pickle.loads(pickle.dumps(shared)).__dict__["_held"] is None


def test_cells_that_would_share_a_folder_are_refused(tmp_path: Path) -> None:
    settings = RunSettings(out=tmp_path / "suite", label="x")
    with pytest.raises(AlphaBenchError, match="--name is for one checkpoint"):
        planned([Named("one")], [Opened("a"), Opened("b")], settings)
