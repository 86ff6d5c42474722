"""Commands that check the parity of our evaluators with upstream's code, on your images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from alphabench.cli.command_options import Devices
from alphabench.cli.help_pages import SET_UP, command_page
from alphabench.core.terminal import echo
from alphabench.runs import factories

app = typer.Typer(
    help="Compare our evaluators with the original code, image by image.",
    no_args_is_help=True,
)

Images = Annotated[
    Path, typer.Option("--images", metavar="DIR", help="A folder of images, subfolders included.")
]
Python = Annotated[
    Path | None,
    typer.Option(
        "--python",
        metavar="FILE",
        help="Interpreter of the original's environment (default: what `doctor --setup` made).",
    ),
]
Weights = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Weights for both (default: those of `fetch`).")
]
Consent = Annotated[
    bool,
    typer.Option(
        "--allow-pickle",
        help="Confirm that you trust the weights, which the original code unpickles.",
    ),
]
Most = Annotated[int | None, typer.Option(min=1, metavar="N", help="Number of images.")]


@app.command("geneval")
@command_page("", "alphabench parity geneval --images ./images --limit 50")
def geneval_command(
    images: Images,
    python: Python = None,
    weights: Weights = None,
    pipeline: Annotated[
        Literal["mmdet2", "mmdet3"] | None,
        typer.Option(
            metavar="mmdet2|mmdet3",
            help="Preprocessing of this mmdet (default: the version that is installed).",
        ),
    ] = None,
    allow_pickle: Consent = False,
    limit: Most = None,
    devices: Devices = None,
) -> None:
    """GenEval's detector, ours and mmdet's: objects, scores, boxes, masks, verdicts."""
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
    parity = detector_parity(images, sides, limit=limit, device=device, progress=_print_progress)
    echo(parity.text)
    if not parity.equal:
        raise typer.Exit(1)


@app.command("dpg")
@command_page("", "alphabench parity dpg --images ./grids --limit 50")
def dpg_command(
    images: Annotated[
        Path,
        typer.Option(
            "--images", metavar="DIR", help="A folder of grids, <item>.png, as upstream's."
        ),
    ],
    python: Python = None,
    weights: Weights = None,
    benchmark: Annotated[
        str, typer.Option(metavar="NAME", help="The benchmark with the questions: dpg or dpg:mini.")
    ] = "dpg",
    cells: Annotated[
        int, typer.Option(min=1, max=4, metavar="N", help="Images per file, 4 or 1.")
    ] = 4,
    limit: Most = None,
    devices: Devices = None,
) -> None:
    """DPG-Bench's mPLUG, ours and modelscope's pipeline: answers, verdicts, scores."""
    from alphabench.evaluators.mplug.released_files import mplug_folder
    from alphabench.parity.dpg import mplug_parity
    from alphabench.runs.workers import choose_devices

    parity = mplug_parity(
        images,
        factories.open_named_benchmark(benchmark, "official").samples(),
        weights=weights or mplug_folder(factories.upstream_data().cache_dir),
        python=python,
        cells=cells,
        limit=limit,
        device=choose_devices(devices, workers=1)[0],
    )
    echo(parity.text)
    if not parity.equal:
        raise typer.Exit(1)


def _print_progress(text: str) -> None:
    echo(text, err=True)


@app.callback()
@command_page(SET_UP)
def describe_parity_verbs() -> None:
    """Compare our evaluators with the original code, image by image."""
