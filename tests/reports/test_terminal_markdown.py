"""Markdown on a terminal: nothing is cut, nothing is wider, and no markup is left over."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from alphabench.reports.markdown import Align, inline, markdown_table
from alphabench.reports.terminal_markdown import terminal_markdown


def printed(text: str, columns: int = 80) -> str:
    out = io.StringIO()
    console = Console(file=out, width=columns, color_system=None, force_terminal=True)
    for block in terminal_markdown(text, columns):
        console.print(block)
    return out.getvalue()


SIDES: list[Align] = ["right"] * 20
WIDE = markdown_table(
    ["rank", "checkpoint", *(f"group_{n}" for n in range(20))],
    [[str(row), f"model-{row}", *(f"0.{row}{n:02}" for n in range(20))] for row in (1, 2)],
    ["right", "left", *SIDES],
)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_table_that_is_too_wide_is_shown_in_parts_that_name_their_rows(columns: int) -> None:
    lines = [line for line in printed(WIDE, columns).splitlines() if line.strip()]
    assert all(len(line) <= columns for line in lines)
    words = " ".join(lines).split()
    assert {f"0.1{n:02}" for n in range(20)} <= set(words)
    assert {f"group_{n}" for n in range(20)} <= set(words)
    assert words.count("model-1") == words.count("model-2") == words.count("checkpoint")
    assert "…" not in words
    assert words.count("model-1") > 1


def test_a_long_text_is_folded_and_not_cut() -> None:
    table = markdown_table(["what", "value"], [["digest", "0123456789" * 12]], ["left", "left"])
    shown = printed(table)
    assert "".join(shown.split()).count("0123456789") >= 11
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_links_emphasis_and_escapes_become_plain_text() -> None:
    cells = [inline("a_b|c*d <e> [f]"), "**bold**", "[report](reports/x.md)", "[Their README]"]
    shown = printed(markdown_table(list("wxyz"), [cells], ["left"] * 4))
    for text in ("a_b|c*d <e> [f]", "bold", "report", "Their README"):
        assert text in shown
    assert not {"\\", "**", "reports/x.md", "[Their"} & set(shown.split())


def test_an_interval_keeps_its_brackets() -> None:
    assert "[0.790, 0.861]" in printed(markdown_table(["i"], [["[0.790, 0.861]"]], ["right"]))


def test_text_around_a_table_and_code_is_kept_in_order() -> None:
    table = markdown_table(["key"], [["in the table"]], ["left"])
    shown = printed(f"# Title\n\nBefore.\n\n{table}\n\nAfter.\n\n```\n| no table |\n```\n")
    places = [shown.index(text) for text in ("Title", "Before.", "in the table", "After.")]
    assert places == sorted(places)
    assert "| no table |" in shown


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in printed("# \x1b]0;owned\x07\n\n| a |\n| --- |\n| \x1b[2J |\n")
