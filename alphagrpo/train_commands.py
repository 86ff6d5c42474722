"""`alphabench train` and `alphabench export`: each parses, calls the library, prints.

Imports no model library until a verb runs.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alphabench.cli.continuation import Continuation
from alphabench.cli.help_pages import OUTPUT, RUNNING, TRAIN, WHAT, command_page
from alphabench.core.errors import AlphaBenchError
from alphabench.core.stopping import UNDER_TORCHRUN, leave_with_parent
from alphabench.core.terminal import echo
from alphabench.runs.factories import check_writable
from alphagrpo.recipe_names import recipe_names

if TYPE_CHECKING:
    from alphagrpo.recipe import TrainingRecipe
    from alphatrainers.distributed import Processes
    from alphatrainers.trainer import TrainingOutcome

PUBLISHING = "Publishing"
CURVES_FILE = "curves.svg"
"""The curves of a finished training, in its folder."""

Name = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe such as nano-rt2i, a YAML file, or the folder of a training to continue.",
        autocompletion=recipe_names,
        rich_help_panel=WHAT,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Overrides of the recipe, such as training.steps=20.",
        rich_help_panel=WHAT,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of the training (default: in ./runs/train).",
        rich_help_panel=OUTPUT,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE",
        help="cpu, cuda or cuda:1 (default: a GPU if there is one).",
        rich_help_panel=RUNNING,
    ),
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="[=auto]",
        help="Continue where the training stopped. With =auto (default under torchrun), begin it "
        "where the folder holds none.",
        rich_help_panel=RUNNING,
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        envvar="ALPHABENCH_CACHE",
        metavar="DIR",
        help="Cache folder of official data.",
        rich_help_panel=RUNNING,
    ),
]


def _list_recipes(wanted: bool) -> None:
    """Prints all recipes, if wanted, and ends."""
    if wanted:
        from alphagrpo.recipe_listing import recipe_table

        echo(recipe_table())
        raise typer.Exit


Devices = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="With --dry-run: estimates for so many GPUs (default: 1).",
        rich_help_panel=RUNNING,
    ),
]
Listed = Annotated[
    bool,
    typer.Option(
        "--list",
        help="Print all recipes, one a line; train nothing.",
        callback=_list_recipes,
        is_eager=True,
        rich_help_panel=WHAT,
    ),
]


@command_page(
    TRAIN,
    "alphabench train nano-rt2i training.steps=20",
    "alphabench train --list",
    "alphabench train bagel-rt2i --dry-run --devices 8",
    "alphabench train runs/train/nano-rt2i --resume",
    "torchrun --nproc-per-node 8 -m alphabench train bagel-rt2i",
    bare={"--resume": "yes"},
)
def train_command(
    context: typer.Context,
    recipe: Name,
    settings: Settings = None,
    resume: Resume = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print estimates and what is missing; train nothing.",
            rich_help_panel=RUNNING,
        ),
    ] = False,
    devices: Devices = None,
    listed: Listed = False,
    out: Out = None,
    device: Device = None,
    cache: Cache = None,
) -> None:
    """Train a checkpoint with AlphaGRPO; AlphaBench benchmarks validate it."""
    if UNDER_TORCHRUN in os.environ:  # before what takes time: a launcher may be killed meanwhile
        leave_with_parent(os.getppid())
    from alphagrpo.recipe import load_recipe
    from alphagrpo.training_run import (
        check_resumed,
        default_folder,
        resume_option,
        run_training,
        training_device,
    )

    del listed  # its callback did it
    chosen = load_recipe(recipe, settings or [])
    folder = out or default_folder(recipe)
    if dry_run:
        _dry_run(chosen, folder, devices=devices or 1, device=device, cache=cache)
        return
    if devices is not None:
        raise AlphaBenchError(
            "--devices is an option of --dry-run",
            hint="train on several with `torchrun --nproc-per-node N -m alphabench train ...`",
        )
    where = training_device(device)
    check_writable(folder)
    check_resumed(folder, resume=resume_option(resume, os.environ))
    again = context.find_object(Continuation) or Continuation([])
    given = {"--device": device, "--cache": cache if _was_typed("cache", context) else None}
    options = [word for name, one in given.items() if one is not None for word in (name, str(one))]

    def begun() -> None:
        # The folder's recipe has the overrides from now on.
        again.words = lambda: ["train", str(folder), "--resume", *options]

    def joined(together: Processes) -> None:
        again.deferral, again.reason = together.defer_signals(), together.reason_to_stop

    outcome = run_training(chosen, folder, device=where, cache=cache, begun=begun, joined=joined)
    if outcome is not None and not outcome.stopped:
        _show_curves(folder)
        _print_outcome(folder, chosen, outcome)


@command_page(
    TRAIN,
    "alphabench export runs/train/nano-rt2i --out my-adapter",
    "alphabench export runs/train/nano-rt2i --merge --out mine --push me/mine",
)
def export_command(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="TRAINING",
            help="Folder of a training, or of an adapter.",
            rich_help_panel=WHAT,
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The new folder.", rich_help_panel=OUTPUT)
    ],
    merge: Annotated[
        bool,
        typer.Option(
            "--merge",
            help="Write complete weights instead of the adapter alone.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    ckpt: Annotated[
        str | None,
        typer.Option(
            "--ckpt",
            metavar="CKPT",
            help="Base checkpoint (default: that of the training).",
            rich_help_panel=WHAT,
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            "--push",
            metavar="OWNER/NAME",
            help="Upload the folder to this repository of the Hugging Face hub, which is made "
            "private if there is none.",
            rich_help_panel=PUBLISHING,
        ),
    ] = None,
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="Make the repository public.",
            rich_help_panel=PUBLISHING,
        ),
    ] = False,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            metavar="BENCHMARK=OWNER/NAME",
            help="Dataset of the hub whose leaderboard takes the benchmark's score; repeatable.",
            rich_help_panel=PUBLISHING,
        ),
    ] = None,
) -> None:
    """Write the best weights of a training as an adapter, or merged into their base."""
    from alphabench.remote.hub_upload import hub_target
    from alphabench.reports.hub_entries import named_datasets
    from alphagrpo.export import ExportTarget, export_run

    if public and push is None:
        raise AlphaBenchError("--public is about --push", hint="add --push OWNER/NAME")
    check_writable(out)
    target = ExportTarget(
        out=out,
        merge=merge,
        hub=None if push is None else hub_target(push, public=public),
        datasets=named_datasets(dataset or []),
    )
    for sentence in export_run(run, target, base=ckpt):
        echo(sentence)


def _dry_run(
    recipe: TrainingRecipe, folder: Path, *, devices: int, device: str | None, cache: Path | None
) -> None:
    """Prints estimates of a training and what is missing; exit code 2 if anything is."""
    from alphabench.upstream import UpstreamData, default_cache_dir
    from alphabench.weights.memory import GIB
    from alphagrpo.assembly_context import AssemblyContext
    from alphagrpo.cost_estimate import forecast
    from alphagrpo.preflight import obstacles
    from alphagrpo.training_run import training_device
    from alphatrainers.guards import refuse_idle

    # A smaller model fits on any GPU.
    echo(forecast(recipe, counted_from=GIB, devices=devices))
    context = AssemblyContext(
        folder=folder,
        data=UpstreamData(cache_dir=cache or default_cache_dir()),
        device="cpu",
        report=_silent,
    )
    found = obstacles(recipe, context)
    for option, check in (
        ("--out", partial(check_writable, folder)),
        ("--device", partial(training_device, device)),
        (
            "--devices",
            partial(
                refuse_idle,
                recipe.training,
                processes=devices,
                splits="srr" not in recipe.task.kinds,
            ),
        ),
    ):
        try:
            check()
        except AlphaBenchError as error:
            found.insert(0, f"{option}: {error}")
    for sentence in found:
        echo(f"missing: {sentence}")
    if found:
        raise typer.Exit(2)


def _was_typed(name: str, context: typer.Context) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _silent(message: str) -> None:
    del message


def _show_curves(folder: Path) -> None:
    from alphatrainers.checkpoint import replace_text
    from alphatrainers.reporting.history import curve_text, curves, read_points
    from alphatrainers.reporting.plots import training_figure

    for curve in curves(read_points(folder)).values():
        echo(f"\n{curve_text(curve)}")
    replace_text(folder / CURVES_FILE, training_figure(folder))


def _print_outcome(folder: Path, recipe: TrainingRecipe, outcome: TrainingOutcome) -> None:
    from alphagrpo.export import usage
    from alphagrpo.training_run import write_page
    from alphatrainers.checkpoint import TrainingFolder
    from alphatrainers.reporting.history import read_points
    from alphatrainers.reporting.summary import outcome_sentence

    view = TrainingFolder(folder).best_view()
    echo(f"\n{outcome_sentence(read_points(folder), view)}")
    page = write_page(folder, recipe, echo)
    echo(f"{outcome.step} steps done; results are in {folder}")
    if page is not None:
        echo(f"curves and images: {page}")
    if outcome.best is not None:
        named = f"best weights ({view})" if view else "best weights"
        echo(f"{named}, of step {outcome.best_step}: {outcome.best}")
        if outcome.best_step == 0:
            echo("no validation was better than the one before training")
        echo(f"use them: {usage(folder, outcome.best)}")
