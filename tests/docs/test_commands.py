"""Every command on every page is one that the command line has, and runs where it can run here.

`pytest tests/docs -rs` lists the commands that were not run, each with its reason.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.support.command_checks import faults
from tests.support.command_plan import is_slow, plan
from tests.support.page_commands import (
    PAGES,
    ROOT,
    PageCommand,
    code_blocks,
    name_of,
    page_commands,
    unquoted_patterns,
)

COMMANDS = [command for page in PAGES for command in page_commands(page)]
LEFT_OUT = [(command, reason) for page in PAGES for command, reason in plan(page) if reason]
RUN = [page for page in PAGES if any(reason is None for _, reason in plan(page))]
SLOW = [page for page in PAGES if any(reason and is_slow(reason) for _, reason in plan(page))]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.where)
def test_a_command_has_only_options_and_names_that_exist(command: PageCommand) -> None:
    assert faults(command) == [], command.text


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.where)
def test_a_command_can_be_pasted_into_any_shell(command: PageCommand) -> None:
    assert unquoted_patterns(command.text) == [], f"quote these words, for zsh: {command.text}"


@pytest.fixture(scope="module")
def runs_made() -> dict[str, Path]:
    """What pages before made: text of a command -> the `runs` folder that holds its run."""
    return {}


@pytest.fixture(scope="module")
def complete_runs() -> dict[str, Path]:
    """The same, of commands that were run as they are written."""
    return {}


FEW = 4
"""Prompts of a command that names a larger `--limit`, unless all is run as it is written."""


def lessened(words: Sequence[str]) -> list[str]:
    """The command for `FEW` prompts at most."""
    pairs = zip(["", *words], words, strict=False)
    return [str(min(int(word), FEW)) if last == "--limit" else word for last, word in pairs]


def run_page(page: Path, folder: Path, made: dict[str, Path], *, slow_too: bool) -> None:
    """Runs a page's commands in order, in a folder of its own; a run made before is copied.

    A block with the mark `<!-- file: NAME -->` is the content of that file.

    Args:
        page: with the commands.
        folder: is filled.
        made: text of a command -> the `runs` folder that holds its run; added to.
        slow_too: run every command, with as many prompts as it names.
    """
    shutil.copytree(ROOT / "examples", folder / "examples")
    for block in code_blocks(page):
        if block.mark.startswith("file: "):
            (folder / block.mark.removeprefix("file: ")).write_text(f"{block.text}\n")
    for command, reason in plan(page, slow_too=slow_too):
        if reason is not None:
            continue
        here = folder / command.folder if (folder / command.folder).is_dir() else folder
        if command.text in made:
            shutil.copytree(made[command.text], here / "runs", dirs_exist_ok=True)
        words = [*(command.alphabench_words or ())]
        if not slow_too:
            words = lessened(words)
        said = Shell(folder=here, cache=folder / "cache")(*words, code=None)
        wanted = command.block.mark.removeprefix("exit ")
        assert str(said.code) == (wanted if wanted.isdigit() else "0"), (
            f"{command.where}: {command.text}\n{said.out}\n{said.err}"
        )
        if words[0] in ("run", "generate") and (here / "runs").is_dir():
            made.setdefault(command.text, here / "runs")


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_the_commands_of_a_page_run(page: Path, tmp_path: Path, runs_made: dict[str, Path]) -> None:
    run_page(page, tmp_path, runs_made, slow_too=False)


@pytest.mark.whole
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", [page for page in PAGES if page in {*RUN, *SLOW}], ids=name_of)
def test_all_commands_of_a_page_run_as_they_are_written(
    page: Path, tmp_path: Path, complete_runs: dict[str, Path]
) -> None:
    run_page(page, tmp_path, complete_runs, slow_too=True)


@pytest.mark.parametrize(
    ("command", "reason"), LEFT_OUT, ids=[command.where for command, _ in LEFT_OUT]
)
def test_a_command_that_is_left_out(command: PageCommand, reason: str) -> None:
    pytest.skip(f"{command.where}: {command.text}  ({reason})")
