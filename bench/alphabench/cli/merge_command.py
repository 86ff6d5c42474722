"""The command that merges the shards of a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alphabench.cli.command_options import Json, OwnBenchmark
from alphabench.cli.help_pages import EVALUATE, OUTPUT, WHAT, command_page
from alphabench.cli.printing import print_json
from alphabench.cli.run_commands import print_outcomes
from alphabench.core.terminal import echo
from alphabench.runs import factories

if TYPE_CHECKING:
    from alphabench.interfaces import Benchmark
    from alphabench.runs.merging import MergedRun
    from alphabench.runs.run import Outcome
    from alphabench.runs.store import RunFolder


@command_page(
    EVALUATE,
    "alphabench merge runs/a",
    "alphabench merge runs/a.shard-1-of-2 runs/a.shard-2-of-2 --out runs/a",
)
def merge_command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folders of shards; or the folder of the whole run, for all shards beside it.",
            rich_help_panel=WHAT,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the merged run (default: beside its shards, named without .shard-...).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    benchmark: OwnBenchmark = None,
    as_json: Json = False,
) -> None:
    """Merge the shards of a run into one run folder, and report; generates and scores nothing."""
    from alphabench.runs.merging import merge_folders
    from alphabench.runs.progress_display import progress_display
    from alphabench.runs.run import summarise_all

    def open_benchmark(folder: RunFolder) -> Benchmark:
        return factories.benchmark_of_run(
            folder.manifest.benchmark, "official", benchmark, folder=folder
        )

    if out is not None:
        factories.check_writable(out)
    with progress_display(True) as progress:
        merged = merge_folders(runs, open_benchmark, out=out, progress=progress)
    folder = merged.folder
    again = partial(factories.benchmark_of_run, given=benchmark, folder=folder)
    outcomes = summarise_all(folder, again) if folder.evaluations() else []
    for sentence in merged.missing:
        echo(sentence, err=True)
    if as_json:
        print_json(_facts(merged, outcomes))
    else:
        what = "1 folder" if merged.n_folders == 1 else f"{merged.n_folders} folders"
        echo(f"merged {what}: {merged.n_images:,} images are in {folder.root}")
        if merged.missing:
            echo(
                "to complete it: merge the missing shards too, or give the run's command without "
                f"--shard and with --out {shlex.quote(str(folder.root))}"
            )
        if not outcomes:
            echo(f"next: alphabench score {shlex.quote(str(folder.root))}")
    if outcomes and not as_json:
        print_outcomes(outcomes, as_json=False)
    if merged.missing or any(outcome.incomplete for outcome in outcomes):
        raise typer.Exit(1)


def _facts(merged: MergedRun, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    from alphabench.reports.outcome_json import outcome_to_json

    return {
        "folder": str(merged.folder.root),
        "folders_merged": merged.n_folders,
        "images": merged.n_images,
        "missing": list(merged.missing),
        "results": [outcome_to_json(outcome) for outcome in outcomes],
    }
