"""A benchmark's official result format, as an object that is found by name in the registry.

Knows none of the formats and no run folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_json
from alphabench.types import Estimate, Report, Sample, Verdict
from alphabench.upstream.cache import UpstreamData

HINT: Final = "restore the file, or have upstream's evaluation script write it again"
Files = Iterator[tuple[PurePosixPath, str | bytes | Path]]
"""Relative path, and its text, its bytes, or the file to copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialFormat:
    """How a benchmark's upstream project stores results."""

    summarise: Callable[[Path, UpstreamData], Report]
    """A published raw result, and where official data lies -> its metrics, quirks included."""
    text: Callable[[Report], str]
    """Those metrics as upstream's script prints them."""
    files: Callable[[Sequence[Sample], Mapping[str, Path], Sequence[Verdict]], Files]
    """Samples, image id -> stored image, verdicts -> the files of upstream's layout."""


def file_of(path: Path, pattern: str, *, kind: str, hint: str) -> Path:
    """A published file, or the only one of its kind in a folder.

    Args:
        path: the file or the folder.
        pattern: of the file's name: `*.csv`.
        kind: what such files are, in the plural, for the error.
        hint: of the error.

    Raises:
        AlphaBenchError: no such file in the folder, or several; with the hint.
    """
    if not path.is_dir():
        return path
    files = [file for file in sorted(path.glob(pattern)) if not file.name.startswith(".")]
    if len(files) != 1:
        raise AlphaBenchError(f"{str(path)!r} holds {len(files)} {kind}", hint=hint)
    return files[0]


def parts_text(report: Report) -> str:
    """The groups and the extras, a line each."""
    return values_text({**report.groups, **report.extras})


def values_text(estimates: Mapping[str, Estimate]) -> str:
    """A line for each estimate that has a value."""
    known = {name: one.value for name, one in estimates.items() if one.value is not None}
    return "\n".join(f"{name}: {value}" for name, value in known.items())


def read_json_object(file: Path, *, hint: str) -> dict[str, Any]:
    """The JSON object in a published file.

    Raises:
        AlphaBenchError: it cannot be read, or holds something else; with the hint.
    """
    found = read_official_json(file, hint=hint)
    if not isinstance(found, dict):
        raise AlphaBenchError(f"{str(file)!r} is no JSON object", hint=hint)
    return found


def read_official_json(file: Path, *, hint: str = HINT) -> Any:
    """The JSON in a published file.

    Raises:
        AlphaBenchError: it cannot be read; with the hint.
    """
    try:
        return read_json(file)
    except UnreadableFileError as error:
        raise AlphaBenchError(f"{str(file)!r} cannot be read: {error}", hint=hint) from error
