"""Reads files of prompts. Knows no question."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, parse_json, read_text

PROMPT: Final = "prompt"
"""Key, or column, of the prompt itself."""
_LFS: Final = "version https://git-lfs.github.com/spec/"
"""How the pointer begins that Git LFS leaves where a file was not downloaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedPrompt:
    """A prompt and its position in a list."""

    text: str
    index: int
    """Position in the list that it came from."""


def read_prompts(path: Path, *, column: str = PROMPT) -> list[NumberedPrompt]:
    """One prompt a line: plain text, or JSON objects in a file named `.jsonl`.

    Args:
        path: of the file.
        column: the key of the prompt in a JSON object.

    Raises:
        AlphaBenchError: no such file, or nothing in it that could be a prompt.
    """
    try:
        text = read_text(path)
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"{str(path)!r} cannot be read ({error})", hint="name a file with one prompt a line"
        ) from error
    if text.startswith(_LFS):
        raise AlphaBenchError(
            f"{str(path)!r} is a Git LFS pointer, not the file itself",
            hint="run `git lfs pull` in the repository that it comes from",
        )
    lines = text.split("\n")
    lines_are_json = path.suffix == ".jsonl"
    found: list[NumberedPrompt] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"line {number} of {path.name!r}"
            text, index = line.strip(), len(found)
            if lines_are_json:
                text, index = _json_prompt(text, where, index, column)
            found.append(NumberedPrompt(text=text, index=index))
    if not found:
        raise AlphaBenchError(f"{str(path)!r} holds no prompt", hint="write one prompt a line")
    return found


def read_parquet(path: Path, *, column: str = PROMPT) -> list[dict[str, Any]]:
    """The rows of a parquet file with a text column `column`, without cells that are null.

    Raises:
        AlphaBenchError: no such file, one that is no table of prompts, or pyarrow is missing.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise AlphaBenchError(
            f"reading {path.name!r} needs pyarrow", hint="pip install 'alphabench[data]'"
        )
    from pyarrow import ArrowException, parquet

    try:
        table: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (OSError, ArrowException) as error:
        raise AlphaBenchError(
            f"{str(path)!r} cannot be read ({error})", hint="name a parquet file of prompts"
        ) from error
    found = [{key: value for key, value in row.items() if value is not None} for row in table]
    refuse_textless(found, column, where=repr(path.name))
    return found


def refuse_textless(rows: Sequence[Mapping[str, Any]], column: str, *, where: str) -> None:
    """Refuses rows without a prompt in a column.

    Raises:
        AlphaBenchError: naming the first such row, or that there are no rows.
    """
    for number, row in enumerate(rows, start=1):
        text = row.get(column)
        if not isinstance(text, str) or not text.strip():
            others = ", ".join(key for key in row if isinstance(row[key], str)) or "no text"
            raise AlphaBenchError(
                f"row {number} of {where} has no text {column!r}",
                hint=f"name the column of the prompts {column!r}, or set prompts.column to another "
                f"one; this row has {others}",
            )
    if not rows:
        raise AlphaBenchError(f"{where} holds no prompt", hint="write one prompt a row")


def _json_prompt(line: str, where: str, index: int, column: str) -> tuple[str, int]:
    try:
        row: Any = parse_json(line)
    except UnreadableFileError as error:
        raise AlphaBenchError(f"{where} is not JSON", hint="write one object a line") from error
    text = row.get(column) if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise AlphaBenchError(
            f"{where} has no text {column!r}",
            hint=f'write {{"{column}": ...}}; a recipe names another key with prompts.column',
        )
    given = row.get("original_index")
    return text, given if isinstance(given, int) and not isinstance(given, bool) else index
