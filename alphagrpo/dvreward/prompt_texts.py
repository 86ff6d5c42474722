"""Reads files of prompts. Knows no question."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, parse_json, read_text

_LFS: Final = "version https://git-lfs.github.com/spec/"
"""How the pointer begins that Git LFS leaves where a file was not downloaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedPrompt:
    """A prompt and its position in a list."""

    text: str
    index: int
    """Position in the list that it came from."""


def read_prompts(path: Path) -> list[NumberedPrompt]:
    """One prompt a line: plain text, or JSON objects with `prompt` in a file named `.jsonl`.

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
    reader = _json_prompt if path.suffix == ".jsonl" else lambda line, _where, index: (line, index)
    found: list[NumberedPrompt] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"line {number} of {path.name!r}"
            text, index = reader(line.strip(), where, len(found))
            found.append(NumberedPrompt(text=text, index=index))
    if not found:
        raise AlphaBenchError(f"{str(path)!r} holds no prompt", hint="write one prompt a line")
    return found


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """The rows of a parquet file with a text column `prompt`, without cells that are null.

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
    for number, row in enumerate(found, start=1):
        text = row.get("prompt")
        if not isinstance(text, str) or not text.strip():
            raise AlphaBenchError(
                f"row {number} of {path.name!r} has no text 'prompt'",
                hint="name the column of the prompts 'prompt'",
            )
    if not found:
        raise AlphaBenchError(f"{str(path)!r} holds no prompt", hint="write one prompt a row")
    return found


def _json_prompt(line: str, where: str, index: int) -> tuple[str, int]:
    try:
        row: Any = parse_json(line)
    except UnreadableFileError as error:
        raise AlphaBenchError(f"{where} is not JSON", hint="write one object a line") from error
    text = row.get("prompt") if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise AlphaBenchError(f"{where} has no text 'prompt'", hint='write {"prompt": ...}')
    given = row.get("original_index")
    return text, given if isinstance(given, int) and not isinstance(given, bool) else index
