"""`alphabench run` with several benchmarks or checkpoints: plan, runs, table and comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from alphabench.cli.printing import print_json, print_markdown
from alphabench.core.errors import AlphaBenchError
from alphabench.core.terminal import echo, warn

if TYPE_CHECKING:
    from alphabench.interfaces import Benchmark
    from alphabench.reports.comparison import RunComparison
    from alphabench.runs.plan import CheckpointFactory
    from alphabench.runs.prepared_run import RunSettings
    from alphabench.runs.run import Work
    from alphabench.runs.suite import CellResult


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


class Suite(NamedTuple):
    """What is run: all benchmarks with all checkpoints."""

    benchmarks: Sequence[Benchmark]
    checkpoints: Sequence[CheckpointFactory]


def run_suite(
    suite: Suite, settings: RunSettings, work: Work, *, dry_run: bool, as_json: bool
) -> None:
    """Show the plan, run all of it, and print the table and the paired comparisons.

    Raises:
        AlphaBenchError: nothing of it can run.
        typer.Exit: with 1 where a cell failed or lacks a verdict.
    """
    from alphabench.reports.suite_report import plan_markdown, plan_rows, results_markdown
    from alphabench.runs.preview import preview
    from alphabench.runs.suite import execute_suite, plan_suite

    device = work.devices[0]
    plan = plan_suite(suite.benchmarks, suite.checkpoints, settings, device=device)
    shown = [
        (
            cell,
            None
            if cell.run is None
            else preview(cell.run.plan, cell.evaluator, judge=cell.run.judge, device=device),
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
        _print_comparisons(comparisons, whole=len(suite.benchmarks) == 1)
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
    from alphabench.runs.judge_usage import usage_words
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
    usages = [one.usage for one in outcomes if one.usage is not None and one.usage.replies]
    if usages:
        echo(f"judge:   {usage_words(max(usages, key=lambda one: one.replies))} in this command")


def _result_json(result: CellResult) -> dict[str, Any]:
    from alphabench.reports.outcome_json import outcome_to_json

    if result.outcome is not None:
        return outcome_to_json(result.outcome)
    cell = result.cell
    return {"checkpoint": cell.checkpoint, "benchmark": cell.benchmark, "failure": result.failure}
