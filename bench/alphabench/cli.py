"""The command line: each verb parses, calls the library, prints.

The only module that reads the environment:

    ALPHABENCH_CACHE    where official data is kept (default: the user's cache folder)
    ALPHABENCH_MIRROR   where official data is fetched from instead of its source

Exit codes: 0 done; 1 done, but something failed or is missing (the same command retries it);
2 the command cannot be carried out as given; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn

import typer

from alphabench.errors import AlphaBenchError
from alphabench.types import ProtocolName

if TYPE_CHECKING:
    from alphabench.plan import Checkpoint
    from alphabench.run import Outcome, Work
    from alphabench.types import Benchmark
    from alphabench.upstream import UpstreamData

app = typer.Typer(
    name="alphabench",
    help="Benchmarks for image generators: official rules, error bars, nothing silently lost.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


INTERRUPTED: Final = 130
"""Typer's exit code for Ctrl-C, and every shell's."""

BenchmarkName = Annotated[
    str, typer.Argument(metavar="BENCHMARK", help="name[@version][:split]; see `alphabench list`.")
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Ckpt = Annotated[
    str,
    typer.Option(
        "--ckpt",
        help="diffusers folder or hub id, http(s)://host/v1#model, images:DIR, "
        "python:module:factory, or scene:",
    ),
]
Lora = Annotated[str | None, typer.Option(help="LoRA adapter: a file, folder or hub id.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="An option of the checkpoint; repeatable."),
]
Layout = Annotated[
    str | None, typer.Option(help="How the folder of `images:DIR` is laid out: geneval or flat.")
]
EvaluatorSpec = Annotated[
    str | None, typer.Option("--evaluator", help="name[?key=value&...]; see `alphabench list`.")
]
ProtocolOption = Annotated[
    ProtocolName, typer.Option("--protocol", help="official: as upstream's code; strict: repaired.")
]
Limit = Annotated[
    int | None, typer.Option(help="Only so many samples, from all groups; the result is PARTIAL.")
]
Seed = Annotated[int, typer.Option(help="Of the run; every image's seed follows from it.")]
Out = Annotated[Path | None, typer.Option(help="The run folder [default: below ./runs].")]
Devices = Annotated[
    str | None, typer.Option(help="cpu, or GPU numbers: 0,1 is one process on each.")
]
Workers = Annotated[int, typer.Option(min=1, help="Processes, where --devices is not given.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def run(
    benchmark: BenchmarkName,
    ckpt: Ckpt,
    evaluator: EvaluatorSpec = None,
    protocol: ProtocolOption = "official",
    lora: Lora = None,
    settings: Settings = None,
    layout: Layout = None,
    limit: Limit = None,
    seed: Seed = 0,
    out: Out = None,
    devices: Devices = None,
    workers: Workers = 1,
    dry_run: Annotated[bool, typer.Option(help="Say what would be done; do nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Generate images, score them, report. Continues where an earlier run stopped."""
    from alphabench.plan import open_evaluation, plan_run, preview
    from alphabench.run import carry_out

    bench = _open_benchmark(benchmark, protocol)
    checkpoint = _checkpoint(ckpt, settings, layout, lora)
    with _work(devices, workers) as work:
        device = work.devices[0]
        plan = plan_run(bench, checkpoint, out=out, limit=limit, seed=seed, device=device)
        if dry_run:
            return _say(preview(plan, evaluator, device=device), as_json=as_json)
        evaluation = open_evaluation(bench, evaluator or plan.evaluator, device=device)
        outcome = carry_out(plan, evaluation, work)
    return _finish([outcome], as_json=as_json)


@app.command()
def generate(
    benchmark: BenchmarkName,
    ckpt: Ckpt,
    lora: Lora = None,
    settings: Settings = None,
    layout: Layout = None,
    limit: Limit = None,
    seed: Seed = 0,
    out: Out = None,
    devices: Devices = None,
    workers: Workers = 1,
) -> None:
    """Make the images only; `alphabench score` examines them, here or on another machine."""
    from alphabench.plan import plan_run
    from alphabench.run import generate as make_images

    bench = _open_benchmark(benchmark, "official")
    checkpoint = _checkpoint(ckpt, settings, layout, lora)
    with _work(devices, workers) as work:
        device = work.devices[0]
        plan = plan_run(bench, checkpoint, out=out, limit=limit, seed=seed, device=device)
        folder = make_images(plan, work)
    made = sum(request.id in folder.images() for request in plan.requests)
    typer.echo(f"{made} of {len(plan.requests)} images lie in {folder.root}")
    typer.echo(f"next: alphabench score {shlex.quote(str(folder.root))}")
    if made < len(plan.requests) - len(plan.unable):
        raise typer.Exit(1)


@app.command()
def score(
    run: RunPath,
    evaluator: EvaluatorSpec = None,
    protocol: ProtocolOption = "official",
    devices: Devices = None,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Examine the images of a run folder, with any evaluator; makes no image."""
    from alphabench.plan import open_evaluation
    from alphabench.run import score as examine
    from alphabench.store import RunFolder

    folder = RunFolder.open(run)
    bench = _open_benchmark(folder.manifest.benchmark, protocol)
    with _work(devices, workers) as work:
        suggested = folder.manifest.circumstances.get("evaluator")
        evaluation = open_evaluation(bench, evaluator or suggested, device=work.devices[0])
        outcome = examine(folder, bench, evaluation, work)
    _finish([outcome], as_json=as_json)


@app.command()
def summarise(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A run folder, or with --official a benchmark.")
    ],
    official: Annotated[
        Path | None, typer.Option(help="A published raw result, in upstream's own format.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Also write the run here, in upstream's own layout.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Work out the figures again from what is stored; asks and makes nothing."""
    from alphabench import exchange
    from alphabench.run import summarise_all
    from alphabench.store import RunFolder
    from alphabench.wire import report_to_json

    if official is not None:
        report, text = exchange.summarise_official(target, official)
        typer.echo(json.dumps(report_to_json(report)) if as_json else text)
        return
    outcomes = summarise_all(RunFolder.open(Path(target)), _open_benchmark)
    if export is not None:
        exchange.export(outcomes, export)
        typer.echo(f"wrote the run to {export} in upstream's layout", err=True)
    _finish(outcomes, as_json=as_json)


@app.command("list")
def list_(
    what: Annotated[
        Literal["benchmarks", "checkpoints", "evaluators", "runs", "all"],
        typer.Argument(help="What to list."),
    ] = "all",
) -> None:
    """What there is: benchmarks, kinds of checkpoint, evaluators; and the runs below ./runs."""
    from alphabench.listing import listing

    typer.echo(listing(what, runs=Path("runs"), data=_upstream_data()))


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A run folder, or a benchmark.")],
) -> None:
    """A run's report, or a benchmark's card: data, licence, protocol, evaluators."""
    from alphabench.listing import benchmark_card, run_page

    folder = Path(name)
    if folder.exists():
        typer.echo(run_page(folder))
    else:
        typer.echo(benchmark_card(_open_benchmark(name, "official")))


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="BENCHMARK", help="Whose data to fetch.")],
    source: Annotated[
        str | None,
        typer.Option("--from", help="A folder or mirror with <owner>/<repository>/<path>."),
    ] = None,
) -> None:
    """Download a benchmark's official files at the pinned commit, and verify them."""
    from alphabench.upstream import pins_of

    pins = pins_of(name)
    for pin in pins:
        typer.echo(f"{pin.name}: {pin.repository} at {pin.commit[:12]}, licence: {pin.licence}")
        mirror = os.environ.get("ALPHABENCH_MIRROR")
        for file in _upstream_data().fetch(pin.name, source=source or mirror).files:
            typer.echo(f"  {file.outcome} {file.path.name} ({file.size_bytes} bytes)")
    if not pins:
        typer.echo(f"{name} needs no download")


@app.command()
def doctor(
    evaluator: Annotated[
        str | None, typer.Argument(metavar="EVALUATOR", help="name[?key=value&...]; all if absent.")
    ] = None,
    devices: Devices = None,
) -> None:
    """Check this installation: packages, devices, data, and each evaluator's self-test."""
    from alphabench.doctor import examine

    healthy = True
    for finding in examine(evaluator, _upstream_data(), device=_devices(devices, 1)[0]):
        healthy &= finding.healthy
        typer.echo(str(finding))
    if not healthy:
        raise typer.Exit(1)


@app.command()
def leaderboard(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, or above.")],
    out: Annotated[
        Path | None, typer.Option(help="Write markdown pages here instead of printing.")
    ] = None,
) -> None:
    """Markdown tables of runs; results that are not comparable never share one."""
    from alphabench.comparison import Basis
    from alphabench.leaderboard import leaderboard_pages, write_pages
    from alphabench.published import read_published
    from alphabench.run import check_same_data
    from alphabench.store import RunFolder, run_folders

    def basis_of(folder: RunFolder) -> Basis:
        bench = _open_benchmark(folder.manifest.benchmark, "official")
        check_same_data(folder, bench)
        return Basis(samples=bench.samples())

    folders = [folder for path in runs for folder in run_folders(path)]
    published = read_published(out / "published") if out else []
    pages = leaderboard_pages(folders, basis_of, published=published)
    if out is None:
        typer.echo("\n".join(text for name, text in pages.items() if "/" not in name))
    else:
        typer.echo(f"wrote {write_pages(out, pages)}")


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; a user's mistake is one sentence on standard error.

    Args:
        words: what follows `alphabench`; None takes this process's own.
    """
    words = list(sys.argv[1:] if words is None else words)
    try:
        app(words)
    except AlphaBenchError as error:
        typer.echo(f"error: {error.message}", err=True)
        typer.echo(f"hint: {error.hint}", err=True)
        sys.exit(2)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            again = shlex.join(["alphabench", *words])
            typer.echo(f"\ninterrupted; to continue: {again}", err=True)
        raise
    sys.exit(0)


def _upstream_data() -> UpstreamData:
    from alphabench.upstream import UpstreamData, default_cache_dir

    chosen = os.environ.get("ALPHABENCH_CACHE")
    return UpstreamData(cache_dir=Path(chosen) if chosen else default_cache_dir())


def _open_benchmark(name: str, protocol: ProtocolName) -> Benchmark:
    from alphabench.benchmarks import open_benchmark

    return open_benchmark(name, protocol=protocol, data=_upstream_data())


def _checkpoint(
    spec: str, settings: list[str] | None, layout: str | None, lora: str | None
) -> Checkpoint:
    from alphabench.options import pairs
    from alphabench.plan import checkpoint

    given = [*(settings or []), *([f"layout={layout}"] if layout else [])]
    return checkpoint(spec, options=pairs(given), lora=lora)


@contextlib.contextmanager
def _work(devices: str | None, workers: int) -> Iterator[Work]:
    """Devices and progress for a piece of work; what it shows goes to standard error."""
    from rich.console import Console

    from alphabench.progress import Bars, Lines
    from alphabench.run import Work

    console = Console(stderr=True)
    chosen = _devices(devices, workers)
    if not console.is_terminal:
        yield Work(devices=chosen, progress=Lines(lambda text: typer.echo(text, err=True)))
        return
    with Bars(console) as bars:
        yield Work(devices=chosen, progress=bars)


def _devices(devices: str | None, workers: int) -> tuple[str, ...]:
    from alphabench.workers import choose_devices

    return choose_devices(devices, workers=workers)


def _finish(outcomes: Sequence[Outcome], *, as_json: bool) -> None:
    """Print what was found and where it lies; exit code 1 where a retry could find more."""
    from rich.console import Console

    from alphabench.pages import summary_lines, summary_table
    from alphabench.run import GALLERY_PAGE, REPORT_PAGE
    from alphabench.wire import report_to_json

    console = Console()
    for outcome in outcomes:
        if as_json:
            typer.echo(json.dumps(report_to_json(outcome.report), ensure_ascii=False))
            continue
        if console.is_terminal:
            console.print(summary_table(outcome.report))
        else:
            typer.echo("\n".join(summary_lines(outcome.report)))
        typer.echo(f"report:  {outcome.folder.root / REPORT_PAGE}")
        typer.echo(f"gallery: {outcome.folder.root / GALLERY_PAGE}")
    if any(outcome.incomplete for outcome in outcomes):
        raise typer.Exit(1)


def _say(report: Any, *, as_json: bool) -> None:
    typer.echo(json.dumps(report.to_json(), ensure_ascii=False) if as_json else str(report))
