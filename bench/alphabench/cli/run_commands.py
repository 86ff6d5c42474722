"""Commands that generate, score and summarise."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alphabench.cli.command_options import (
    BenchmarkName,
    BenchmarkNames,
    Budget,
    Ckpt,
    Ckpts,
    Devices,
    DryRun,
    EngineOption,
    EvaluatorSpec,
    Json,
    JudgeSpec,
    Layout,
    Limit,
    Lora,
    Name,
    NoCache,
    Out,
    OwnBenchmark,
    Prompts,
    ProtocolOption,
    RayAddress,
    Refine,
    RefineFrom,
    RefineJudge,
    RunPath,
    Seed,
    Settings,
    ShardOption,
    Think,
    Wording,
    Workers,
)
from alphabench.cli.help_pages import EVALUATE, OUTPUT, WHAT, command_page
from alphabench.core.terminal import echo, warn
from alphabench.runs import factories
from alphabench.runs.sharding import whole_run_folder

if TYPE_CHECKING:
    from alphabench.runs.prepared_run import PreparedRun
    from alphabench.runs.preview import Preview
    from alphabench.runs.run import Outcome, Work
    from alphabench.runs.store import RunFolder
    from alphabench.runs.suite_file import Suite


@command_page(
    EVALUATE,
    "alphabench run geneval:mini --ckpt nano",
    "alphabench run geneval --ckpt stabilityai/stable-diffusion-3.5-medium",
    "alphabench run geneval --ckpt ./my-model --lora ./lora --set steps=28",
    "alphabench run tiif:mini --ckpt nano --judge nano --limit 10",
    "alphabench run geneval:mini,dpg:mini --ckpt nano --ckpt scene: --judge nano",
    "alphabench run suite.yaml --limit 10 --dry-run",
)
def run_command(
    context: typer.Context,
    benchmark: BenchmarkNames,
    ckpt: Ckpts = None,
    judge: JudgeSpec = None,
    evaluator: EvaluatorSpec = None,
    protocol: ProtocolOption = "official",
    wording: Wording = None,
    prompts: Prompts = None,
    lora: Lora = None,
    think: Think = False,
    refine: Refine = None,
    refine_judge: RefineJudge = None,
    refine_from: RefineFrom = None,
    settings: Settings = None,
    layout: Layout = None,
    limit: Limit = None,
    shard: ShardOption = None,
    seed: Seed = 0,
    out: Out = None,
    name: Name = None,
    devices: Devices = None,
    workers: Workers = None,
    engine: EngineOption = "local",
    ray_address: RayAddress = None,
    budget: Budget = None,
    no_cache: NoCache = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Generate images, score them and report. Resumes an earlier run."""
    from alphabench.cli.suite_runs import checkpoint_rows, named_suite, run_suite, suite_of_file
    from alphabench.runs.prepared_run import RunSettings
    from alphabench.runs.suite_file import is_suite_file

    part = factories.open_shard(shard)
    chosen = RunSettings(
        judge=judge,
        evaluator=evaluator,
        wording=wording,
        refine=refine,
        refine_judge=refine_judge,
        refine_from=refine_from,
        limit=limit,
        seed=seed,
        shard=part,
        out=out,
        label=name,
        budget=budget,
        no_cache=no_cache,
    )
    rows = checkpoint_rows(ckpt, settings, layout=layout, lora=lora, think=think)
    if is_file := is_suite_file(benchmark):
        of_ckpt = {"--set": settings, "--lora": lora, "--think": think, "--layout": layout}
        suite = suite_of_file(
            benchmark,
            chosen,
            rows,
            protocol=protocol if _is_given(context, "protocol") else None,
            seed=seed if _is_given(context, "seed") else None,
            refused={"--prompts": prompts, **({} if rows else {**of_ckpt, "--name": name})},
        )
    else:
        suite = named_suite(benchmark, chosen, rows, protocol=protocol, prompts=prompts)
    with factories.execution_options(
        devices, workers, engine=engine, ray_address=ray_address
    ) as work:
        if is_file or len(suite.columns) > 1 or len(suite.rows) > 1:
            run_suite(suite, work, dry_run=dry_run, as_json=as_json)
            return
        runs = _prepared_runs(suite, work.devices[0], dry_run=dry_run)
        if dry_run:
            _print_previews([_preview_of(run, work) for run in runs], as_json=as_json)
            return
        outcomes = [run.execute(work) for run in runs]
    print_outcomes(outcomes, as_json=as_json)


@command_page(
    EVALUATE,
    "alphabench generate geneval:mini --ckpt nano --out runs/x",
    "alphabench score runs/x",
)
def generate_command(
    benchmark: BenchmarkName,
    ckpt: Ckpt,
    prompts: Prompts = None,
    lora: Lora = None,
    think: Think = False,
    settings: Settings = None,
    layout: Layout = None,
    limit: Limit = None,
    shard: ShardOption = None,
    seed: Seed = 0,
    out: Out = None,
    name: Name = None,
    devices: Devices = None,
    workers: Workers = None,
    engine: EngineOption = "local",
    ray_address: RayAddress = None,
) -> None:
    """Generate images only; `alphabench score` scores them, here or on another machine."""
    from alphabench.runs.generation import generate_images
    from alphabench.runs.plan import choose_samples, plan_run
    from alphabench.runs.reasons import frequent_reasons

    choose_samples((), limit, seed=seed)
    part = factories.open_shard(shard)
    bench = factories.open_named_benchmark(benchmark, "official", prompts)
    checkpoint = factories.open_checkpoint_factory(
        ckpt, settings, layout=layout, lora=lora, think=think
    )
    with factories.execution_options(
        devices, workers, engine=engine, ray_address=ray_address
    ) as work:
        device = work.devices[0]
        plan = plan_run(
            bench,
            checkpoint,
            out=out,
            label=name,
            limit=limit,
            seed=seed,
            shard=part,
            device=device,
        )
        factories.check_writable(plan.root)
        folder = generate_images(plan, work)
    images = folder.images()
    made = sum(request.id in images for request in plan.requests)
    echo(f"{made} of {len(plan.requests)} images are in {folder.root}")
    absent = folder.not_made()
    why = [absent[request.id] for request in plan.requests if request.id in absent]
    for reason, count in frequent_reasons((f"{one.status}: {one.reason}" for one in why), 3):
        echo(f"not made: {count} {reason}", err=True)
    echo(f"next: alphabench score {shlex.quote(str(folder.root))}")
    _say_how_to_merge(folder, quiet=False)
    if made < len(plan.requests) - len(plan.refusals):
        raise typer.Exit(1)


@command_page(
    EVALUATE,
    "alphabench score runs/x",
    "alphabench score runs/x --evaluator mask2former:official --devices 0",
)
def score_command(
    run: RunPath,
    judge: JudgeSpec = None,
    evaluator: EvaluatorSpec = None,
    protocol: ProtocolOption = "official",
    wording: Wording = None,
    devices: Devices = None,
    workers: Workers = None,
    engine: EngineOption = "local",
    ray_address: RayAddress = None,
    budget: Budget = None,
    no_cache: NoCache = False,
    benchmark: OwnBenchmark = None,
    as_json: Json = False,
) -> None:
    """Score the images of a run folder, with any evaluator; generates nothing."""
    from alphabench.runs.plan import open_evaluation, usual_evaluator
    from alphabench.runs.run import score_run
    from alphabench.runs.store import RunFolder

    folder = RunFolder.open(run)
    bench = factories.benchmark_of_run(
        folder.manifest.benchmark, protocol, benchmark, folder=folder
    )
    with factories.execution_options(
        devices, workers, engine=engine, ray_address=ray_address
    ) as work:
        device = work.devices[0]
        opened_judge = factories.open_named_judge(
            judge, budget=budget, no_cache=no_cache, device=device
        )
        usual = usual_evaluator(folder, bench)
        evaluations = [
            open_evaluation(
                bench,
                factories.evaluator_spec(one, usual, wording),
                judge=opened_judge,
                device=device,
                moves_judge=True,
            )
            for one in factories.evaluator_specs(evaluator, bench.card.evaluators)
        ]
        outcomes = [score_run(folder, bench, one, work) for one in evaluations]
    print_outcomes(outcomes, as_json=as_json)


@command_page(
    EVALUATE,
    "alphabench summarise runs/x",
    "alphabench summarise runs/x --export for-upstream",
    "alphabench summarise geneval --official results.jsonl",
)
def summarise_command(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A run folder, or with --official a benchmark.",
            rich_help_panel=WHAT,
        ),
    ],
    official: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A published raw result in upstream's format.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write the run to this folder, in upstream's layout.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    benchmark: OwnBenchmark = None,
    as_json: Json = False,
) -> None:
    """Recompute the report from stored results; generates and scores nothing.

    With --official: the output of upstream's script, then the same numbers with intervals.
    """
    from alphabench.reports.run_report import stamps, summary_lines
    from alphabench.runs import official_export
    from alphabench.runs.run import summarise_all
    from alphabench.runs.serialization import report_to_json
    from alphabench.runs.store import RunFolder

    if official is not None:
        report, text = official_export.published_report(target, official, factories.upstream_data())
        summary = "\n".join(["", *summary_lines(report, stamps(report))])
        echo(json.dumps(report_to_json(report)) if as_json else f"{text}\n{summary}")
        if report.incomplete:
            raise typer.Exit(1)
        return
    if export is not None:
        factories.check_writable(export)
    folder = RunFolder.open(Path(target))
    opener = partial(factories.benchmark_of_run, given=benchmark, folder=folder)
    outcomes = summarise_all(folder, opener)
    if export is not None:
        official_export.export_runs(outcomes, export)
        echo(f"wrote the run to {export} in upstream's layout", err=True)
    print_outcomes(outcomes, as_json=as_json)


def print_outcomes(outcomes: Sequence[Outcome], *, as_json: bool) -> None:
    """Print the reports and their paths; exit code 1 if an expected verdict has no value."""
    from rich.console import Console

    from alphabench.reports.outcome_json import outcome_to_json
    from alphabench.reports.run_report import stamps, summary_lines, summary_table
    from alphabench.runs.judge_usage import usage_words
    from alphabench.runs.run_pages import GALLERY_FILE, REPORT_FILE

    console = Console()
    for outcome in outcomes:
        if outcome.unwritten:
            warn(f"the report was not saved: {outcome.unwritten}")
        for reason in outcome.reasons:
            echo(f"unscored: {reason}", err=True)
        if as_json:
            echo(json.dumps(outcome_to_json(outcome), ensure_ascii=False))
            continue
        identity = outcome.folder.evaluation_identity(outcome.evaluation)
        marks = stamps(outcome.report, outcome.folder.manifest, identity)
        if console.is_terminal:
            console.print(summary_table(outcome.report, marks))
        else:
            echo("\n".join(summary_lines(outcome.report, marks)))
        if outcome.usage is not None and outcome.usage.replies:
            echo(f"judge:   {usage_words(outcome.usage)} in this command")
        if outcome.unwritten:
            continue
        echo(f"report:  {outcome.pages[REPORT_FILE]}")
        echo(f"gallery: {outcome.pages[GALLERY_FILE]}")
    last = outcomes[-1]
    if not as_json and REPORT_FILE in last.pages and last.pages[REPORT_FILE].name != REPORT_FILE:
        echo(f"{REPORT_FILE} and {GALLERY_FILE} show {last.evaluation}")
    _say_how_to_merge(last.folder, quiet=as_json)
    if any(outcome.incomplete for outcome in outcomes):
        raise typer.Exit(1)


def _prepared_runs(suite: Suite, device: str, *, dry_run: bool) -> list[PreparedRun]:
    """One for each evaluator; all are opened, and their weights found, before the first image."""
    from alphabench.runs.prepared_run import prepare_run

    (column,), (row,) = suite
    known = column.benchmark.card.evaluators
    return [
        prepare_run(
            column.benchmark,
            row.checkpoint,
            replace(column.settings, evaluator=one),
            device=device,
            dry=dry_run,
        )
        for one in factories.evaluator_specs(column.settings.evaluator, known)
    ]


def _preview_of(run: PreparedRun, work: Work) -> Preview:
    from alphabench.runs.preview import preview

    return preview(run.plan, run.evaluator, judge=run.judge, device=work.devices[0])


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _say_how_to_merge(folder: RunFolder, *, quiet: bool) -> None:
    """After a shard: the command for the time when all of them are there."""
    if folder.manifest.shard is not None and not quiet:
        whole = shlex.quote(str(whole_run_folder(folder.root)))
        echo(f"when all shards are done: alphabench merge {whole}")


def _print_previews(reports: Sequence[Preview], *, as_json: bool) -> None:
    """Print what would be done; the exit code is the one that the run would have."""
    from rich.console import Console

    console = Console()
    for report in reports:
        lines = report.lines(console.width if console.is_terminal else None)
        echo(json.dumps(report.to_json(), ensure_ascii=False) if as_json else "\n".join(lines))
    if any(report.missing for report in reports):
        raise typer.Exit(2 if any(report.refused for report in reports) else 1)
