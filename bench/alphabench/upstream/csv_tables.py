"""Tables as upstream's scripts have them, without pandas: every cell is its text.

Knows no benchmark.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, decode_text, read_text
from alphabench.upstream.formats import HINT

ABSENT: Final = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
     "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")
)  # fmt: skip
"""Cells that pandas takes for no value."""


def read_csv_rows(
    source: Path | bytes, columns: Collection[str], *, where: str, hint: str = HINT
) -> list[Mapping[str, str]]:
    """The rows of a table, by column; a cell that a short row lacks is empty.

    Args:
        source: the file, or its content.
        columns: that it must have.
        where: the table's name, for the error.
        hint: of the error.

    Raises:
        AlphaBenchError: it cannot be read, has no row, or lacks one of the columns.
    """
    try:
        text = decode_text(source) if isinstance(source, bytes) else read_text(source)
        reader = csv.DictReader(io.StringIO(text, newline=""), restval="", strict=True)
        rows: list[Mapping[str, str]] = list(reader)
    except (UnreadableFileError, csv.Error) as error:
        raise AlphaBenchError(f"{where!r} cannot be read: {error}", hint=hint) from error
    lacking = [name for name in columns if not rows or name not in rows[0]]
    if lacking:
        raise AlphaBenchError(
            f"{where!r} has no rows with the columns {', '.join(map(repr, lacking))}", hint=hint
        )
    return rows


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    """A table as pandas writes it, with the columns in their order; ValueError for others."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()
