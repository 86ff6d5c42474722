"""The command about the cache of judges' answers."""

from __future__ import annotations

from typing import Annotated

import typer

from alphabench.cli.help_pages import SET_UP, command_page
from alphabench.core.errors import AlphaBenchError
from alphabench.core.terminal import echo
from alphabench.runs import factories

app = typer.Typer(help="Cached answers of judges.", no_args_is_help=True)


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
