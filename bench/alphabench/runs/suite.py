"""Several benchmarks with several checkpoints in one command: each pair is an ordinary run.

All pairs are planned before the first image. Then one checkpoint after the other makes the images
of all its benchmarks, for which its weights are loaded once, and is released before evaluators are
loaded that need its device. A run that fails does not stop the others. The same command again
completes all of them. Knows no benchmark's rules and prints nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Benchmark, Generator
from alphabench.runs import factories
from alphabench.runs.device_use import give_back_memory
from alphabench.runs.engines import JobFailure
from alphabench.runs.plan import RUNS, CheckpointFactory, open_evaluation
from alphabench.runs.prepared_run import PreparedRun, RunSettings, prepare_run
from alphabench.runs.run import BegunRun, Outcome, Work

T = TypeVar("T")


class SharedCheckpoint:
    """Opens a checkpoint on each device once, while it is held; pickled, it holds nothing."""

    def __init__(self, checkpoint: CheckpointFactory) -> None:
        self._open_anew = checkpoint.open
        self._held: dict[str, Generator] | None = None

    def open(self, *, device: str) -> Generator:
        """The checkpoint, in this process the same for all runs while it is held."""
        if self._held is None:
            return self._open_anew(device=device)
        if device not in self._held:
            self._held[device] = self._open_anew(device=device)
        return self._held[device]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within, what is opened is loaded once."""
        self._held = {}
        try:
            yield
        finally:
            self._held = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_open_anew": self._open_anew, "_held": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteCell:
    """One benchmark with one checkpoint and one evaluator."""

    checkpoint: str
    benchmark: str
    """Its id."""
    evaluator: str
    """Its spec; empty where the cell is refused before one was chosen."""
    run: PreparedRun | None = None
    refusal: str = ""
    """Why it cannot run; empty where it can."""


class CellResult(NamedTuple):
    """What came of a cell: an outcome, or why there is none."""

    cell: SuiteCell
    outcome: Outcome | None
    failure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitePlan:
    """All cells, one checkpoint after the other."""

    cells: Sequence[SuiteCell]
    checkpoints: Sequence[tuple[str, SharedCheckpoint]]


def plan_suite(
    benchmarks: Sequence[Benchmark],
    checkpoints: Sequence[CheckpointFactory],
    settings: RunSettings,
    *,
    device: str,
) -> SuitePlan:
    """Plan all cells. A cell that cannot run says why and leaves the others alone.

    Args:
        benchmarks: the columns.
        checkpoints: the rows.
        settings: of all cells. `out` is the folder of all run folders; several evaluators are
            separated by commas, and each benchmark takes those that it knows; the judge is opened
            once, and benchmarks that ask none go without.
        device: for judge and evaluators.

    Raises:
        AlphaBenchError: no cell can run; a name is given twice, or no benchmark has an evaluator.
    """
    _refuse_twice("--ckpt", [one.name for one in checkpoints])
    _refuse_twice("the list of benchmarks", [one.card.id for one in benchmarks])
    if len(checkpoints) > 1 and settings.label is not None:
        raise AlphaBenchError(
            "--name is for one checkpoint, and several are given", hint="leave out --name"
        )
    factories.check_writable(settings.out or RUNS)
    specs = _evaluators_of(benchmarks, settings.evaluator)
    judge = settings.open_judge(settings.judge, device=device)
    settings = replace(settings, shared_judge=judge)
    shared = [(one.name, SharedCheckpoint(one)) for one in checkpoints]
    roots: set[Path] = set()
    cells = []
    for name, checkpoint in shared:
        factory = CheckpointFactory(name=name, open=checkpoint.open)
        for benchmark, evaluators in zip(benchmarks, specs, strict=True):
            planned = [
                _plan_cell(benchmark, factory, replace(settings, evaluator=one), device, roots)
                for one in evaluators
            ]
            roots |= {cell.run.plan.root for cell in planned if cell.run is not None}
            cells += planned
    if all(cell.run is None for cell in cells):
        raise AlphaBenchError(
            f"none of these {len(cells)} runs is possible: {cells[0].refusal}",
            hint="correct that and give the same command again",
        )
    return SuitePlan(cells=cells, checkpoints=shared)


def _refuse_twice(where: str, names: Sequence[str]) -> None:
    if twice := [name for name in names if names.count(name) > 1]:
        raise AlphaBenchError(f"{where} names {twice[0]!r} twice", hint="name each of them once")


def _evaluators_of(benchmarks: Sequence[Benchmark], spec: str | None) -> list[list[str | None]]:
    """For each benchmark those of the named evaluators that it has; None is its default."""
    known = [one.card.evaluators for one in benchmarks]
    together = tuple(name for names in known for name in names)
    named = factories.evaluator_specs(spec, together)
    for one in named:
        if one is not None and one.partition("?")[0] not in together:
            raise AlphaBenchError(
                f"none of these benchmarks has an evaluator {one!r}",
                hint=f"they have {', '.join(dict.fromkeys(together))}",
            )
    return [
        [one for one in named if one is not None and one.partition("?")[0] in names] or [None]
        for names in known
    ]


def _plan_cell(
    benchmark: Benchmark,
    checkpoint: CheckpointFactory,
    settings: RunSettings,
    device: str,
    taken: set[Path],
) -> SuiteCell:
    cell = SuiteCell(
        checkpoint=checkpoint.name, benchmark=benchmark.card.id, evaluator=settings.evaluator or ""
    )
    try:
        placed = replace(settings, out=None)
        run = prepare_run(benchmark, checkpoint, placed, device=device, dry=True)
        if settings.out is not None:
            root = settings.out / run.plan.root.relative_to(RUNS)
            run = replace(run, plan=replace(run.plan, root=root))
        if run.plan.root in taken:
            raise AlphaBenchError(
                f"another of these runs has the folder {str(run.plan.root)!r}",
                hint="give another command for it, with --out",
            )
        run = _with_judge_if_asked(run, device)
    except AlphaBenchError as error:
        return replace(cell, refusal=f"{error.message}; {error.hint}")
    return replace(cell, run=run, evaluator=run.evaluator)


def _with_judge_if_asked(run: PreparedRun, device: str) -> PreparedRun:
    """The run, without the judge where its evaluator asks none.

    Raises:
        AlphaBenchError: the evaluator cannot be opened.
    """

    def check(one: PreparedRun) -> PreparedRun:
        open_evaluation(one.plan.benchmark, one.evaluator, judge=one.judge, device=device)
        return one

    try:
        return check(run)
    except AlphaBenchError:
        if run.judge is None:
            raise
        with contextlib.suppress(AlphaBenchError):
            return check(replace(run, judge=None, moves_judge=False))
        raise


def execute_suite(plan: SuitePlan, work: Work) -> list[CellResult]:
    """Run all cells; what fails in one is in its result.

    Args:
        plan: of all cells.
        work: devices and progress. With workers in processes of their own, each of them loads the
            checkpoint for each benchmark.

    Returns:
        One result for each cell, in order.
    """
    results: list[CellResult] = []
    for name, checkpoint in plan.checkpoints:
        cells = [cell for cell in plan.cells if cell.checkpoint == name]
        with checkpoint.held():
            begun = [_attempt(cell, work, partial(_begin, cell, work)) for cell in cells]
        give_back_memory(work.devices[0])
        for cell, (run, failure) in zip(cells, begun, strict=True):
            ended = (
                (None, failure) if run is None else _attempt(cell, work, partial(run.finish, work))
            )
            results.append(CellResult(cell, *ended))
    return results


def _begin(cell: SuiteCell, work: Work) -> BegunRun:
    if cell.run is None:
        raise AlphaBenchError(cell.refusal, hint="the other runs go on")
    return cell.run.begin(work)


def _attempt(cell: SuiteCell, work: Work, step: Callable[[], T]) -> tuple[T | None, str]:
    """What the step gives; or None, and why it failed."""
    try:
        return step(), ""
    except AlphaBenchError as error:
        failure = cell.refusal or f"{error.message}; {error.hint}"
    except Exception as error:  # noqa: BLE001 - the boundary: one cell's fault is not the others'
        failure = JobFailure.of(error).reason
    if not cell.refusal:  # those stand in the plan
        work.progress.note(f"{cell.benchmark} with {cell.checkpoint} failed: {failure}")
    return None, failure
