"""Several benchmarks with several checkpoints in one command: each pair is an ordinary run.

All pairs are planned, and remote judges checked, before the first image. Then one checkpoint after
the other makes the images of all its benchmarks, for which its weights are loaded once, and is
released before evaluators are loaded that need its device. A remote judge that has not answered yet
is waited for at the end only. A run that fails does not stop the others. The same command again
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
from alphabench.questions import remote_judge_of
from alphabench.runs import factories
from alphabench.runs.device_use import give_back_memory
from alphabench.runs.engines import JobFailure
from alphabench.runs.overlapped_scoring import JudgeTurns
from alphabench.runs.plan import RUNS, CheckpointFactory, open_evaluation
from alphabench.runs.prepared_run import PreparedRun, RunSettings, prepare_run
from alphabench.runs.run import BegunRun, LoadedRun, Outcome, Work

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
class SuiteColumn:
    """A benchmark with the settings of its runs."""

    benchmark: Benchmark
    settings: RunSettings
    """`out` is the folder of all run folders; of several evaluators, separated by commas, those
    count that the benchmark has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRow:
    """A checkpoint, and what tables call it."""

    checkpoint: CheckpointFactory
    label: str | None = None
    """None is its own name."""

    @property
    def title(self) -> str:
        """In tables, and unique in a suite."""
        return self.label or self.checkpoint.name


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
    columns: Sequence[SuiteColumn], rows: Sequence[SuiteRow], *, device: str
) -> SuitePlan:
    """Plan all cells. A cell that cannot run says why and leaves the others alone.

    Each judge is opened once for all cells, and benchmarks that ask none go without.

    Args:
        columns: the benchmarks.
        rows: the checkpoints.
        device: for judges and evaluators.

    Raises:
        AlphaBenchError: no cell can run; a name is given twice, no benchmark has an evaluator, or
            a budget is given for several judges.
    """
    _refuse_twice("checkpoints", [row.title for row in rows], "name each of them once")
    _refuse_twice(
        "benchmarks",
        [column.benchmark.card.id for column in columns],
        "name each of them once; `alphabench score RUN` scores a run in another way, too",
    )
    if len(rows) > 1 and any(column.settings.label is not None for column in columns):
        raise AlphaBenchError(
            "--name is for one checkpoint, and several are given", hint="leave out --name"
        )
    factories.check_writable(columns[0].settings.out or RUNS)
    specs = _evaluators_of(columns)
    columns = _with_open_judges(columns, device)
    shared = [(row.title, SharedCheckpoint(row.checkpoint)) for row in rows]
    roots: set[Path] = set()
    cells = []
    for row, (title, checkpoint) in zip(rows, shared, strict=True):
        factory = replace(row.checkpoint, open=checkpoint.open)
        for column, evaluators in zip(columns, specs, strict=True):
            settings = replace(column.settings, label=row.label or column.settings.label)
            planned = [
                _plan_cell(title, column.benchmark, factory, settings, one, device, roots)
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


def _refuse_twice(what: str, names: Sequence[str], hint: str) -> None:
    if twice := [name for name in names if names.count(name) > 1]:
        raise AlphaBenchError(f"the list of {what} names {twice[0]!r} twice", hint=hint)


def _evaluators_of(columns: Sequence[SuiteColumn]) -> list[list[str | None]]:
    """For each benchmark those of its named evaluators that it has; None is its default.

    Raises:
        AlphaBenchError: no benchmark for which an evaluator is named has it.
    """
    together: dict[str | None, dict[str, None]] = {}
    for column in columns:
        known = together.setdefault(column.settings.evaluator, {})
        known.update(dict.fromkeys(column.benchmark.card.evaluators))
    named = {
        spec: factories.evaluator_specs(spec, tuple(known)) for spec, known in together.items()
    }
    for spec, known in together.items():
        for one in named[spec]:
            if one is not None and one.partition("?")[0] not in known:
                raise AlphaBenchError(
                    f"none of these benchmarks has an evaluator {one!r}",
                    hint=f"they have {', '.join(known)}",
                )
    return [
        [
            one
            for one in named[column.settings.evaluator]
            if one is not None and one.partition("?")[0] in column.benchmark.card.evaluators
        ]
        or [None]
        for column in columns
    ]


def _with_open_judges(columns: Sequence[SuiteColumn], device: str) -> list[SuiteColumn]:
    """The columns with their judges, each of which is opened once.

    Raises:
        AlphaBenchError: a judge cannot be opened, or a budget is given for none or several.
    """
    first = {one.settings.judge: one.settings for one in reversed(columns)}
    if len(first) > 1:
        first.pop(None, None)
    budget = columns[0].settings.budget
    if budget is not None and len(first) > 1:
        raise AlphaBenchError(
            f"--budget is for one judge, and this suite has {len(first)}",
            hint="give each a limit of its own, in its name: ?budget_usd=5",
        )
    judges = {judge: settings.open_judge(judge, device=device) for judge, settings in first.items()}
    return [
        replace(
            one,
            settings=replace(
                one.settings,
                shared_judge=judges.get(one.settings.judge),
                budget=None if one.settings.judge is None else budget,
            ),
        )
        for one in columns
    ]


def _plan_cell(
    title: str,
    benchmark: Benchmark,
    checkpoint: CheckpointFactory,
    settings: RunSettings,
    evaluator: str | None,
    device: str,
    taken: set[Path],
) -> SuiteCell:
    cell = SuiteCell(checkpoint=title, benchmark=benchmark.card.id, evaluator=evaluator or "")
    try:
        placed = replace(settings, evaluator=evaluator, out=None)
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
    return _SuiteExecution(plan, work).results()


class _SuiteExecution:
    """Runs the cells of a plan, once."""

    def __init__(self, plan: SuitePlan, work: Work) -> None:
        self._plan, self._work = plan, work
        self._turns = JudgeTurns()
        self._loaded: dict[int, LoadedRun] = {}
        """Cell by its number -> its run, where a remote judge was checked for it."""
        self._judged: dict[int, BegunRun] = {}
        """Those whose judge is still asked, in order."""
        self._ended: dict[int, tuple[Outcome | None, str]] = {}

    def results(self) -> list[CellResult]:
        """One for each cell, in order."""
        try:
            for number in range(len(self._plan.cells)):
                self._check_judge(number)
            for name, checkpoint in self._plan.checkpoints:
                self._run_checkpoint(name, checkpoint)
            self._finish_judged(lambda _: True)
        finally:
            for run in self._judged.values():
                if run.scoring is not None:
                    run.scoring.abandon()
            for run in self._judged.values():
                run.stop()
        return [CellResult(cell, *self._ended[n]) for n, cell in enumerate(self._plan.cells)]

    def _check_judge(self, number: int) -> None:
        cell = self._plan.cells[number]
        if cell.run is None:
            self._ended[number] = (None, cell.refusal)
            return
        run, work = cell.run, self._work_of(number)

        def load() -> LoadedRun | None:
            device = work.devices[0]
            if remote_judge_of(run.evaluation(work.devices).open(device=device)) is None:
                return None  # evaluators that need the device are loaded in their turn
            return run.load(work, turns=self._turns)

        loaded, failure = _attempt(cell, work, load)
        if failure:
            self._ended[number] = (None, failure)
        elif loaded is not None:
            self._loaded[number] = loaded

    def _run_checkpoint(self, name: str, checkpoint: SharedCheckpoint) -> None:
        begun: dict[int, BegunRun] = {}
        with checkpoint.held():
            for number, cell in enumerate(self._plan.cells):
                if cell.checkpoint != name or number in self._ended:
                    continue
                if (run := self._begin(number, cell)) is not None:
                    waits = run.scoring is not None
                    (self._judged if waits else begun)[number] = run
                self._finish_judged(_is_judged)
        give_back_memory(self._work.devices[0])
        for number, run in begun.items():
            self._finish(number, run)

    def _begin(self, number: int, cell: SuiteCell) -> BegunRun | None:
        run, work = cell.run, self._work_of(number)
        assert run is not None
        root = run.plan.root
        # The judge's thread holds the lock of its folder, which another evaluator's run may share.
        self._finish_judged(lambda judged: judged.folder.root == root)

        def begin() -> BegunRun:
            loaded = self._loaded.pop(number, None) or run.load(work, turns=self._turns)
            return loaded.begin(work)

        begun, failure = _attempt(cell, work, begin)
        if begun is None:
            self._ended[number] = (None, failure)
        return begun

    def _finish_judged(self, is_due: Callable[[BegunRun], bool]) -> None:
        for number, run in list(self._judged.items()):
            if is_due(run):
                self._finish(number, run)
                del self._judged[number]

    def _finish(self, number: int, run: BegunRun) -> None:
        work = self._work_of(number)
        self._ended[number] = _attempt(self._plan.cells[number], work, partial(run.finish, work))

    def _work_of(self, number: int) -> Work:
        cells = self._plan.cells
        return replace(self._work, title=f"{cells[number].benchmark} ({number + 1}/{len(cells)})")


def _is_judged(run: BegunRun) -> bool:
    return run.scoring is not None and run.scoring.is_complete


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
