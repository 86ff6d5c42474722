"""Commands that list, show, compare, download and check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from alphabench.cli.command_options import Devices, OwnBenchmark
from alphabench.cli.completion import complete_benchmark, complete_evaluator
from alphabench.cli.help_pages import LOOK, SET_UP, command_page
from alphabench.core.errors import AlphaBenchError
from alphabench.core.terminal import echo, warn
from alphabench.runs import factories


@command_page(
    LOOK,
    "alphabench list",
    "alphabench list runs",
)
def list_command(
    what: Annotated[
        Literal["benchmarks", "checkpoints", "evaluators", "judges", "runs", "all"],
        typer.Argument(
            metavar="WHAT", help="benchmarks, checkpoints, evaluators, judges, runs or all."
        ),
    ] = "all",
) -> None:
    """List benchmarks, kinds of checkpoint, evaluators, judges, and the runs below ./runs."""
    from alphabench.cli.listing import listing_text

    echo(listing_text(what, runs=Path("runs"), data=factories.upstream_data()))


@command_page(
    LOOK,
    "alphabench show geneval",
    "alphabench show runs/x",
)
def show_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A run folder, or a benchmark.", autocompletion=complete_benchmark
        ),
    ],
) -> None:
    """Show a run's report, or a benchmark's card: data, licence, protocol, evaluators."""
    from alphabench.cli.listing import benchmark_card, run_text

    folder = Path(name)
    if folder.exists():
        echo(run_text(folder))
    elif "/" in name:
        raise AlphaBenchError(
            f"there is no folder {name!r}", hint="`alphabench list runs` shows the run folders"
        )
    else:
        echo(benchmark_card(factories.open_named_benchmark(name, "official")))


@command_page(
    SET_UP,
    "alphabench fetch geneval",
)
def fetch_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="BENCHMARK",
            help="The benchmark to download.",
            autocompletion=complete_benchmark,
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="Download from this folder or mirror, laid out as <owner>/<repository>/<path>.",
        ),
    ] = None,
) -> None:
    """Download and verify a benchmark's official files at the pinned commit."""
    from alphabench import registry
    from alphabench.upstream.fetch import fetch_all

    if name.partition(":")[0].partition("@")[0] in registry.BENCHMARKS:
        factories.open_named_benchmark(name, "official")  # refuses an unknown version or split
    errors, needs_download = [], False
    for piece in fetch_all(
        name, factories.upstream_data(), source=source if source is not None else factories.mirror()
    ):
        needs_download = True
        if piece.error is not None:
            errors.append(piece.error)
        elif piece.words is None:
            echo(f"{piece.subject}, licence: {piece.licence}")
        else:
            echo(f"  {piece.words}")
    for error in errors[1:]:
        echo(f"error: {error}", err=True)
    if errors:
        raise errors[0]
    if not needs_download:
        echo(f"{name} needs no download")


@command_page(
    SET_UP,
    "alphabench doctor",
    "alphabench doctor mask2former --devices 0",
)
def doctor_command(
    evaluator: Annotated[
        str | None,
        typer.Argument(
            metavar="EVALUATOR",
            help="name[?key=value&...]; default: all.",
            autocompletion=complete_evaluator,
        ),
    ] = None,
    devices: Devices = None,
    setup: Annotated[
        str | None,
        typer.Option(
            "--setup", metavar="NAME", help="Create an environment instead: mmdet or modelscope."
        ),
    ] = None,
) -> None:
    """Check this installation: packages, devices, data, and each evaluator's self-test."""
    if setup is not None:
        from alphabench.parity.environments import set_up_environment

        echo(set_up_environment(setup))
        return
    from alphabench.cli.doctor import check_installation
    from alphabench.runs.workers import choose_devices

    healthy = True
    for finding in check_installation(
        evaluator, factories.upstream_data(), device=choose_devices(devices, workers=1)[0]
    ):
        healthy &= finding.healthy
        echo(str(finding))
    if not healthy:
        raise typer.Exit(1)


@command_page(
    LOOK,
    "alphabench leaderboard runs",
    "alphabench leaderboard runs --out leaderboards",
)
def leaderboard_command(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders, or folders above them.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write markdown files here instead of printing."),
    ] = None,
) -> None:
    """Rank runs in markdown tables; results that are not comparable never share a table."""
    from alphabench.analysis import leaderboard

    if out is None:
        echo(leaderboard(runs, note=warn).to_markdown())
        return
    factories.check_writable(out)
    ranked = leaderboard(runs, published=out / "published", note=warn)
    echo(f"wrote {ranked.write(out)}")


@command_page(
    LOOK,
    "alphabench compare runs/before runs/after",
)
def compare_command(
    baseline: Annotated[Path, typer.Argument(metavar="BASELINE", help="A run folder.")],
    candidate: Annotated[
        Path, typer.Argument(metavar="CANDIDATE", help="The run folder to compare with it.")
    ],
    evaluation: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Evaluation to compare, if both runs have several."),
    ] = None,
    benchmark: OwnBenchmark = None,
    gallery: Annotated[
        bool, typer.Option("--gallery", help="Also write a page with their images side by side.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where --gallery writes (default: comparison.html)."),
    ] = None,
) -> None:
    """Compare two runs of one benchmark: paired by sample, with a 95% interval."""
    from alphabench.analysis import compare, write_comparison_gallery

    if out is not None and not gallery:
        raise AlphaBenchError("--out names the file of --gallery", hint="add --gallery")
    compared = compare(baseline, candidate, evaluation=evaluation, benchmark=benchmark)
    echo(compared.to_markdown())
    if gallery:
        page = write_comparison_gallery(
            baseline,
            candidate,
            out or Path("comparison.html"),
            evaluation=evaluation,
            benchmark=benchmark,
        )
        echo(f"gallery: {page}")
