"""The command line: each command parses its options, calls the library and prints.

Exit codes: 0 success; 1 finished, but something failed or is missing (run the same command again
to retry it); 2 invalid command or settings; 130 interrupted, 143 terminated, 129 hung up.
"""

from __future__ import annotations

import io
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from alphabench.cli import (
    calibrate_command,
    export_results_command,
    judge_commands,
    merge_command,
    parity_commands,
    run_commands,
    show_commands,
)
from alphabench.cli.continuation import Continuation
from alphabench.cli.help_pages import PagedGroup, add_command, add_group
from alphabench.core.errors import AlphaBenchError, from_os_error
from alphabench.core.stopping import Stopping
from alphabench.core.terminal import echo
from alphabench.registry import load_entry_point, registered

FIRST_STEPS: Final = (
    "alphabench run geneval:mini --ckpt nano",
    "alphabench run geneval --ckpt stabilityai/stable-diffusion-3.5-medium",
    "alphabench list",
)
"""Examples of `alphabench --help`."""
VERBS: Final[Mapping[str, Callable[..., None]]] = {
    "run": run_commands.run_command,
    "generate": run_commands.generate_command,
    "score": run_commands.score_command,
    "summarise": run_commands.summarise_command,
    "merge": merge_command.merge_command,
    "list": show_commands.list_command,
    "show": show_commands.show_command,
    "compare": show_commands.compare_command,
    "leaderboard": show_commands.leaderboard_command,
    "export-results": export_results_command.export_results_command,
    "fetch": show_commands.fetch_command,
    "doctor": show_commands.doctor_command,
    "calibrate": calibrate_command.calibrate_command,
}
"""In the order in which `alphabench --help` lists them."""


def _print_versions(wanted: bool) -> None:
    if not wanted:
        return
    # Read from the packages' metadata: importing torch takes seconds.
    versions = {
        "alphabench": metadata.version("alphabench"),
        "Python": platform.python_version(),
        "torch": metadata.version("torch"),
    }
    echo(", ".join(f"{name} {version}" for name, version in versions.items()))
    raise typer.Exit


def build_app() -> typer.Typer:
    """All commands, with those that other packages register as entry points `alphabench.commands`.

    Such an entry point is a Typer app with subcommands, or a function that is one command.
    """
    app = typer.Typer(
        name="alphabench",
        cls=PagedGroup,
        help="Benchmarks for image generation models: official scoring, error bars, coverage.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="\n".join(FIRST_STEPS),
    )
    app.callback()(_describe_all)
    for name, verb in VERBS.items():
        add_command(app, name, verb)
    add_group(app, "judge", judge_commands.app)
    add_group(app, "parity", parity_commands.app)
    for point in registered("alphabench.commands"):
        verb = load_entry_point(point)
        if isinstance(verb, typer.Typer):
            add_group(app, point.name, verb)
        else:
            add_command(app, point.name, verb)
    return app


@cache
def _command_line(import_path: tuple[str, ...]) -> Callable[..., Any]:
    """The parser of all commands, put together once in a process: that reads every signature."""
    del import_path  # where other packages with commands are found
    return typer.main.get_command(build_app())


def _describe_all(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the versions of alphabench, Python and torch.",
            callback=_print_versions,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Benchmarks for image generation models: official scoring, error bars, coverage."""
    del version  # its callback has printed them


def _check_here() -> None:
    """Some libraries exit without a message if the current folder does not exist."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise AlphaBenchError(
            "the current folder was deleted", hint="change to another one (`cd`), and try again"
        ) from error


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; an error that the user can fix is one sentence on standard error.

    Args:
        words: the arguments after `alphabench`; None takes those of this process.
    """
    words = list(sys.argv[1:] if words is None else words)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path or prompt that the terminal's encoding cannot show must not fail the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    again = Continuation(words)
    stopping = Stopping(again.print, deferral=lambda: again.deferral)
    with stopping.watched():
        try:
            _check_here()
            _command_line(tuple(sys.path))(words, obj=again, prog_name="alphabench")
        except (AlphaBenchError, OSError) as error:
            mistake = error if isinstance(error, AlphaBenchError) else from_os_error(error)
            echo(f"error: {mistake.message}", err=True)
            echo(f"hint: {mistake.hint}", err=True)
            sys.exit(2)
        finally:
            stopping.leave()
    sys.exit(0)
