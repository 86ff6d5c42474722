"""Help texts reach the reader whole: Rich takes some square brackets for markup and eats them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer
from rich.errors import MarkupError
from rich.markup import render

from alphabench.cli import build_app


def help_texts() -> Iterator[tuple[str, str]]:
    """Every text of every command, with the command and the option it belongs to."""
    commands = [("alphabench", typer.main.get_command(build_app()))]
    while commands:
        name, command = commands.pop()
        yield name, command.help or ""
        for option in command.params:
            yield f"{name} {option.name}", getattr(option, "help", None) or ""
            yield f"{name} {option.name}", str(option.metavar or "")
        inner = getattr(command, "commands", {})
        commands += [(f"{name} {verb}", one) for verb, one in inner.items()]


def survives(text: str) -> bool:
    """Whether Rich prints it as it stands."""
    try:
        return render(text).plain == text
    except MarkupError:
        return False


def test_no_help_text_loses_words_to_markup() -> None:
    texts = list(help_texts())
    assert {"alphabench run ckpt", "alphabench parity geneval", "alphabench train recipe"} <= {
        where for where, _ in texts
    }
    assert [where for where, text in texts if not survives(text)] == []


@pytest.mark.parametrize("text", ["A folder [default: ./runs].", "name[@version]", "Ends [/here]."])
def test_what_looks_like_markup_is_noticed(text: str) -> None:
    assert not survives(text)
