from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.reports.markdown import (
    fenced,
    inline,
    interval,
    markdown_table,
    number,
    plain_text,
    width,
)
from alphabench.types import Estimate

NOTHING_SCORED = Estimate(value=None, low=None, high=None, n_samples=0, n_scored=0, n_expected=8)
HOSTILE = "<script>alert(1)</script> | `code` | **bold** [x](javascript:1)\n# heading\r\n---"


def unescaped(markup: str, text: str) -> list[str]:
    return re.findall(rf"(?<!\\){markup}", text.replace("\\\\", ""))


@given(st.text(max_size=300))
def test_no_text_can_leave_its_cell_or_become_markup(text: str) -> None:
    cell = inline(text)
    assert cell == "".join(cell.splitlines())
    assert cell.isprintable() or not any(ord(character) < 32 for character in cell)
    for markup in (r"\|", "`", r"\*", r"\[", "<", ">"):
        assert not unescaped(markup, cell)
    cell.encode("utf-8")


def test_a_hostile_text_stays_readable() -> None:
    cell = inline(HOSTILE)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in cell
    assert r"\[x\](javascript:1) # heading ---" in cell


def test_underscores_inside_words_are_left_as_they_are() -> None:
    assert inline("color_attr") == "color_attr"
    assert inline("_hidden_") == r"\_hidden\_"


def test_a_long_text_is_cut_and_shows_it() -> None:
    assert plain_text("word " * 3_000, limit=20) == "word word word word…"
    assert plain_text("short", limit=20) == "short"


def test_characters_that_turn_the_reading_direction_are_dropped() -> None:
    assert plain_text("abc\u202edef") == "abc def"


@given(st.text(max_size=200))
def test_a_code_block_cannot_be_ended_by_its_text(text: str) -> None:
    first, *body, last = fenced(text).split("\n")
    assert first == last
    assert set(first) == {"`"}
    assert not any(line.strip().startswith(first) for line in body)


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "0.000"), (0.8256, "0.826"), (84.084, "84.08"), (None, "—")]
)
def test_a_missing_figure_is_a_dash_and_never_a_zero(value: float | None, words: str) -> None:
    assert number(value) == words


def test_an_interval_of_nothing_is_a_dash() -> None:
    assert interval(NOTHING_SCORED) == "—"


@given(st.lists(st.text(max_size=30), min_size=3, max_size=12))
def test_every_line_of_a_table_is_equally_wide(texts: list[str]) -> None:
    rows = [[inline(text), "1"] for text in texts]
    lines = markdown_table(["name", "n"], rows, ["left", "right"]).split("\n")
    narrow = [line for line, row in zip(lines[2:], rows, strict=True) if width(row[0]) <= 44]
    assert len({width(line) for line in [*lines[:2], *narrow]}) == 1


def test_wide_characters_count_as_two_columns() -> None:
    assert width("猫 a") == 4
