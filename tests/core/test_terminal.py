"""Text from anywhere reaches a terminal as text, never as a command to it."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from alphabench.core.terminal import shown
from alphabench.runs.progress import Bars
from tests.test_architecture import PACKAGES

ACTING = {
    "a title": "\x1b]0;pwned\x07",
    "a colour": "\x1b[31m",
    "one byte of C1": "\x9b31m",
    "a line written over": "fine\rerror",
    "a backspace": "ab\x08",
    "another direction": "\u202egnp.exe",
    "half a surrogate": "\ud83d",
}


@pytest.mark.parametrize("text", ACTING.values(), ids=ACTING)
def test_what_a_terminal_would_act_upon_is_shown(text: str) -> None:
    assert shown(text).isprintable()
    assert json.loads(f'"{shown(text)}"') == text


def test_ordinary_text_of_any_language_stays_as_it_is() -> None:
    text = "日本語\tالعربية\nfamily: 👨‍👩‍👧 100 %"
    assert shown(text) == text


def test_notes_beside_a_bar_are_neither_commands_nor_markup() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    with Bars(console) as bars:
        bars.note("[bold]\x1b]0;pwned\x07[/bold]")
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[bold]\\u001b]0;pwned\\u0007[/bold]" in written


def test_all_commands_write_through_one_place() -> None:
    echoing = re.compile(r"typer\.s?echo\b|click\.echo|(?<!\.)\bprint\(")
    found = {
        path.name
        for folder in PACKAGES.values()
        for path in folder.rglob("*.py")
        if echoing.search(path.read_text())
    }
    assert found <= {"terminal.py", "continuation.py"}
