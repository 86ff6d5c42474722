"""The commands about judges: the cache of their answers, and the open ones of benchmarks."""

from __future__ import annotations

from typing import Annotated

import typer

from alphabench.cli.help_pages import SET_UP, command_page
from alphabench.core.errors import AlphaBenchError
from alphabench.core.terminal import echo
from alphabench.runs import factories

app = typer.Typer(help="Cached answers of judges, and open judges.", no_args_is_help=True)


@app.callback()
@command_page(SET_UP)
def describe_judge_verbs() -> None:
    """Cached answers of judges, and open judges."""


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


@app.command("profiles")
@command_page("", "alphabench judge profiles", "alphabench judge profiles Qwen3-VL-8B-Instruct")
def profiles_command(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="Show one: how to serve it and how to name it."),
    ] = None,
) -> None:
    """Open judges that benchmarks prescribe: sampling, thinking, context, memory."""
    from alphabench.judges.profiles import describe_profile, describe_profiles, find_profile

    for line in describe_profiles() if model is None else describe_profile(find_profile(model)):
        echo(line)
