"""The verb about equality: an evaluator of ours against the original code, on your own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from alphabench.cli import factories
from alphabench.cli.options import Devices
from alphabench.core.terminal import echo

app = typer.Typer(
    help="An evaluator of ours against the original code, picture by picture.",
    no_args_is_help=True,
)

Images = Annotated[
    Path, typer.Option("--images", help="A folder of pictures; folders inside it count too.")
]
Python = Annotated[
    Path | None,
    typer.Option(
        "--python",
        help="Interpreter of the original's environment (default: what `doctor --setup` made).",
    ),
]
Weights = Annotated[
    Path | None, typer.Option(help="The weights for both (default: what `fetch` brought).")
]
Consent = Annotated[
    bool,
    typer.Option("--allow-pickle", help="You trust the weights, which the original unpickles."),
]
Most = Annotated[int | None, typer.Option(min=1, help="Only so many pictures.")]


@app.command("geneval")
def geneval_command(
    images: Images,
    python: Python = None,
    weights: Weights = None,
    pipeline: Annotated[
        Literal["mmdet2", "mmdet3"] | None,
        typer.Option(help="Whose preprocessing (default: that of the mmdet found)."),
    ] = None,
    allow_pickle: Consent = False,
    limit: Most = None,
    devices: Devices = None,
) -> None:
    """GenEval's detector, ours against mmdet's: objects, scores, boxes, masks, verdicts."""
    from alphabench.parity.geneval import ParitySettings, detector_parity
    from alphabench.runs.workers import choose_devices

    device = choose_devices(devices, workers=1)[0]
    sides = ParitySettings(
        weights=weights,
        python=python,
        pipeline=pipeline,
        allow_pickle=allow_pickle,
        cache_dir=factories.cache_dir(),
    )
    found = detector_parity(images, sides, limit=limit, device=device, progress=_say)
    echo(found.text)
    if not found.equal:
        raise typer.Exit(1)


@app.command("dpg")
def dpg_command(
    images: Annotated[
        Path, typer.Option("--images", help="A folder of grids, <item>.png, as upstream's.")
    ],
    python: Python = None,
    weights: Weights = None,
    benchmark: Annotated[str, typer.Option(help="Whose questions: dpg or dpg:mini.")] = "dpg",
    cells: Annotated[int, typer.Option(min=1, max=4, help="Images in a file, 4 or 1.")] = 4,
    limit: Most = None,
    devices: Devices = None,
) -> None:
    """DPG-Bench's mPLUG, ours against modelscope's pipeline: answers, verdicts, scores."""
    from alphabench.evaluators.mplug.released_files import folder_of as mplug_folder
    from alphabench.parity.dpg import mplug_parity
    from alphabench.runs.workers import choose_devices

    found = mplug_parity(
        images,
        factories.open_named_benchmark(benchmark, "official").samples(),
        weights=weights or mplug_folder(factories.upstream_data().cache_dir),
        python=python,
        cells=cells,
        limit=limit,
        device=choose_devices(devices, workers=1)[0],
    )
    echo(found.text)
    if not found.equal:
        raise typer.Exit(1)


def _say(words: str) -> None:
    echo(words, err=True)


@app.callback()
def describe_parity_verbs() -> None:
    """An evaluator of ours against the original code, picture by picture."""
