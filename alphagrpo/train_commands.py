"""`alphabench train` and `alphabench export`: each parses, calls the library, prints.

Imports no model library until a verb runs.
"""

from __future__ import annotations

import os
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alphabench.cli.continuation import Continuation
from alphabench.cli.factories import check_writable
from alphabench.core.errors import AlphaBenchError
from alphabench.core.stopping import leave_with_parent
from alphabench.core.terminal import echo

if TYPE_CHECKING:
    from alphagrpo.recipe import TrainingRecipe
    from alphatrainers.distributed import Processes
    from alphatrainers.trainer import TrainingOutcome

RUNS = Path("runs") / "train"
"""Where trainings lie that nobody named."""
PICTURE = "curves.svg"
"""In a training's folder, when it has ended."""

Name = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe's name, such as nano-rt2i, a YAML file, or a training's folder to go on "
        "with.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Changes of the recipe: training.steps=20."),
]
Out = Annotated[
    Path | None, typer.Option(help="The training's folder (default: below ./runs/train).")
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda or cuda:1 (default: a GPU where there is one).")
]
Cache = Annotated[
    Path | None,
    typer.Option(envvar="ALPHABENCH_CACHE", help="Where official data is kept."),
]


def train(
    context: typer.Context,
    recipe: Name,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it stopped.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take; load and do nothing.")
    ] = False,
    out: Out = None,
    device: Device = None,
    cache: Cache = None,
) -> None:
    """Train a checkpoint by AlphaGRPO, validated by the same harness. Start with torchrun for more
    than one process.
    """
    from alphagrpo.recipe import load_recipe

    chosen = load_recipe(recipe, settings or [])
    folder = out or _own_folder(recipe)
    if dry_run:
        _foresee(chosen, folder, device=device, cache=cache)
        return
    where = _device(device)
    check_writable(folder)
    _check_folder(folder, resume=resume)
    if again := context.find_object(Continuation):
        words = again.words()
        again.words = lambda: [*words, *(["--resume"] if not resume and _begun(folder) else [])]
    _train(chosen, folder, device=where, cache=cache)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A training's folder, or an adapter.")],
    out: Annotated[Path, typer.Option(help="The new folder.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Write whole weights; else the adapter alone.")
    ] = False,
    ckpt: Annotated[
        str | None, typer.Option("--ckpt", help="The base (default: the training's own).")
    ] = None,
) -> None:
    """Write the best weights of a training as an adapter, or whole with their base."""
    from alphagrpo.export import export_run

    check_writable(out)
    echo(export_run(run, out, merge=merge, base=ckpt))


def _own_folder(recipe: str) -> Path:
    """Where a training goes that is not told: its own folder, or one named after the recipe."""
    from alphagrpo.recipe import RECIPE_FILE

    path = Path(recipe).expanduser()
    if path.is_dir():
        return path
    if _begun(path.parent) and path.name == RECIPE_FILE:
        return path.parent
    return RUNS / path.stem


def _begun(folder: Path) -> bool:
    return (folder / "identity.json").exists()


def _check_folder(folder: Path, *, resume: bool) -> None:
    begun = _begun(folder)
    if begun and not resume:
        command = shlex.join(["alphabench", "train", str(folder), "--resume"])
        raise AlphaBenchError(
            f"{str(folder)!r} holds a training that was begun",
            hint=f"go on with it by `{command}`, or name another folder with --out",
        )
    if resume and not begun:
        raise AlphaBenchError(
            f"there is no training in {str(folder)!r} to go on with",
            hint="name its folder as RECIPE, or leave out --resume to begin one",
        )


def _foresee(
    recipe: TrainingRecipe, folder: Path, *, device: str | None, cache: Path | None
) -> None:
    """Print what a training takes and what it lacks; exit code 2 where it lacks anything."""
    from alphabench.upstream import UpstreamData, default_cache_dir
    from alphagrpo.assembly_context import AssemblyContext
    from alphagrpo.cost_estimate import forecast
    from alphagrpo.preflight import obstacles

    echo(forecast(recipe))
    context = AssemblyContext(
        folder=folder,
        data=UpstreamData(cache_dir=cache or default_cache_dir()),
        device="cpu",
        report=_silent,
    )
    found = obstacles(recipe, context)
    for option, check in (
        ("--out", partial(check_writable, folder)),
        ("--device", partial(_device, device)),
    ):
        try:
            check()
        except AlphaBenchError as error:
            found.insert(0, f"{option}: {error}")
    for sentence in found:
        echo(f"missing: {sentence}")
    if found:
        raise typer.Exit(2)


def _train(recipe: TrainingRecipe, folder: Path, *, device: str, cache: Path | None) -> None:
    import torch

    from alphabench.upstream import UpstreamData, default_cache_dir
    from alphagrpo.assemble import assemble
    from alphagrpo.assembly_context import AssemblyContext
    from alphagrpo.recipe import RECIPE_FILE
    from alphatrainers import distributed, strict_yaml
    from alphatrainers.checkpoint import replace_text
    from alphatrainers.trainer import Trainer
    from alphatrainers.trainer_components import RuntimeContext

    if torch.distributed.is_torchelastic_launched():
        leave_with_parent(os.getppid())
    together: Processes = distributed.join(torch.device(device))
    say = echo if together.first else _silent
    context = AssemblyContext(
        folder=folder,
        data=UpstreamData(cache_dir=cache or default_cache_dir()),
        device=device,
        report=say,
    )

    def begun() -> None:
        replace_text(folder / RECIPE_FILE, strict_yaml.to_yaml(recipe))

    try:
        around = RuntimeContext(processes=together, report=say, on_begin=begun)
        outcome = Trainer(assemble(recipe, context), recipe.training, folder, around).train()
    finally:
        distributed.leave()
    if together.first:
        _show_curves(folder)
        _say_where(folder, outcome)


def _device(named: str | None) -> str:
    """The device of this process.

    Raises:
        AlphaBenchError: this machine does not have it.
    """
    import torch

    from alphabench.runs.workers import choose_devices

    if named is None and not torch.cuda.is_available():
        return "cpu"
    if named in (None, "cuda"):
        named = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    devices = choose_devices(named, workers=1)
    if len(devices) > 1:
        raise AlphaBenchError(
            f"--device takes one device, and {named!r} names {len(devices)}",
            hint="start one process for each: torchrun --nproc-per-node N -m alphabench train ...",
        )
    return devices[0]


def _silent(message: str) -> None:
    del message


def _show_curves(folder: Path) -> None:
    from alphatrainers.checkpoint import replace_text
    from alphatrainers.reporting.history import curve_text, curves, read_points
    from alphatrainers.reporting.plots import training_figure

    for curve in curves(read_points(folder)).values():
        echo(f"\n{curve_text(curve)}")
    picture = folder / PICTURE
    replace_text(picture, training_figure(folder))
    echo(f"\ncurves: {picture}")


def _say_where(folder: Path, outcome: TrainingOutcome) -> None:
    from alphagrpo.export import usage

    echo(f"{outcome.step} steps done; everything lies in {folder}")
    if outcome.best is not None:
        echo(f"best weights, of step {outcome.best_step}: {outcome.best}")
        if outcome.best_step == 0:
            echo("no validation was better than the one before the first step")
        echo(f"use them: {usage(folder, outcome.best)}")
