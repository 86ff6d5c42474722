"""The page of a table, from kept numbers alone: question, design, tables with intervals, figures.

A dash stands where nothing was measured, never a 0. What is missing is listed. Runs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Final

from alphabench import open_benchmark
from alphabench.core.writing import replace_file
from alphabench.reports.comparison import ComparisonBasis, basis_of, is_distinguishable, signed
from alphabench.reports.markdown import NOTHING, inline, interval, markdown_table, number
from alphabench.statistics import mean_of_groups
from alphabench.types import Estimate
from alphatrainers.reporting.svg import Chart, Line, svg
from tools.results.campaign.contrast_page import aligned, contrast_sections
from tools.results.campaign.evidence import KeptEvaluation, KeptTraining
from tools.results.campaign.intervals import difference_over_seeds, mean_over_seeds
from tools.results.campaign.plan import Campaign
from tools.results.campaign.side_tables import guard_tables, measure_tables
from tools.results.campaign.table import TableCell, evaluations_of, table_cells

PAGE: Final = "README.md"
FIGURE: Final = "curves.svg"
DESIGN: Final = (
    "Brackets are 95% intervals. They are for other prompts and other seeds: both are resampled, "
    "prompts within each task, seeds as a whole, the same ones on both sides of a difference "
    "(differences are paired by prompt and by seed). Where there is one seed, or none, they are "
    "for other prompts alone."
)
_AVERAGED: Final = 3
"""Steps at the beginning and at the end of a training, in the table of metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """The kept evaluations of one name, by condition and seed."""

    by_condition: dict[str, dict[int | None, KeptEvaluation]]
    basis: ComparisonBasis

    def mean(self, condition: str, group: str | None = None) -> Estimate | None:
        """Over all its seeds; None without any."""
        runs = self.by_condition.get(condition)
        if not runs:
            return None
        formula = self.basis.formula if group is None else mean_of_groups
        clusters = [
            [c for c in one.clusters() if group in (None, c.group)] for one in runs.values()
        ]
        return mean_over_seeds(clusters, formula, self.basis.settings)

    def difference(self, ours: str, theirs: str) -> tuple[Estimate, list[int | None]] | None:
        """Over the seeds that both have, and which these are."""
        a, b = (self.by_condition.get(one, {}) for one in (ours, theirs))
        if not a or not b:
            return None
        seeds = [seed for seed in a if seed in b or None in b]
        others = [b[None]] if None in b else [b[seed] for seed in seeds]
        if None in a and None not in b:  # the other way round, and then with the other sign
            seeds, others = list(b), list(b.values())
        mine = [a[None]] * len(others) if None in a else [a[seed] for seed in seeds]
        if not mine:
            return None
        estimate = difference_over_seeds(
            [one.clusters() for one in mine],
            [one.clusters() for one in others],
            self.basis.formula,
            self.basis.settings,
        )
        return estimate, seeds

    @property
    def groups(self) -> list[str]:
        kept = [one for runs in self.by_condition.values() for one in runs.values()]
        return list(dict.fromkeys(group for one in kept for _, group in one.samples))


def write_campaign_page(campaign: Campaign) -> Path:
    """Writes the page and its figure into the folder of the kept numbers.

    Returns:
        The page.
    """
    root, table = campaign.evidence.root, campaign.table
    parts = [f"# {table.title}", f"**Question.** {table.question.strip()}"]
    if table.design:
        parts.append(f"**Design.** {table.design.strip()}")
    parts += [DESIGN, "## Conditions", _conditions_table(campaign)]
    every = _scored(campaign)
    for name, scored in every.items():
        plan = table.evaluations[name]
        weights = f"weights `{plan.weights}`" + (f", {' '.join(plan.options)}" * bool(plan.options))
        weights += f", of the images of {plan.initial}" * bool(plan.initial)
        own = [f"{n}: `{c.weights}`" for n, c in table.conditions.items() if c.weights]
        weights += f" ({', '.join(own)})" * bool(own)
        parts += [f"## {name}: {plan.benchmark}, {weights}", _score_table(campaign, scored)]
        if differences := _difference_table(campaign, scored):
            parts += ["Differences, paired by prompt and by seed:", differences]
        parts += ["By task:", _task_table(campaign, scored)]
        parts += measure_tables(table, scored.by_condition)
    parts += contrast_sections(
        table,
        {name: scored.by_condition for name, scored in every.items()},
        {name: scored.basis for name, scored in every.items()},
    )
    trainings = _trainings(campaign)
    if trainings:
        parts += [
            "## Trainings",
            f"Means over seeds; the first and the last {_AVERAGED} steps in which it was measured, "
            "one number where there are no more.",
            _metrics_table(campaign, trainings),
            f"![metrics of training steps]({FIGURE})",
            *guard_tables(trainings),
        ]
        replace_file(root / FIGURE, _figure(campaign, trainings))
    if table.meaning:
        parts += ["## What it means", table.meaning.strip()]
    if gaps := _gaps(campaign):
        parts += ["## What is missing", "\n".join(f"- {gap}" for gap in gaps)]
    parts += ["## Again", _commands(campaign)]
    page = root / PAGE
    replace_file(page, "\n\n".join(parts) + "\n")
    return page


def _scored(campaign: Campaign) -> dict[str, _Scored]:
    """By evaluation, those of which something is kept."""
    found = {}
    for name in campaign.table.evaluations:
        by_condition: dict[str, dict[int | None, KeptEvaluation]] = {}
        kept = None
        for cell in table_cells(campaign.table):
            if name not in evaluations_of(campaign.table, cell):
                continue
            if campaign.evaluation_state(cell, name) == "kept":
                kept = campaign.evidence.evaluation(cell, name)
                assert kept is not None
                by_condition.setdefault(cell.condition, {})[cell.seed] = kept
        if kept is not None:
            basis = basis_of(open_benchmark(kept.benchmark, data=campaign.data))
            found[name] = _Scored(by_condition=by_condition, basis=basis)
    return found


def _trainings(campaign: Campaign) -> dict[str, list[KeptTraining]]:
    """By condition, those that are kept."""
    found: dict[str, list[KeptTraining]] = {}
    for cell in table_cells(campaign.table):
        if cell.seed is not None and campaign.training_state(cell) == "kept":
            kept = campaign.evidence.training(cell)
            assert kept is not None
            found.setdefault(cell.condition, []).append(kept)
    return found


def _conditions_table(campaign: Campaign) -> str:
    table = campaign.table
    rows = []
    for name, one in table.conditions.items():
        changed = ", ".join(f"`{inline(each)}`" for each in one.overrides)
        recipe = inline(one.recipe) if one.trained else f"{inline(one.recipe)}, not trained"
        rows.append([name, recipe, changed or NOTHING, one.about.strip() or NOTHING])
    head = ["condition", "recipe", "overrides", ""]
    text = markdown_table(head, rows, ["left"] * 4)
    if not table.overrides:
        return text
    return f"{text}\n\nIn all trainings: {', '.join(f'`{one}`' for one in table.overrides)}."


def _score_table(campaign: Campaign, scored: _Scored) -> str:
    rows = []
    for name in campaign.table.conditions:
        runs = scored.by_condition.get(name)
        mean = scored.mean(name)
        if not runs or mean is None:
            continue
        single = [
            mean_over_seeds([one.clusters()], scored.basis.formula, scored.basis.settings).value
            for one in runs.values()
        ]
        seeds = [str(seed) for seed in runs if seed is not None]
        rows.append(
            [
                name,
                ", ".join(seeds) or NOTHING,
                f"{number(mean.value)} {interval(mean)}",
                ", ".join(map(number, single)),
                _counted(runs.values()),
            ]
        )
    head = ["condition", "seeds", "mean over seeds", "each seed", "scored"]
    return markdown_table(head, rows, aligned(head, left=2))


def _counted(runs: Iterable[KeptEvaluation]) -> str:
    """How many verdicts are scored of all, and what became of the others."""
    kept = list(runs)
    every = sum(len(row) for one in kept for row in one.scores)
    states: dict[str, int] = {}
    for state, count in (pair for one in kept for pair in one.states().items()):
        states[state] = states.get(state, 0) + count
    others = "".join(f", {count} {state}" for state, count in states.items())
    return f"{every - sum(states.values()):,} of {every:,}{others}"


def _difference_table(campaign: Campaign, scored: _Scored) -> str | None:
    rows = []
    for ours, theirs in campaign.table.comparisons:
        found = scored.difference(ours, theirs)
        if found is None:
            continue
        difference, seeds = found
        rows.append(
            [
                f"{ours} − {theirs}",
                str(len([seed for seed in seeds if seed is not None]) or NOTHING),
                str(difference.n_samples),
                f"{signed(difference.value)} {_signed_interval(difference)}",
                "yes" if is_distinguishable(difference) else "no",
            ]
        )
    head = ["difference", "seeds", "prompts", "value", "interval excludes 0"]
    return markdown_table(head, rows, aligned(head, left=1)) if rows else None


def _signed_interval(one: Estimate) -> str:
    return NOTHING if one.low is None else f"[{signed(one.low)}, {signed(one.high)}]"


def _task_table(campaign: Campaign, scored: _Scored) -> str:
    groups = scored.groups
    rows = []
    for name in campaign.table.conditions:
        means = [scored.mean(name, group) for group in groups]
        if any(means):
            cells = [
                NOTHING if one is None else f"{number(one.value)} {interval(one)}" for one in means
            ]
            rows.append([name, *cells])
    head = ["condition", *map(inline, groups)]
    return markdown_table(head, rows, aligned(head, left=1))


def _metrics_table(campaign: Campaign, trainings: dict[str, list[KeptTraining]]) -> str:
    metrics = campaign.table.metrics
    rows = []
    for name, kept in trainings.items():
        images = [one.steps[-1].get("images") for one in kept]
        minutes = [one.processor_seconds / 60 for one in kept]
        known = [one for one in minutes if math.isfinite(one)]
        rows.append(
            [
                name,
                str(len(kept)),
                str(max(len(one.steps) for one in kept)),
                ", ".join(sorted({f"{int(one):,}" for one in images if one is not None})),
                *(_first_and_last(metric, kept) for metric in metrics),
                f"{math.fsum(known) / len(known):.1f}" if known else NOTHING,
            ]
        )
    head = ["condition", "seeds", "steps", "images", *map(inline, metrics), "processor, min"]
    return markdown_table(head, rows, aligned(head, left=1))


def _first_and_last(metric: str, kept: Sequence[KeptTraining]) -> str:
    measured = [[step[metric] for step in one.steps if metric in step] for one in kept]
    measured = [values for values in measured if values]
    if not measured:
        return NOTHING
    ends = [
        [values[:_AVERAGED] for values in measured],
        [values[-_AVERAGED:] for values in measured],
    ]
    if max(map(len, measured)) <= _AVERAGED:
        ends = ends[:1]
    means = (fmean(map(fmean, end)) for end in ends)
    return " → ".join(f"{mean:.3g}" for mean in means)


def _figure(campaign: Campaign, trainings: dict[str, list[KeptTraining]]) -> str:
    """A chart for each metric: the mean over seeds, with the lowest and the highest as a band."""
    charts = []
    for metric in campaign.table.metrics:
        lines = [
            _line(name, metric, kept, colour)
            for colour, (name, kept) in enumerate(trainings.items())
        ]
        if any(line.points for line in lines):
            title = f"{metric}, mean and range over seeds"
            charts.append(Chart(title=title, x="training steps", y="", lines=lines))
    return svg(charts, columns=2)


def _line(name: str, metric: str, kept: Sequence[KeptTraining], colour: int) -> Line:
    by_step: dict[float, list[float]] = {}
    for step in (step for one in kept for step in one.steps if metric in step):
        by_step.setdefault(step["step"], []).append(step[metric])
    steps = sorted(by_step.items())
    return Line(
        name=name,
        points=[(step, math.fsum(values) / len(values)) for step, values in steps],
        band=[(step, min(values), max(values)) for step, values in steps if len(values) > 1],
        colour=colour,
    )


def _gaps(campaign: Campaign) -> list[str]:
    return [
        f"{cell.name}: {name}" + (", kept of another recipe or plan" if state == "other" else "")
        for cell in table_cells(campaign.table)
        for name, state in _states(campaign, cell)
        if state != "kept"
    ]


def _states(campaign: Campaign, cell: TableCell) -> list[tuple[str, str]]:
    names = evaluations_of(campaign.table, cell)
    found: list[tuple[str, str]] = [(name, campaign.evaluation_state(cell, name)) for name in names]
    if cell.seed is not None:
        found.insert(0, ("training", campaign.training_state(cell)))
    return found


def _commands(campaign: Campaign) -> str:
    table = f"tools/results/campaigns/{campaign.table.name}.yaml"
    command = f"python -m tools.results.campaign {table}"
    first = next((one for one in table_cells(campaign.table) if one.seed is not None), None)
    lines = [
        "<!-- not run: takes hours -->",
        "```bash",
        "# what is not kept yet, then this page; and the page alone, from the kept numbers",
        command,
        f"{command} --write-page",
    ]
    if first is not None:
        lines += [
            "# one row from scratch, compared with what is kept",
            f"{command} --only {first.condition} --seeds {first.seed}",
        ]
    return "\n".join([*lines, "```"])
