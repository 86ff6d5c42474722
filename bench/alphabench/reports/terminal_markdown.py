"""Markdown as a terminal shows it: headings, paragraphs, and tables that fit its width.

A table that is too wide is folded, and if that is not enough it is shown in parts: each repeats the
first columns, and nothing is cut. Reads the markdown that this project writes, not all markdown.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from alphabench.core.terminal import shown
from alphabench.reports.markdown import Align, width

if TYPE_CHECKING:
    from rich.console import RenderableType

_RULE: Final = re.compile(r"\|(\s*:?-+:?\s*\|)+")
_CELLS: Final = re.compile(r"(?<!\\)\|")
_LINK: Final = re.compile(r"\[((?:[^\[\]\\]|\\.)*)\](?:\([^)\s]*\)|\[[^\[\]]*\])")
_REFERENCE: Final = re.compile(r"\[([A-Za-z](?:[^\[\]\\]|\\.)*)\]")
"""A whole cell that is the name of a link; an interval begins with a number."""
_ESCAPED: Final = re.compile(r"\\([\\`*\[\]<>|~$_{}()#+.!-])")
_EMPHASIS: Final = re.compile(r"(?<!\\)(\*\*|`)")
_GAP: Final = 3
"""Between two columns, as Rich prints them."""
_FOLDED: Final = 30
"""Columns of text wider than this may be folded, down to this width."""
_NARROW: Final = 6
"""A first column up to this width (a rank) is repeated together with the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _TableText:
    """A table's cells as plain text."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: Sequence[Align]

    def widths(self) -> list[int]:
        return [
            max(width(row[column]) for row in [self.header, *self.rows])
            for column in range(len(self.header))
        ]


def terminal_markdown(text: str, columns: int) -> list[RenderableType]:
    """What Rich prints for a markdown text.

    Args:
        text: markdown.
        columns: width of the terminal, at least 20.
    """
    from rich.markdown import Markdown

    printed: list[RenderableType] = []
    for block in _blocks(shown(text)):
        if isinstance(block, str):
            printed.append(Markdown(block))
        else:
            for part in _parts(block, columns):
                printed += ["", _rich_table(part, columns)]
            printed.append("")
    return printed


def _blocks(text: str) -> Iterator[str | _TableText]:
    """Tables, and the text between them."""
    between: list[str] = []
    table: list[str] = []
    fenced = False
    for line in [*text.split("\n"), ""]:
        fenced ^= line.startswith("```")
        if line.startswith("|") and not fenced:
            table.append(line)
            continue
        if len(table) > 1 and _RULE.fullmatch(table[1].strip()):
            if any(one.strip() for one in between):
                yield "\n".join(between)
            yield _table_of(table)
            between = []
        else:
            between += table
        table = []
        between.append(line)
    if any(one.strip() for one in between):
        yield "\n".join(between)


def _table_of(lines: Sequence[str]) -> _TableText:
    header, rule, *rows = [
        [cell.strip() for cell in _CELLS.split(line.strip())[1:-1]] for line in lines
    ]
    n = len(header)
    sides = [*rule, *["-"] * n][:n]
    aligned: list[Align] = ["right" if side.endswith(":") else "left" for side in sides]
    return _TableText(
        header=[_plain(cell) for cell in header],
        rows=[[_plain(cell) for cell in [*row, *[""] * n][:n]] for row in rows],
        align=aligned,
    )


def _plain(cell: str) -> str:
    """The text of a cell without markup."""
    if (named := _REFERENCE.fullmatch(cell)) is not None:
        cell = named[1]
    text = _EMPHASIS.sub("", _LINK.sub(r"\1", cell))
    return html.unescape(_ESCAPED.sub(r"\1", text))


def _parts(table: _TableText, columns: int) -> list[_TableText]:
    """The table itself, or several that fit: each has the first columns, and some of the others."""
    widths = [
        min(wide, _FOLDED) if side == "left" else wide
        for wide, side in zip(table.widths(), table.align, strict=True)
    ]
    n_keys = 2 if widths[0] <= _NARROW and len(widths) > 2 else 1
    room = columns - sum(wide + _GAP for wide in widths[:n_keys])
    groups: list[list[int]] = [[]]
    used = 0
    for column in range(n_keys, len(widths)):
        used += widths[column] + _GAP
        if groups[-1] and used > room:
            groups.append([])
            used = widths[column] + _GAP
        groups[-1].append(column)
    return [_columns_of(table, [*range(n_keys), *group]) for group in groups]


def _columns_of(table: _TableText, chosen: Sequence[int]) -> _TableText:
    return _TableText(
        header=[table.header[column] for column in chosen],
        rows=[[row[column] for column in chosen] for row in table.rows],
        align=[table.align[column] for column in chosen],
    )


def _rich_table(table: _TableText, columns: int) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    widths = table.widths()
    # The widest columns of text give way, so that numbers stay whole.
    while sum(wide + _GAP for wide in widths) - 1 > columns:
        texts = [i for i, side in enumerate(table.align) if side == "left"] or [*range(len(widths))]
        widest = max(texts, key=lambda column: widths[column])
        if widths[widest] <= 1:
            break
        widths[widest] -= 1
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False)
    for title, side, wide in zip(table.header, table.align, widths, strict=True):
        grid.add_column(Text(title), justify=side, width=wide, overflow="fold")
    for row in table.rows:
        grid.add_row(*(Text(cell, overflow="fold") for cell in row))
    return grid
