"""The messages that docs/troubleshooting.md quotes are those that the program prints."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.page_commands import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
PACKAGES = ("bench", "alphagrpo", "trainers")


def quoted_messages() -> list[str]:
    """The code in the first column of the tables: messages, with `…` for what varies."""
    first = re.findall(r"^\| (`[^|]*`) \|", PAGE, re.MULTILINE)
    return [cell[1:-1] for cell in first if cell.count("`") == 2]


def texts_of_the_program() -> str:
    """All literal texts, with the parts of formatted ones on lines of their own."""
    return "\n".join(
        node.value
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@pytest.fixture(scope="module")
def texts() -> str:
    return texts_of_the_program()


def test_the_page_quotes_messages() -> None:
    assert len(quoted_messages()) > 30


@pytest.mark.parametrize("message", quoted_messages())
def test_a_quoted_message_is_printed_by_the_program(message: str, texts: str) -> None:
    parts = [part.strip(" ()") for part in message.split("…")]
    missing = [part for part in parts if len(part) > 2 and part not in texts]
    assert missing == []
