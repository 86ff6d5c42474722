"""Help pages: complete at 80 columns, in groups, with examples that the parser accepts."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.errors import MarkupError
from rich.markup import render
from typer.testing import CliRunner

from alphabench.cli import build_app
from alphabench.cli.help_pages import CHECKPOINT, GROUPS, JUDGING, OUTPUT, RUNNING, WHAT
from tests.cli.conftest import Shell

APP = build_app()


def commands() -> dict[str, Any]:
    """Every command and group by its words, `alphabench` without any."""
    found: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [("", typer.main.get_command(APP))]
    while waiting:
        words, command = waiting.pop()
        found[words] = command
        inner = getattr(command, "commands", {})
        waiting += [(f"{words} {name}".strip(), one) for name, one in inner.items()]
    return found


COMMANDS = commands()


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """The help page of every command at 80 columns."""
    runner = CliRunner(env={"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"})
    printed = {}
    for words in COMMANDS:
        result = runner.invoke(APP, [*words.split(), "--help"], prog_name="alphabench")
        assert result.exit_code == 0, words
        printed[words] = result.output
    return printed


def words_of(text: str) -> str:
    """The text without frames and line ends."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


def help_texts() -> Iterator[tuple[str, str]]:
    """Every text of every command, with the command and the option it belongs to."""
    for words, command in COMMANDS.items():
        yield words, command.help or ""
        for option in command.params:
            yield f"{words} {option.name}", getattr(option, "help", None) or ""
            yield f"{words} {option.name}", str(option.metavar or "")


def survives(text: str) -> bool:
    """Whether Rich prints it as it stands."""
    try:
        return render(text).plain == text
    except MarkupError:
        return False


def test_no_help_text_loses_words_to_markup() -> None:
    texts = list(help_texts())
    assert {"run ckpt", "parity geneval", "train recipe"} <= {where for where, _ in texts}
    assert [where for where, text in texts if not survives(text)] == []


@pytest.mark.parametrize("text", ["A folder [default: ./runs].", "name[@version]", "Ends [/here]."])
def test_what_looks_like_markup_is_noticed(text: str) -> None:
    assert not survives(text)


def test_no_page_is_wider_than_a_terminal_of_80_columns(pages: dict[str, str]) -> None:
    wide = [(name, line) for name, page in pages.items() for line in page.splitlines()]
    assert [(name, line) for name, line in wide if len(line) > 80] == []


def test_a_page_holds_the_whole_text_of_every_option(pages: dict[str, str]) -> None:
    for words, command in COMMANDS.items():
        assert "…" not in pages[words]
        page = words_of(pages[words])
        for option in command.params:
            text = getattr(option, "help", None) or ""
            lines = [words_of(line) for line in pages[words].splitlines()]
            assert words_of(text.partition("  [")[0].removesuffix("[required]")) in page, words
            names = [name for name in option.opts if name.startswith("--")]
            assert all(any(line.startswith(name) for line in lines) for name in names), words


def test_every_option_with_a_value_names_it() -> None:
    nameless = [
        f"{words} {option.name}"
        for words, command in COMMANDS.items()
        for option in command.params
        if not getattr(option, "is_flag", False) and not option.metavar
    ]
    assert nameless == []


@pytest.mark.parametrize(
    ("words", "groups"),
    [
        ("run", [WHAT, CHECKPOINT, JUDGING, RUNNING, OUTPUT]),
        ("generate", [WHAT, CHECKPOINT, RUNNING, OUTPUT]),
        ("score", [WHAT, JUDGING, RUNNING, OUTPUT]),
        ("calibrate", [WHAT, JUDGING, RUNNING, OUTPUT]),
        ("train", [WHAT, RUNNING, OUTPUT]),
    ],
)
def test_options_stand_in_groups_in_one_order(
    pages: dict[str, str], words: str, groups: list[str]
) -> None:
    titles = re.findall(r"╭─ (.+?) ─", pages[words])
    assert [title for title in titles if title in GROUPS] == groups
    assert set(titles) - {*GROUPS, "Other options"} == set()


def test_the_commands_stand_in_sections(pages: dict[str, str]) -> None:
    titles = re.findall(r"╭─ (.+?) ─", pages[""])
    assert titles == ["Evaluate", "Look at results", "Train", "Set up and check", "Options"]


def test_the_examples_of_a_page_name_commands_and_options_that_exist() -> None:
    shown = [words for words, command in COMMANDS.items() if command.epilog]
    assert {"", "run", "generate", "score", "calibrate", "train", "show", "compare"} <= set(shown)
    for words in shown:
        for example in COMMANDS[words].epilog.replace("\\\n", " ").splitlines():
            head, *rest = shlex.split(example)
            if head == "torchrun":
                rest = rest[rest.index("alphabench") + 1 :]
            name = max((one for one in COMMANDS if " ".join(rest).startswith(one)), key=len)
            options = {option for one in COMMANDS[name].params for option in one.opts}
            assert {word for word in rest if word.startswith("--")} <= options, example


def test_the_short_option_shows_the_same_page(pages: dict[str, str]) -> None:
    runner = CliRunner(env={"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"})
    for words in ("", "run", "judge", "judge cache"):
        result = runner.invoke(APP, [*words.split(), "-h"], prog_name="alphabench")
        assert result.output == pages[words]


def test_versions_are_printed_without_importing_torch() -> None:
    script = (
        "import sys\nfrom alphabench.cli import main\n"
        "try:\n    main(['--version'])\nfinally:\n    assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"alphabench \S+, Python 3\.\S+, torch \S+\n", done.stdout)


def completions(shell: Shell, typed: str) -> list[str]:
    """What bash is offered at the end of a line."""
    words = typed.split(" ")
    done = subprocess.run(
        [sys.executable, "-c", "from alphabench.cli import main; main()"],
        env={
            **shell.environment,
            "_ALPHABENCH_COMPLETE": "complete_bash",
            "COMP_WORDS": "\n".join(words),
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("alphabench ru", ["run"]),
        ("alphabench run geneval:", ["geneval:long", "geneval:mini", "geneval:mini-test"]),
        ("alphabench run geneval --evaluator mask", ["mask2former", "mask2former:official"]),
        ("alphabench train nano-rt", ["nano-rt2i"]),
    ],
)
def test_a_shell_completes_names(alphabench: Shell, typed: str, offered: list[str]) -> None:
    assert completions(alphabench, typed) == offered


def test_an_error_names_the_arguments_as_the_page_does() -> None:
    runner = CliRunner(env={"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"})
    refused = runner.invoke(APP, ["run"], prog_name="alphabench")
    assert refused.exit_code == 2
    assert "Usage: alphabench run [OPTIONS] BENCHMARK\n" in refused.output
