"""Prints a page: rendered on a terminal, as markdown into a pipe, or as JSON on request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from alphabench.core.terminal import echo


class ShownPage(NamedTuple):
    """Something that can be shown: as a text for people, and as facts for programs."""

    markdown: str
    facts: Mapping[str, Any]
    """JSON values."""


def print_page(page: ShownPage, *, as_json: bool) -> None:
    """Print a page to standard output, in the form that suits it."""
    if as_json:
        print_json(page.facts)
    else:
        print_markdown(page.markdown)


def print_json(facts: Mapping[str, Any]) -> None:
    """Print one JSON object on one line."""
    echo(json.dumps(facts, ensure_ascii=False))


def print_markdown(text: str) -> None:
    """Print markdown: rendered on a terminal, as it is otherwise."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        echo(text)
        return
    from alphabench.reports.terminal_markdown import terminal_markdown

    for block in terminal_markdown(text, max(20, console.width)):
        console.print(block)
