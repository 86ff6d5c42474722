"""The verbs about judges: how right one is, and the answers that are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from alphabench.cli import factories
from alphabench.cli.options import Budget, Devices, Json, NoCache, Seed
from alphabench.core.errors import AlphaBenchError
from alphabench.core.terminal import echo
from alphabench.core.writing import replace_file, writing

app = typer.Typer(help="Judges' answers that are kept on this machine.", no_args_is_help=True)


def calibrate_command(
    judge: Annotated[str, typer.Option("--judge", help="Whom to measure; as in `run`.")],
    scenes: Annotated[int, typer.Option(min=1, help="How many drawn scenes to ask about.")] = 100,
    size: Annotated[int, typer.Option(min=32, max=512, help="Their side in pixels.")] = 256,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Where scenes and tables go.")] = Path("calibration"),
    budget: Budget = None,
    no_cache: NoCache = False,
    devices: Devices = None,
    as_json: Json = False,
) -> None:
    """Measure how often a judge is right, by type of question, on scenes with known answers."""
    from alphabench.reports.judge_calibration import calibrate_judge as measure
    from alphabench.reports.judge_calibration import calibration_markdown
    from alphabench.runs.workers import choose_devices

    factories.check_writable(out)
    device = choose_devices(devices, workers=1)[0]
    opened = factories.open_named_judge(judge, budget=budget, no_cache=no_cache, device=device)
    assert opened is not None
    found = measure(opened, n_scenes=scenes, seed=seed, size=size, folder=out / "scenes")
    table, content = calibration_markdown(found), json.dumps(found.to_json())
    with writing(out, elsewhere="name another folder with --out"):
        replace_file(out / "calibration.md", table)
        replace_file(out / "calibration.json", content)
    echo(content if as_json else table)


@app.callback()
def describe_judge_verbs() -> None:
    """Judges' answers that are kept on this machine."""


@app.command("cache")
def cache_command(
    stats: Annotated[bool, typer.Option("--stats", help="Say what is kept.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Forget all of it.")] = False,
) -> None:
    """What judges answered before, kept by content: the same question is never paid twice."""
    from alphabench.judges.answer_cache import AnswerCache

    if stats == clear:
        raise AlphaBenchError("nothing was asked of the cache", hint="give --stats or --clear")
    kept = AnswerCache(factories.answers_dir())
    if clear:
        echo(f"forgot {kept.clear()} answers")
        return
    found = kept.stats()
    echo(f"{found.replies} answers, {found.size_bytes} bytes in {factories.answers_dir()}")
    for model, number in found.by_model.items():
        echo(f"  {model}: {number}")
