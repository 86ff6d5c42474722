"""Tables as upstream's scripts have them, without pandas: every cell is its text.

Knows no benchmark.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, decode_text, parse_json, read_text
from alphabench.upstream.formats import HINT

T = TypeVar("T")
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


def read_frame(path: Path, name: str = "") -> dict[str, dict[str, str]]:
    """A table that pandas wrote with its index: index -> column -> cell.

    Args:
        path: the file, or a folder with at most one such file.
        name: what the file's name begins with; with another or no such file, the table is empty.

    Raises:
        AlphaBenchError: several files, as `read_csv_rows`, no index, or one that is there twice.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    files = [file for file in files if file.name.startswith(name)]
    if len(files) > 1:
        raise AlphaBenchError(f"{str(path)!r} has {len(files)} files {name}*", hint="keep one")
    frame: dict[str, dict[str, str]] = {}
    for row in read_csv_rows(files[0], ("",), where=str(files[0])) if files else ():
        if row[""] in frame:
            raise AlphaBenchError(f"{str(files[0])!r} has two rows {row['']!r}", hint=HINT)
        frame[row[""]] = {column: cell for column, cell in row.items() if column}
    return frame


def of_one_model(path: Path, found: Mapping[str, T]) -> T | None:
    """What `found` has of its only model; None where it is empty.

    Args:
        path: of the tables, for the error.
        found: by model.

    Raises:
        AlphaBenchError: there are several models.
    """
    if len(found) > 1:
        raise AlphaBenchError(f"{str(path)!r} is about several models", hint="keep one of them")
    return next(iter(found.values()), None)


def read_model_scores(path: Path, name: str, n: int) -> dict[str, list[float]]:
    """A table with a column for each model, of one of them: index -> its numbers.

    Args:
        path: see `read_frame`.
        name: see `read_frame`.
        n: numbers in a cell, of which the last is a share; an empty cell has none.

    Raises:
        AlphaBenchError: as `read_frame`, several models, or a cell of another form.
    """
    found = {}
    for index, cells in read_frame(path, name).items():
        found[index] = numbers_in(cell := of_one_model(path, cells) or "", n)
        if found[index] and not 0 <= found[index][-1] <= 1:
            raise no_score(cell)
    return found


def frame_text(columns: Sequence[str], frame: Mapping[str, Sequence[object]]) -> str:
    """Such a table, from the cells of each index in the order of columns; None is no value."""
    return csv_text(
        ["", *columns],
        (
            {
                "": index,
                **{c: "" if v is None else str(v) for c, v in zip(columns, of, strict=True)},
            }
            for index, of in frame.items()
        ),
    )


def numbers_in(cell: str, n: int) -> list[float]:
    """The finite numbers in a cell: one, or a list of `n`; empty where pandas finds no value.

    Raises:
        AlphaBenchError: anything else.
    """
    if cell in ABSENT:
        return []
    try:
        found = parse_json(cell)
        numbers = [float(one) for one in (found if n > 1 else [found])]
    except (UnreadableFileError, TypeError, ValueError):
        numbers = []
    if len(numbers) != n or not all(map(math.isfinite, numbers)):
        raise no_score(cell)
    return numbers


def no_score(cell: str) -> AlphaBenchError:
    """The error for a cell that is none of upstream's scores."""
    return AlphaBenchError(f"{cell!r} in a table is no score of this benchmark", hint=HINT)


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    """A table as pandas writes it, with the columns in their order; ValueError for others."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()
