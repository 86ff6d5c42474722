"""Markdown that also reads well as plain text: escaping, aligned tables, numbers and intervals.

Whatever comes from data (prompts, error messages, names of checkpoints) passes `inline` or
`fenced` and can then neither break a table nor become markup. Knows nothing of runs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final, Literal

from alphabench.types import Estimate

NOTHING: Final = "—"
"""Replaces a number that does not exist; never a 0."""
_WIDEST: Final = 44
"""Columns are padded to at most this many characters, so that one long cell does not push all."""
_DIRECTIONS: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
_MARKUP = re.compile(r"[\\`*\[\]<>|~$]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES: Final = {"<": "&lt;", ">": "&gt;"}

Align = Literal["left", "right"]


def plain_text(text: str, limit: int = 160) -> str:
    """One printable line: no control characters; cut to `limit` with an ellipsis."""
    printable = "".join(_printable(character) for character in text[: 20 * limit])
    line = " ".join(printable.split())
    return line if len(line) <= limit and len(text) <= 20 * limit else f"{line[: limit - 1]}…"


def inline(text: str, limit: int = 160) -> str:
    """`plain`, with everything escaped that markdown or HTML would act upon."""
    escaped = plain_text(text, limit).replace("&", "&amp;")
    return _MARKUP.sub(lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"), escaped)


def fenced(text: str) -> str:
    """A code block that the text cannot end."""
    lines = ["".join(_printable(c) for c in line) for line in text.splitlines()]
    body = "\n".join(lines)
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{body}\n{fence}"


def number(value: float | None) -> str:
    """Three decimals, two from 10 on; a dash where there is none."""
    if value is None:
        return NOTHING
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def interval(estimate: Estimate) -> str:
    """`[0.790, 0.861]`; a dash where nothing was scored. The heading must say 95%."""
    if estimate.low is None:
        return NOTHING
    return f"[{number(estimate.low)}, {number(estimate.high)}]"


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[Align]
) -> str:
    """A markdown table whose source is aligned too; cells are taken as they are."""
    cells = [list(header), *[list(row) for row in rows]]
    widths = [
        max(3, min(_WIDEST, max(width(row[column]) for row in cells)))
        for column in range(len(header))
    ]
    rule = [
        "-" * (w - 1) + ":" if a == "right" else "-" * w for w, a in zip(widths, align, strict=True)
    ]
    return "\n".join(
        "| " + " | ".join(_pad(*one) for one in zip(row, widths, align, strict=True)) + " |"
        for row in [cells[0], rule, *cells[1:]]
    )


def width(text: str) -> int:
    """Columns that the text takes in a fixed-width font."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _pad(cell: str, wanted: int, align: Align) -> str:
    space = " " * max(0, wanted - width(cell))
    return space + cell if align == "right" else cell + space


def _printable(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cs":
        return "\ufffd"
    return " " if category in ("Cc", "Zl", "Zp") or character in _DIRECTIONS else character
