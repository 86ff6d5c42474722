"""Commands that list, show, compare, download and check."""

from __future__ import annotations

import sys
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

import typer

from alphabench.cli.command_options import Devices, Json, OwnBenchmark
from alphabench.cli.completion import complete_benchmark, complete_evaluator, complete_shown
from alphabench.cli.help_pages import LOOK, SET_UP, command_page
from alphabench.cli.printing import ShownPage, print_json, print_markdown, print_page
from alphabench.core.errors import AlphaBenchError
from alphabench.core.terminal import echo, warn
from alphabench.registry import benchmark_names
from alphabench.runs import factories


@command_page(
    LOOK,
    "alphabench list",
    "alphabench list recipes",
    "alphabench list runs --json",
)
def list_command(
    what: Annotated[
        Literal[
            "benchmarks", "checkpoints", "evaluators", "judges", "recipes", "data", "runs", "all"
        ],
        typer.Argument(
            metavar="WHAT",
            help="benchmarks, checkpoints, evaluators, judges, recipes, data, runs or all.",
        ),
    ] = "all",
    as_json: Json = False,
) -> None:
    """List benchmarks, kinds of checkpoint, evaluators, judges, recipes, and runs in ./runs."""
    from alphabench.cli.listing import Inventory, listing_json, listing_text

    inventory = Inventory(runs=Path("runs"), data=factories.upstream_data())
    if as_json:
        print_json(listing_json(what, inventory))
    else:
        echo(listing_text(what, inventory, narrow=sys.stdout.isatty()))


@command_page(
    LOOK,
    "alphabench show geneval",
    "alphabench show nano-rt2i",
    "alphabench show runs/geneval/x",
    "alphabench show runs/train/x",
)
def show_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A benchmark, a recipe, a run folder or the folder of a training.",
            autocompletion=complete_shown,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show what a benchmark measures, what a recipe trains, or the report of a run or training."""
    from alphabench.cli.pages import benchmark_page, listed_page, run_page

    folder = Path(name)
    if (folder / "manifest.json").exists():
        page = run_page(folder)
    elif (listed := listed_page(name)) is not None:
        page = listed
    elif folder.exists():
        page = run_page(folder)
    elif "/" in name and not name.startswith(("file:", "python:")):
        raise AlphaBenchError(
            f"there is no folder {name!r}", hint="`alphabench list runs` shows the run folders"
        )
    else:
        base = name.partition(":")[0].partition("@")[0]
        if base not in ("file", "python") and not get_close_matches(base, benchmark_names()):
            raise AlphaBenchError(
                f"there is no benchmark, recipe or folder named {name!r}",
                hint="`alphabench list` shows benchmarks, recipes and runs; a run is shown by its "
                "folder, such as runs/geneval/NAME",
            )
        benchmark = factories.open_named_benchmark(name, "official")
        page = benchmark_page(name, benchmark, factories.upstream_data())
    print_page(page, as_json=as_json)


@command_page(
    SET_UP,
    "alphabench fetch geneval",
    "alphabench fetch all",
    "alphabench fetch --list",
)
def fetch_command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A benchmark, an evaluator with weights (mask2former, mplug), or all: the data of "
            "all benchmarks.",
            autocompletion=complete_benchmark,
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="Download from this folder or mirror, laid out as <owner>/<repository>/<path>.",
        ),
    ] = None,
    list_only: Annotated[
        bool,
        typer.Option(
            "--list", help="List what can be fetched, with sizes and licences; fetch nothing."
        ),
    ] = False,
) -> None:
    """Download and verify a benchmark's official files at the pinned commit."""
    from alphabench.cli.fetching import fetch_named
    from alphabench.cli.listing import Inventory, listing_text

    data = factories.upstream_data()
    if list_only:
        echo(listing_text("data", Inventory(runs=Path("runs"), data=data)))
    elif name is None:
        raise AlphaBenchError(
            "nothing is named that is to be fetched",
            hint="name a benchmark or `all`; `alphabench fetch --list` shows what there is",
        )
    else:
        fetch_named(name, data, source=source if source is not None else factories.mirror())


@command_page(
    SET_UP,
    "alphabench doctor",
    "alphabench doctor mask2former --devices 0",
    "alphabench doctor --setup mmdet",
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
    as_json: Json = False,
) -> None:
    """Check this installation: packages, devices, data, and each evaluator's self-test."""
    if setup is not None:
        from alphabench.parity.environments import set_up_environment

        echo(set_up_environment(setup))
        return
    from alphabench.cli.doctor import absences_text, check_installation
    from alphabench.runs.workers import choose_devices

    findings = []
    device = choose_devices(devices, workers=1)[0]
    for finding in check_installation(evaluator, factories.upstream_data(), device=device):
        findings.append(finding)
        if not as_json and not finding.optional:
            echo(str(finding))
    healthy = all(finding.healthy for finding in findings)
    if as_json:
        print_json({"healthy": healthy, "findings": [asdict(finding) for finding in findings]})
    elif text := absences_text(findings):
        echo(text)
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
    as_json: Json = False,
) -> None:
    """Rank runs in markdown tables; results that are not comparable never share a table."""
    from alphabench.analysis import leaderboard

    if out is not None:
        factories.check_writable(out)
    ranked = leaderboard(runs, published=None if out is None else out / "published", note=warn)
    if out is not None:
        written = ranked.write(out)
        echo(f"wrote {written}", err=as_json)
    if as_json:
        print_json({"results": ranked.rows()})
    elif out is None:
        print_markdown(ranked.to_markdown())


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
    as_json: Json = False,
) -> None:
    """Compare two runs of one benchmark: paired by sample, with a 95% interval."""
    from alphabench.analysis import compare, write_comparison_gallery

    if out is not None and not gallery:
        raise AlphaBenchError("--out names the file of --gallery", hint="add --gallery")
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise AlphaBenchError(
            f"--out {str(out)!r} does not end in .html, so browsers would not open it",
            hint="name a file such as comparison.html",
        )
    compared = compare(baseline, candidate, evaluation=evaluation, benchmark=benchmark)
    print_page(ShownPage(compared.to_markdown(), compared.to_json()), as_json=as_json)
    if gallery:
        page = write_comparison_gallery(
            baseline,
            candidate,
            out or Path("comparison.html"),
            evaluation=evaluation,
            benchmark=benchmark,
        )
        echo(f"gallery: {page}", err=as_json)
