"""A suite as markdown: the plan before its start, and the table of checkpoints by benchmarks.

Knows no benchmark's rules; an unknown number is a dash, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alphabench.reports.comparison import RunComparison, difference_verdict, signed
from alphabench.reports.markdown import NOTHING, Align, inline, interval, markdown_table, number
from alphabench.reports.run_report import coverage_words
from alphabench.runs.preview import Preview
from alphabench.runs.progress import duration
from alphabench.runs.suite import CellResult, SuiteCell

PlannedCell = tuple[SuiteCell, Preview | None]
"""A cell with what it would do; None where it cannot run."""


def plan_rows(cells: Sequence[PlannedCell]) -> list[dict[str, Any]]:
    """What each cell would do, as JSON values.

    `seconds` is for the images that are left on one device, at `seconds_per_image` as in the run
    `pace_from`; None where no run has images of the checkpoint.
    """
    paces: dict[str, dict[str, Any]] = {}
    for cell, shown in cells:
        if shown is not None and "seconds_per_image" in shown.numbers:
            paces.setdefault(cell.checkpoint, _pace(shown.numbers))
    rows = []
    for cell, shown in cells:
        row: dict[str, Any] = {"checkpoint": cell.checkpoint, "benchmark": cell.benchmark}
        if shown is None:
            rows.append({**row, "evaluator": cell.evaluator or None, "missing": [cell.refusal]})
            continue
        left = shown.numbers["images"] - shown.numbers["images_existing"]
        pace = _pace(shown.numbers) or paces.get(cell.checkpoint, {})
        known = {
            key: shown.numbers[key]
            for key in ("judge_calls", "judge_most_tokens", "judge_most_usd")
            if key in shown.numbers
        }
        rows.append(
            {
                **row,
                "evaluator": shown.facts["evaluator"],
                "folder": shown.facts["run folder"],
                "images": shown.numbers["images"],
                "images_existing": shown.numbers["images_existing"],
                "seconds": 0.0 if not left else pace["seconds_per_image"] * left if pace else None,
                **(pace if left else {}),
                **known,
                "missing": list(shown.missing),
            }
        )
    return rows


def _pace(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {key: numbers[key] for key in ("seconds_per_image", "pace_from") if key in numbers}


def plan_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The plan of a suite from `plan_rows`, with a line of sums and what is in the way."""
    header = ["checkpoint", "benchmark", "evaluator", "images", "to generate", "judge calls"]
    header += ["tokens at most", "US dollars at most", "time to generate"]
    lines = [
        [inline(str(row[key] or NOTHING), 60) for key in ("checkpoint", "benchmark", "evaluator")]
        + _amounts(row)
        for row in rows
    ]
    # One folder may stand in several lines, for several evaluators: its images count once.
    once = {row.get("folder", number): row for number, row in enumerate(rows) if "images" in row}
    total = {
        **{key: _sum(once.values(), key) for key in ("images", "images_existing", "seconds")},
        "seconds_known": sum(row["seconds"] or 0.0 for row in once.values()),
        **{
            key: _sum([row for row in rows if key in row], key)
            for key in ("judge_calls", "judge_most_tokens", "judge_most_usd")
            if any(key in row for row in rows)
        },
    }
    lines.append(["all", "", "", *_amounts(total)])
    align: list[Align] = ["left", "left", "left"]
    align += ["right"] * len(header[3:])
    table = markdown_table(header, lines, align)
    obstacles = [
        f"- {inline(row['benchmark'])} with {inline(row['checkpoint'])}: {inline(one, 400)}"
        for row in rows
        for one in row["missing"]
    ]
    note = (
        "Tokens and dollars are high estimates for answers that are not in the cache; time is for "
        "one device, and unknown before a checkpoint's first image."
    )
    parts = [table, "\n".join(obstacles), "\n".join(_pace_lines(rows)), note]
    return "\n\n".join(filter(None, parts))


def _pace_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where each time to generate is from."""
    lines = [
        f"- time of {inline(row['checkpoint'], 60)}: {row['seconds_per_image']:.2g} s an image as "
        f"in {inline(row['pace_from'], 200)}"
        for row in rows
        if "pace_from" in row
    ]
    return list(dict.fromkeys(lines))


def _sum(rows: Any, key: str) -> Any:
    """None where a part is not known."""
    values = [row[key] for row in rows]
    return None if any(value is None for value in values) else sum(values)


def _amounts(row: Mapping[str, Any]) -> list[str]:
    if row.get("images") is None:
        return [NOTHING] * 6
    left = row["images"] - row["images_existing"]
    dollars = row.get("judge_most_usd")
    counts = [row["images"], left, row.get("judge_calls"), row.get("judge_most_tokens")]
    return [
        *(NOTHING if count is None else f"{count:,}" for count in counts),
        NOTHING if dollars is None else f"{dollars:,.2f}",
        _time(row),
    ]


def _time(row: Mapping[str, Any]) -> str:
    """To generate; of a sum, what is known of it at least."""
    if row["seconds"] is not None:
        return duration(row["seconds"])
    known = row.get("seconds_known", 0.0)
    return f"over {duration(known)}" if known else "unknown"


def results_markdown(results: Sequence[CellResult]) -> str:
    """The table of checkpoints by benchmarks: headline, 95% interval, and what is missing."""
    columns = _columns([one.cell for one in results])
    rows = []
    for checkpoint in dict.fromkeys(result.cell.checkpoint for result in results):
        own = [one for one in results if one.cell.checkpoint == checkpoint]
        rows.append([inline(checkpoint, 60), *(_score(own, *column) for column in columns)])
    header = ["checkpoint", *(inline(" ".join(column)) for column in columns)]
    align: list[Align] = ["left"]
    align += ["right"] * len(columns)
    table = markdown_table(header, rows, align)
    failed = [
        f"- {inline(one.cell.benchmark)} with {inline(one.cell.checkpoint)} failed: "
        f"{inline(one.failure, 400)}"
        for one in results
        if one.outcome is None
    ]
    note = "Headline with its 95% interval."
    return "\n\n".join([table, note, *(["\n".join(failed)] if failed else [])])


def _columns(cells: Sequence[SuiteCell]) -> list[tuple[str, str]]:
    """Benchmark and evaluator; a cell that was refused before it had one makes none of its own."""
    chosen = {cell.benchmark for cell in cells if cell.evaluator}
    pairs = [(cell.benchmark, cell.evaluator) for cell in cells]
    return list(dict.fromkeys(pair for pair in pairs if pair[1] or pair[0] not in chosen))


def _score(results: Sequence[CellResult], benchmark: str, evaluator: str) -> str:
    """What a checkpoint has in a column."""
    result = next(
        (
            one
            for one in results
            if one.cell.benchmark == benchmark and one.cell.evaluator in ("", evaluator)
        ),
        None,
    )
    if result is None:
        return NOTHING
    if result.outcome is None:
        return "failed"
    report = result.outcome.report
    score = f"{number(report.headline.value)} {interval(report.headline)}"
    if report.withheld or report.headline.value is None:
        score = f"{NOTHING} no headline"
    if report.coverage < 1:
        return f"{score} PARTIAL, coverage {coverage_words(report)}"
    return f"{score} PARTIAL" if report.partial else score


def differences_markdown(comparisons: Sequence[RunComparison]) -> str:
    """One line for each paired comparison."""
    rows = [
        [
            inline(one.benchmark),
            inline(one.candidate, 60),
            inline(one.baseline, 60),
            signed(one.headline.value),
            interval(one.headline),
            str(one.headline.n_samples),
            difference_verdict(one.headline),
        ]
        for one in comparisons
    ]
    header = ["benchmark", "checkpoint", "against", "difference", "95% interval", "pairs", ""]
    align: list[Align] = ["left", "left", "left", "right", "right", "right", "left"]
    return markdown_table(header, rows, align)
