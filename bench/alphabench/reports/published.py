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


def read_published(folder: Path) -> list[Published]:
    """The published scores in `folder`, one JSON file a benchmark; none if it is absent.

    Raises:
        AlphaBenchError: a file that is not such a list of scores.
    """
    paths = (path for path in folder.glob("*.json") if not path.name.startswith("."))
    return [_published(path) for path in sorted(paths)]


def published_section(published: Published) -> list[str]:
    """Their section of a leaderboard."""
    ordered = sorted(published.rows, key=lambda row: (-row.overall, row.model))
    rows = [
        [
            inline(row.model),
            inline(row.prompts),
            f"{row.overall:.2f}",
            *[f"{row.groups[g]:.2f}" if g in row.groups else NOTHING for g in published.groups],
            f"[{inline(row.source)}]",
        ]
        for row in ordered
    ]
    header = ["model", "prompts", "score", *[inline(g) for g in published.groups], "source"]
    numeric: list[Align] = ["right"] * (1 + len(published.groups))
    return [
        "## Published elsewhere, not ranked with ours",
        inline(published.note, 400),
        markdown_table(header, rows, ["left", "left", *numeric, "left"]),
        "\n".join(sorted({f"[{inline(row.source)}]: {row.url}" for row in ordered})),
    ]


def _published(path: Path) -> Published:
    try:
        return record_from_json(Published, read_json(path))
    except (UnreadableFileError, MalformedError) as error:
        raise AlphaBenchError(
            f"{str(path)!r} is no list of published scores: it {error_clause(error)}",
            hint="see leaderboards/published/geneval.json for the form",
        ) from error
