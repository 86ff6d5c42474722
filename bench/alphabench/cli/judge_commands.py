"""Commands about judges: measuring their accuracy, and the cache of their answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from alphabench.cli.command_options import Budget, Devices, Json, NoCache, Seed
from alphabench.cli.completion import complete_judge
from alphabench.cli.help_pages import JUDGING, OUTPUT, SET_UP, WHAT, command_page
from alphabench.core.errors import AlphaBenchError
from alphabench.core.terminal import echo
from alphabench.core.writing import replace_file, writing
from alphabench.runs import factories

app = typer.Typer(help="Cached answers of judges.", no_args_is_help=True)


@command_page(
    SET_UP,
    "alphabench calibrate --judge nano",
    "alphabench calibrate --judge 'http://localhost:8000/v1#my-vlm' --scenes 200",
)
def calibrate_command(
    judge: Annotated[
        str,
        typer.Option(
            "--judge",
            metavar="JUDGE",
            help="The judge to measure; as in `run`.",
            autocompletion=complete_judge,
            rich_help_panel=JUDGING,
        ),
    ],
    scenes: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Number of rendered scenes to ask about.", rich_help_panel=WHAT
        ),
    ] = 100,
    size: Annotated[
        int,
        typer.Option(
            min=32,
            max=512,
            metavar="PIXELS",
            help="Side length of the scenes, from 32 to 512.",
            rich_help_panel=WHAT,
        ),
    ] = 256,
    seed: Seed = 0,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Output folder for scenes and tables.", rich_help_panel=OUTPUT
        ),
    ] = Path("calibration"),
    budget: Budget = None,
    no_cache: NoCache = False,
    devices: Devices = None,
    as_json: Json = False,
) -> None:
    """Measure a judge's accuracy by question type, on rendered scenes with known answers."""
    from alphabench.reports.judge_calibration import calibrate_judge as measure
    from alphabench.reports.judge_calibration import calibration_markdown
    from alphabench.runs.workers import choose_devices

    factories.check_writable(out)
    device = choose_devices(devices, workers=1)[0]
    opened_judge = factories.open_named_judge(
        judge, budget=budget, no_cache=no_cache, device=device
    )
    assert opened_judge is not None
    calibration = measure(
        opened_judge, n_scenes=scenes, seed=seed, size=size, folder=out / "scenes"
    )
    table, content = calibration_markdown(calibration), json.dumps(calibration.to_json())
    with writing(out, elsewhere="name another folder with --out"):
        replace_file(out / "calibration.md", table)
        replace_file(out / "calibration.json", content)
    echo(content if as_json else table)


@app.callback()
@command_page(SET_UP)
def describe_judge_verbs() -> None:
    """Cached answers of judges."""


@app.command("cache")
@command_page("", "alphabench judge cache --stats")
def cache_command(
    stats: Annotated[
        bool, typer.Option("--stats", help="Show the number of cached answers.")
    ] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Delete all cached answers.")] = False,
) -> None:
    """Answers of judges, cached by content hash: no question is paid for twice."""
    from alphabench.judges.answer_cache import AnswerCache

    if stats == clear:
        raise AlphaBenchError("no action is given", hint="give --stats or --clear")
    answers = AnswerCache(factories.answers_dir())
    if clear:
        echo(f"deleted {answers.clear()} answers")
        return
    stored = answers.stats()
    echo(f"{stored.replies} answers, {stored.size_bytes} bytes in {factories.answers_dir()}")
    for model, number in stored.by_model.items():
        echo(f"  {model}: {number}")
