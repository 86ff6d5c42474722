"""Scores that others published: read from files, listed with their sources, never ranked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_json
from alphabench.reports.markdown import NOTHING, Align, inline, markdown_table
from alphabench.runs.reading import error_clause
from alphabench.runs.serialization import MalformedError, record_from_json

_ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9!#$%&'*+,./:;=?@_~-]+")
"""What can stand as a link's target in markdown; brackets and spaces would end it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One published score and its source."""

    model: str
    prompts: str
    overall: float
    source: str
    url: str
    groups: Mapping[str, float] = field(default_factory=dict)
    evaluator: str = ""
    """The detector or judge, where the source states it; the column appears if any row has it."""

    def __post_init__(self) -> None:
        if not _ADDRESS.fullmatch(self.url):
            raise ValueError(f"'url' is {self.url!r}, not an address on the web")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Published scores of one benchmark."""

    benchmark: str
    """Its name, without version and split."""
    note: str
    groups: Sequence[str]
    rows: Sequence[PublishedRow]
    title: str = ""
    """Split or edition that the scores are of, where a benchmark has several files."""
    decimals: int = 2
    """Of every score in the table, 0 to 4."""

    def __post_init__(self) -> None:
        if not 0 <= self.decimals <= 4:
            raise ValueError(f"'decimals' is {self.decimals}, not 0 to 4")


def read_published(folder: Path) -> list[Published]:
    """The published scores in `folder`, in order of the files' names; none if it is absent.

    A benchmark may have several files, one for each split or edition.

    Raises:
        AlphaBenchError: a file that is not such a list of scores.
    """
    paths = (path for path in folder.glob("*.json") if not path.name.startswith("."))
    return [read_published_file(path) for path in sorted(paths)]


def read_published_file(path: Path) -> Published:
    """The published scores of one file.

    Raises:
        AlphaBenchError: it is not such a list of scores.
    """
    try:
        return record_from_json(Published, read_json(path))
    except (UnreadableFileError, MalformedError) as error:
        raise AlphaBenchError(
            f"{str(path)!r} is no list of published scores: it {error_clause(error)}",
            hint="see leaderboards/published/geneval.json for the form",
        ) from error


def published_section(published: Published) -> list[str]:
    """Their section of a leaderboard: heading, note, table, and the addresses of its links.

    What all rows share (the prompts, the evaluator) stands in the note instead of a column.
    """
    title = f": {inline(published.title)}" if published.title else ""
    shared = [
        f"{name}: {inline(values[0])}." for name, values in _words(published) if _same(values)
    ]
    return [
        f"## Published elsewhere, not ranked with ours{title}",
        " ".join([inline(published.note, 600), *shared]),
        _published_table(published),
        "\n".join(sorted({f"[{inline(row.source)}]: {row.url}" for row in published.rows})),
    ]


def _published_table(published: Published) -> str:
    """All scores, best first."""
    columns = [(name, values) for name, values in _words(published) if not _same(values)]
    rows = [
        [
            inline(row.model),
            *[inline(values[place]) or NOTHING for _, values in columns],
            _score(row.overall, published),
            *[_score(row.groups.get(name), published) for name in published.groups],
            f"[{inline(row.source)}]",
        ]
        for place, row in enumerate(_ordered(published))
    ]
    words = ["model", *[name.casefold() for name, _ in columns]]
    numbers = ["score", *[inline(name) for name in published.groups]]
    left: Align = "left"
    right: Align = "right"
    align = [*[left] * len(words), *[right] * len(numbers), left]
    return markdown_table([*words, *numbers, "source"], rows, align)


def _ordered(published: Published) -> list[PublishedRow]:
    return sorted(published.rows, key=lambda row: (-row.overall, row.model))


def _words(published: Published) -> list[tuple[str, list[str]]]:
    """Name -> what each row states about it, in the order of the table."""
    ordered = _ordered(published)
    stated = [
        ("Prompts", [row.prompts for row in ordered]),
        ("Evaluator", [row.evaluator for row in ordered]),
    ]
    return [(name, values) for name, values in stated if any(values)]


def _same(values: Sequence[str]) -> bool:
    return len(set(values)) == 1


def _score(value: float | None, published: Published) -> str:
    return NOTHING if value is None else f"{value:.{published.decimals}f}"
