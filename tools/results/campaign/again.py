"""Repeats rows of a table from scratch, in a folder of their own, and compares their numbers.

The same recipe, seed and versions on the same kind of processor give the same scores; another
processor may round otherwise. Touches nothing that is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tools.results.campaign.evidence import Evidence, KeptEvaluation, KeptTraining
from tools.results.campaign.jobs import Job, JobOutcomes, run_all_jobs
from tools.results.campaign.plan import Campaign
from tools.results.campaign.table import TableCell, evaluations_of


def repeat_rows(
    campaign: Campaign,
    cells: list[TableCell],
    scratch: Path,
    *,
    at_once: int,
    environment: Mapping[str, str],
    report: Callable[[str], None],
) -> JobOutcomes:
    """Trains and evaluates these cells in `scratch`, and reports whether they are as before."""
    evidence = replace(campaign.evidence, folder_of_tables=scratch / "evidence")
    own = replace(campaign, work=scratch / "work", evidence=evidence)
    jobs = jobs_of_cells(own, cells)
    outcome = run_all_jobs(jobs, at_once=at_once, environment=environment, report=report)
    for cell in cells:
        for line in compared_rows(campaign, own.evidence, cell):
            report(line)
    return outcome


def jobs_of_cells(campaign: Campaign, cells: list[TableCell]) -> list[Job]:
    """Of these cells, and those that make the images which they refine."""
    every, wanted = campaign.jobs(), {cell.name for cell in cells}
    chosen = {job.name for job in every if job.name.partition(":")[0] in wanted}
    chosen |= {one for job in every if job.name in chosen for one in job.needs}
    return [job for job in every if job.name in chosen]


def compared_rows(campaign: Campaign, other: Evidence, cell: TableCell) -> list[str]:
    """A line for the training and for each evaluation of a cell, kept and repeated."""
    lines = []
    if cell.seed is not None:
        one, two = campaign.evidence.training(cell), other.training(cell)
        lines.append(f"{cell.name}: {_steps_compared(one, two)}")
    for name in evaluations_of(campaign.table, cell):
        before, after = campaign.evidence.evaluation(cell, name), other.evaluation(cell, name)
        lines.append(f"{cell.name}: {name}: {_scores_compared(before, after)}")
    return lines


def _scores_compared(before: KeptEvaluation | None, after: KeptEvaluation | None) -> str:
    if before is None or after is None:
        return "not there " + ("before" if before is None else "again")
    if before.samples != after.samples or before.data_digest != after.data_digest:
        return "of other samples, not comparable"
    pairs = zip(before.scores, after.scores, strict=True)
    differing = sum(list(one) != list(two) for one, two in pairs)
    if not differing:
        return f"the same scores, {len(before.scores)} prompts"
    return f"OTHER SCORES for {differing} of {len(before.scores)} prompts{_versions(before, after)}"


def _versions(before: KeptEvaluation, after: KeptEvaluation) -> str:
    names = sorted({*before.versions, *after.versions})
    changed = [name for name in names if before.versions.get(name) != after.versions.get(name)]
    return f"; other versions of {', '.join(changed)}" if changed else ""


def _steps_compared(before: KeptTraining | None, after: KeptTraining | None) -> str:
    if before is None or after is None:
        return "no training " + ("before" if before is None else "again")
    if len(before.steps) != len(after.steps):
        return f"OTHER NUMBER of steps: {len(before.steps)} and {len(after.steps)}"
    differing = sorted(
        {
            name
            for one, two in zip(before.steps, after.steps, strict=True)
            for name in {*one, *two}
            if not name.startswith("seconds/") and one.get(name) != two.get(name)
        }
    )
    if not differing:
        return f"the same metrics in {len(before.steps)} steps"
    return f"OTHER metrics: {', '.join(differing[:5])}{', ...' * (len(differing) > 5)}"
