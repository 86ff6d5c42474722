"""The command that writes stored runs as tables, or as what the Hugging Face hub shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from alphabench.cli.command_options import OwnBenchmark
from alphabench.cli.help_pages import LOOK, OUTPUT, WHAT, command_page
from alphabench.core.errors import AlphaBenchError
from alphabench.core.terminal import echo, warn
from alphabench.runs import factories

if TYPE_CHECKING:
    from alphabench.results.run_result import RunResult

_PUBLISHING = "Publishing"


@command_page(
    LOOK,
    "alphabench export-results runs --out tables",
    "alphabench export-results runs/a runs/b --format parquet --out tables",
    "alphabench export-results runs/a --format hub --out a-scores",
)
def export_results_command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Run folders, or folders above them.", rich_help_panel=WHAT
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Folder of the files (default: ./exported-results).",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = Path("exported-results"),
    file_format: Annotated[
        Literal["csv", "parquet", "hub"],
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="csv, parquet: tables of verdicts and of estimates. hub: entries for leaderboards "
            "of the Hugging Face hub, and a section for the model card.",
            rich_help_panel=OUTPUT,
        ),
    ] = "csv",
    benchmark: OwnBenchmark = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            metavar="BENCHMARK=OWNER/NAME",
            help="Dataset of the hub whose leaderboard takes the benchmark's score; repeatable.",
            rich_help_panel=_PUBLISHING,
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            "--push",
            metavar="OWNER/NAME",
            help="With hub: upload entries and section to this model repository, which is made "
            "private if there is none.",
            rich_help_panel=_PUBLISHING,
        ),
    ] = None,
    public: Annotated[
        bool,
        typer.Option(
            "--public", help="The repository is, or becomes, public.", rich_help_panel=_PUBLISHING
        ),
    ] = False,
) -> None:
    """Write scored runs as tables, or as entries for leaderboards and a model card."""
    from alphabench.analysis import export_tables, open_runs

    factories.check_writable(out)
    if file_format != "hub":
        if push is not None or public or dataset:
            raise AlphaBenchError(
                "--push, --public and --dataset are about the hub", hint="add --format hub"
            )
        for path in export_tables(runs, out, file_format=file_format, benchmark=benchmark):
            echo(f"wrote {path}")
        return
    if public and push is None:
        raise AlphaBenchError("--public is about --push", hint="add --push OWNER/NAME")
    opened = list(open_runs(runs, benchmark=benchmark, note=warn))
    _export_to_hub(opened, out, dataset or [], push, public=public)


def _export_to_hub(
    runs: list[RunResult], out: Path, datasets: list[str], push: str | None, *, public: bool
) -> None:
    from alphabench.remote.hub_upload import hub_target
    from alphabench.reports.hub_entries import named_datasets
    from alphabench.results.hub_export import hub_scores, push_scores, write_hub_folder

    target = None if push is None else hub_target(push, public=public)
    named = named_datasets(datasets)
    scores = hub_scores(runs)
    for sentence in write_hub_folder(scores, out, named):
        echo(sentence)
    echo(f"wrote {out}; nothing was uploaded" if target is None else f"wrote {out}")
    if target is not None:
        echo(f"pushed to {push_scores(scores, out, named, target)}")
