"""`alphabench run` with several benchmarks or checkpoints: plan, runs, table and comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from alphabench.cli.printing import print_json, print_markdown
from alphabench.core.errors import AlphaBenchError
from alphabench.core.terminal import echo, warn

if TYPE_CHECKING:
    from alphabench.questions import JudgeUsage
    from alphabench.reports.comparison import RunComparison
    from alphabench.runs.prepared_run import RunSettings
    from alphabench.runs.run import Work
    from alphabench.runs.suite import CellResult, SuiteRow
    from alphabench.runs.suite_file import Suite
    from alphabench.types import ProtocolName


def split_benchmarks(text: str) -> list[str]:
    """The benchmarks that an argument names, separated by commas; a file may have some in its name.

    Raises:
        AlphaBenchError: one of them is empty.
    """
    if text.startswith("file:") and Path(text.removeprefix("file:")).exists():
        return [text]
    names = [name.strip() for name in text.split(",")]
    if len(names) > 1 and not all(names):
        raise AlphaBenchError(
            f"the list of benchmarks {text!r} has an empty name",
            hint="write the names with a comma between them: geneval,dpg,wise",
        )
    return names


def checkpoint_rows(
    specs: Sequence[str] | None,
    settings: list[str] | None,
    *,
    layout: str | None,
    lora: str | None,
    think: bool,
) -> list[SuiteRow]:
    """The checkpoints of the command line, all with its settings.

    Raises:
        AlphaBenchError: there is no such checkpoint, or a setting that it does not have.
    """
    from alphabench.runs import factories
    from alphabench.runs.suite import SuiteRow

    return [
        SuiteRow(
            checkpoint=factories.open_checkpoint_factory(
                spec, settings, layout=layout, lora=lora, think=think
            )
        )
        for spec in specs or ()
    ]


def named_suite(
    names: str,
    settings: RunSettings,
    rows: Sequence[SuiteRow],
    *,
    protocol: ProtocolName,
    prompts: Path | None,
) -> Suite:
    """The suite of the command line: the benchmarks that an argument names, all with all rows.

    Raises:
        AlphaBenchError: there is no such benchmark, or no checkpoint is named.
    """
    from alphabench.runs import factories
    from alphabench.runs.suite import SuiteColumn
    from alphabench.runs.suite_file import Suite

    if not rows:
        raise AlphaBenchError(
            "no checkpoint is named",
            hint="add --ckpt CKPT, such as --ckpt nano; see `alphabench list checkpoints`",
        )
    return Suite(
        [
            SuiteColumn(
                benchmark=factories.open_named_benchmark(one, protocol, prompts), settings=settings
            )
            for one in split_benchmarks(names)
        ],
        rows,
    )


def suite_of_file(
    name: str,
    given: RunSettings,
    rows: Sequence[SuiteRow],
    *,
    protocol: ProtocolName | None,
    seed: int | None,
    refused: Mapping[str, object],
) -> Suite:
    """The suite of a file, with what the command line gives.

    Args:
        name: of the file.
        given: options of the command line.
        rows: its checkpoints; none where it names none.
        protocol: of the command line.
        seed: of the command line.
        refused: options of the command line that are about its own benchmark or checkpoints ->
            their values, for those that the file names instead.

    Raises:
        AlphaBenchError: something in the file is wrong, or an option belongs into it.
    """
    from alphabench.runs.suite_file import open_suite, read_suite_file

    if named := [option for option, value in refused.items() if value]:
        raise AlphaBenchError(
            f"{named[0]} does not say which part of {name!r} it is for",
            hint="write it in the file, where it belongs; see docs/command_line.md",
        )
    definition = read_suite_file(Path(name).expanduser())
    return open_suite(definition, given, rows=rows, protocol=protocol, seed=seed)


def run_suite(suite: Suite, work: Work, *, dry_run: bool, as_json: bool) -> None:
    """Show the plan, run all of it, and print the table and the paired comparisons.

    Raises:
        AlphaBenchError: nothing of it can run.
        typer.Exit: with 1 where a cell failed or lacks a verdict.
    """
    from alphabench.reports.suite_report import plan_markdown, plan_rows, results_markdown
    from alphabench.runs.earlier_runs import EarlierRuns
    from alphabench.runs.plan import RUNS
    from alphabench.runs.preview import preview
    from alphabench.runs.suite import execute_suite, plan_suite

    device = work.devices[0]
    plan = plan_suite(suite.columns, suite.rows, device=device)
    earlier = EarlierRuns([suite.columns[0].settings.out or RUNS, RUNS])
    shown = [
        (
            cell,
            None
            if cell.run is None
            else preview(
                cell.run.plan,
                cell.evaluator,
                judge=cell.run.judge,
                device=device,
                earlier=earlier,
            ),
        )
        for cell in plan.cells
    ]
    rows = plan_rows(shown)
    if not as_json:
        print_markdown(plan_markdown(rows) + "\n")
    if dry_run:
        if as_json:
            print_json({"plan": rows})
        if any(row["missing"] for row in rows):
            raise typer.Exit(1)
        return
    results = execute_suite(plan, work)
    comparisons = _comparisons(results)
    if as_json:
        print_json(
            {
                "plan": rows,
                "results": [_result_json(one) for one in results],
                "comparisons": [one.to_json() for one in comparisons],
            }
        )
    else:
        print_markdown(results_markdown(results))
        _print_places(results)
        _print_comparisons(comparisons, whole=len(suite.columns) == 1)
    if any(one.outcome is None or one.outcome.incomplete for one in results):
        raise typer.Exit(1)


def _comparisons(results: Sequence[CellResult]) -> list[RunComparison]:
    """Each further checkpoint against the first one, where both have a result."""
    from alphabench.analysis import compare

    found = []
    first = {
        (one.cell.benchmark, one.cell.evaluator): one
        for one in reversed(results)
        if one.outcome is not None
    }
    for one in results:
        base = first.get((one.cell.benchmark, one.cell.evaluator))
        if base is None or base is one or base.outcome is None or one.outcome is None:
            continue
        try:
            found.append(
                compare(
                    base.outcome.folder.root,
                    one.outcome.folder.root,
                    evaluation=one.outcome.evaluation,
                    benchmark=one.outcome.benchmark,
                )
            )
        except AlphaBenchError as error:
            warn(
                f"{one.cell.benchmark}: {one.cell.checkpoint} is not compared with "
                f"{base.cell.checkpoint}: {error.message}"
            )
    return found


def _print_comparisons(comparisons: Sequence[RunComparison], *, whole: bool) -> None:
    from alphabench.reports.suite_report import differences_markdown

    if not comparisons:
        return
    echo("")
    if whole:
        for one in comparisons:
            print_markdown(one.to_markdown())
    else:
        print_markdown(differences_markdown(comparisons))


def _print_places(results: Sequence[CellResult]) -> None:
    """Where each report is, why verdicts have no value, and what the judge cost."""
    from alphabench.runs.run_pages import REPORT_FILE

    outcomes = [one.outcome for one in results if one.outcome is not None]
    echo("")
    for outcome in outcomes:
        if outcome.unwritten:
            warn(f"the report was not saved: {outcome.unwritten}")
        for reason in outcome.reasons:
            echo(f"unscored: {reason} ({outcome.folder.root})", err=True)
        if REPORT_FILE in outcome.pages:
            echo(f"report:  {outcome.pages[REPORT_FILE]}")
    for line in _usages(results):
        echo(f"judge:   {line} in this command")


def _usages(results: Sequence[CellResult]) -> list[str]:
    """What each judge was asked; the cells that share one have its sum so far."""
    from alphabench.questions import remote_judge_of
    from alphabench.runs.judge_usage import usage_words

    most: dict[int, tuple[str, JudgeUsage]] = {}
    for cell, outcome, _ in results:
        judge = None if cell.run is None else remote_judge_of(cell.run.judge)
        usage = None if outcome is None else outcome.usage
        if judge is None or usage is None or not usage.replies:
            continue
        _, known = most.get(id(judge), ("", usage))
        most[id(judge)] = (judge.address, max(known, usage, key=lambda one: one.replies))
    named = len(most) > 1
    return [
        f"{usage_words(usage)}{f' by {address}' if named else ''}"
        for address, usage in most.values()
    ]


def _result_json(result: CellResult) -> dict[str, Any]:
    from alphabench.reports.outcome_json import outcome_to_json

    if result.outcome is not None:
        return outcome_to_json(result.outcome)
    cell = result.cell
    return {"checkpoint": cell.checkpoint, "benchmark": cell.benchmark, "failure": result.failure}
