"""Suites of runs: what is shared between cells, and what is not."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from PIL.Image import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.questions import Question
from alphabench.runs.plan import CheckpointFactory
from alphabench.runs.prepared_run import RunSettings
from alphabench.runs.run import Work
from alphabench.runs.suite import (
    CellResult,
    SharedCheckpoint,
    SuiteColumn,
    SuitePlan,
    SuiteRow,
    execute_suite,
    plan_suite,
)
from alphabench.types import Card, ImageRequest, NotGenerated
from tests.support.fakes import Dots, Reds
from tests.support.remote_judge import SOON, Remote, about, rows, scored


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
        self.kind: type[Dots] = Dots
        self.every: list[Dots] = []

    def __call__(self, *, device: str) -> Dots:
        self.every.append(self.kind(name=self.name, fail=self.fail))
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


@dataclass
class Judging:
    """A benchmark whose images a remote judge sees."""

    name: str
    judge: Remote

    def bench(self) -> Named:
        bench = Named(self.name)
        bench.examiner = JudgeEvaluator(judge=self.judge, questions_about=about, score=scored)
        return bench


def test_the_next_images_are_generated_while_the_judge_sees_the_last_ones(tmp_path: Path) -> None:
    """The judge answers nothing about the first benchmark before the last one is generated."""
    opened = Opened("a"), Opened("b")
    all_made = threading.Event()

    def hold(question: Question) -> None:
        assert all_made.wait(SOON)

    judge = Remote(before=hold)
    benches = [Judging(name, judge).bench() for name in ("one", "two")]

    class Telling(Dots):
        def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
            images = super().generate(requests)
            if sum(len(dots.made) for one in opened for dots in one.every) == 2 * 2 * 24:
                all_made.set()
            return images

    for one in opened:
        one.kind = Telling
    suite = execute_suite(planned(benches, opened, RunSettings(out=tmp_path / "suite")), Work())
    assert [result.failure for result in suite] == [""] * 4
    assert len(judge.asked) == 4 * 24
    alone = [
        execute_suite(planned([bench], [one], RunSettings(out=tmp_path / "alone")), Work())[0]
        for one in (Opened("a"), Opened("b"))
        for bench in (Judging(name, Remote()).bench() for name in ("one", "two"))
    ]
    for together, single in zip(suite, alone, strict=True):
        assert together.outcome is not None
        assert single.outcome is not None
        assert together.outcome.report == single.outcome.report
        assert rows(together.outcome) == rows(single.outcome)


def test_one_run_at_a_time_asks_a_judge(tmp_path: Path) -> None:
    inside, most = [0], [0]

    def count(question: Question) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.001)
        inside[0] -= 1

    judge = Remote(before=count)
    benches = [Judging(name, judge).bench() for name in ("one", "two", "three")]
    settings = RunSettings(out=tmp_path / "suite")
    results = execute_suite(planned(benches, [Opened("a")], settings), Work())
    assert [result.failure for result in results] == [""] * 3
    assert most == [1]


def test_a_judge_that_fails_in_one_run_is_asked_again_at_the_end(tmp_path: Path) -> None:
    failures = iter([True])

    def fails_once(question: Question) -> None:
        if next(failures, False):
            raise AlphaBenchError("away for a moment", hint="wait")

    judge = Remote(before=fails_once)
    benches = [Judging(name, judge).bench() for name in ("one", "two")]
    opened = Opened("a")
    results = execute_suite(planned(benches, [opened], RunSettings(out=tmp_path / "suite")), Work())
    assert [result.failure for result in results] == [""] * 2
    assert [result.outcome.report.coverage for result in results if result.outcome] == [1.0] * 2
    assert len(judge.asked) == 48


def test_an_interrupted_suite_leaves_no_lock_and_no_thread_and_goes_on(tmp_path: Path) -> None:
    opened, judge = Opened("a"), Remote()
    benches = [Judging(name, judge).bench() for name in ("one", "two")]

    class Interrupting(Dots):
        def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
            if len(self.made) > 24:
                raise KeyboardInterrupt
            return super().generate(requests)

    def run() -> list[CellResult]:
        settings = RunSettings(out=tmp_path / "suite")
        return execute_suite(planned(benches, [opened], settings), Work())

    opened.kind = Interrupting
    with pytest.raises(KeyboardInterrupt):
        run()
    assert [one.name for one in threading.enumerate() if one.name == "scoring"] == []
    opened.kind = Dots
    results = run()
    assert [result.failure for result in results] == [""] * 2
    assert len(set(judge.asked)) == 24
    assert len(judge.asked) in (48, 49), "one answer may have been on its way"
