"""Runs side by side: one table for each way of measuring, and never two ways in one table.

Rows are ordered by score; runs that a paired bootstrap cannot distinguish share a rank. A partial
or unchecked run has no rank. Published scores are listed separately, with their sources. Knows
no benchmark's rules: what ties need comes in through `basis_of`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alphabench.core.data_frames import data_frame
from alphabench.core.errors import AlphaBenchError
from alphabench.core.writing import replace_file, writing
from alphabench.reports.comparison import (
    ComparisonBasis,
    clusters_of,
    identity_differences,
    is_distinguishable,
    measurement,
)
from alphabench.reports.markdown import NOTHING, Align, inline, interval, markdown_table, number
from alphabench.reports.published import Published, published_section
from alphabench.reports.run_report import (
    coverage_words,
    not_comparable_reason,
    report_markdown,
    self_test_stamp,
)
from alphabench.runs.serialization import report_to_json
from alphabench.runs.store import RunFolder
from alphabench.runs.stored_run import StoredEvaluation, StoredRun
from alphabench.statistics import paired_difference
from alphabench.types import ProtocolName, Report

if TYPE_CHECKING:
    import pandas as pd

BasisOf = Callable[[StoredRun, ProtocolName], ComparisonBasis]
"""The samples and the formula of the benchmark of a run, under a protocol.

It may raise AlphaBenchError (data that was not fetched): ranks are then not tested for ties.
"""
INDEX: Final = "README.md"
LEAST_COVERAGE: Final = 0.99
"""Below it, unscored verdicts may matter more than the difference between two runs."""
_LEGEND: Final = (
    "Brackets are 95% intervals of a bootstrap over samples. Runs marked `=` share a rank: the "
    "paired difference from the first of them has a 95% interval that includes 0. A run without "
    "a rank is partial, unchecked, or has less than 99% of its verdicts."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardEntry:
    """One evaluation of one run."""

    run: StoredRun
    evaluation: StoredEvaluation
    report: Report

    @property
    def measurement(self) -> dict[str, str]:
        return measurement(self.run, self.evaluation)

    @property
    def reservations(self) -> list[str]:
        """Why it has no rank; empty when it may have one."""
        report = self.report
        # A few unparsed replies cost no rank; images that were never scored do.
        looked_at = report.coverage < 1 and not report.statuses.get("missing")
        in_part = report.partial and not (looked_at and self.run.manifest.limit is None)
        stamps = [self.stamp] if in_part else []
        if (stamp := self_test_stamp(self.evaluation.identity)) is not None:
            stamps.append(stamp[0])
        if report.headline.value is None:
            stamps.append("NO HEADLINE" if report.headline.n_scored else "NOTHING SCORED")
        elif report.coverage < LEAST_COVERAGE:
            stamps.append("LOW COVERAGE")
        return stamps

    @property
    def stamp(self) -> str:
        """How a report is partial; empty for a complete one."""
        if not self.report.partial:
            return ""
        limit, coverage = self.run.manifest.limit, self.report.coverage
        sizes = [f"{limit} samples"] if limit is not None else []
        sizes += [f"{coverage_words(self.report).partition(' ')[0]} scored"] if coverage < 1 else []
        return f"PARTIAL ({', '.join(sizes)})" if sizes else "PARTIAL"

    @property
    def report_path(self) -> str:
        """Path of the copy of its report, relative to the leaderboard and without suffix."""
        manifest = self.run.manifest
        name = f"{_slug(manifest.checkpoint)}-{manifest.fingerprint[:6]}-{self.evaluation.name}"
        return f"reports/{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedTable:
    """The results of one way of measuring, best first, with their ranks."""

    entries: Sequence[LeaderboardEntry]
    ranks: Sequence[str]
    """`1`, `2=`, or a dash; as long as `entries`."""
    untested: str | None
    """Why ties were not tested; None if they were."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Leaderboard:
    """Tables of comparable results, and scores that others published."""

    tables: Sequence[RankedTable]
    """One for each way of measuring, full splits first."""
    published: Sequence[Published]
    copies: Mapping[str, str]
    """Path -> text of the reports that the rows came from."""
    skipped: tuple[str, ...] = ()
    """A sentence for each run that could not be read."""

    def pages(self) -> dict[str, str]:
        """All files: an index, a page for each benchmark, and the reports; path -> text."""
        pages: dict[str, list[RankedTable]] = {}
        for one in self.tables:
            pages.setdefault(_benchmark_of(one), []).append(one)
        return {
            INDEX: _index(pages),
            **{f"{_slug(n)}.md": _page(n, of, self.published) for n, of in pages.items()},
            **self.copies,
        }

    def to_markdown(self) -> str:
        """The index and the page of each benchmark as one text."""
        return "\n".join(text for name, text in self.pages().items() if "/" not in name)

    def rows(self) -> list[dict[str, Any]]:
        """A row of JSON values for each result, as `to_pandas` has them."""
        return [
            _as_row(number, rank, entry)
            for number, one in enumerate(self.tables, start=1)
            for rank, entry in zip(one.ranks, one.entries, strict=True)
        ]

    def to_pandas(self) -> pd.DataFrame:
        """A row for each result: table, rank, checkpoint, score with 95% interval, coverage.

        Only rows of one `table` are comparable. Groups of the benchmark are columns named
        `group: NAME`.

        Raises:
            AlphaBenchError: pandas is not installed (extra `notebook`).
        """
        rows = self.rows()
        return data_frame(rows, list(dict.fromkeys(key for row in rows for key in row)))

    def write(self, out: str | PathLike[str]) -> Path:
        """Write all pages below the folder `out`; other files there are left alone.

        Returns:
            The path of the index.

        Raises:
            AlphaBenchError: `out` cannot be written.
        """
        folder = Path(out)
        with writing(folder, elsewhere="name another folder: --out"):
            # The index last: it leads to nothing that is not there yet.
            for name, text in sorted(self.pages().items(), key=lambda page: page[0] == INDEX):
                replace_file(folder / name, text)
        return folder / INDEX

    def __repr__(self) -> str:
        n_results = sum(len(one.entries) for one in self.tables)
        names = dict.fromkeys(one.entries[0].run.manifest.benchmark for one in self.tables)
        return f"Leaderboard({n_results} results in {len(self.tables)} tables: {', '.join(names)})"

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def rank_runs(
    folders: Sequence[RunFolder],
    basis_of: BasisOf,
    *,
    published: Sequence[Published] = (),
    note: Callable[[str], None] = lambda _: None,
) -> Leaderboard:
    """The results of all folders, ranked in tables of comparable ones.

    Args:
        folders: damaged ones and shards of runs are skipped.
        basis_of: what ties need.
        published: scores that others published, listed separately.
        note: called with a sentence for each run that was skipped.

    Raises:
        AlphaBenchError: none of the folders has a report.
    """
    entries: list[LeaderboardEntry] = []
    copies: dict[str, str] = {}
    n_shards = 0
    for folder in folders:
        if folder.manifest.shard is not None:
            n_shards += 1
            continue
        try:
            from_run = _entries(StoredRun.of(folder))
            copies.update(
                {path: text for entry in from_run for path, text in _copies(entry).items()}
            )
        except AlphaBenchError as error:
            note(f"skipped: {error.message}")
        else:
            entries += from_run
    if n_shards:
        note(f"skipped: shards of runs ({n_shards}); `alphabench merge` makes a run of them")
    if not entries:
        if 0 < n_shards == len(folders):
            raise AlphaBenchError(
                "there are shards of runs only, and no score of a whole benchmark",
                hint="`alphabench merge RUN` makes a run of them",
            )
        raise AlphaBenchError(
            f"none of these {len(folders)} run folders has a report",
            hint="`alphabench score RUN` makes one",
        )
    return Leaderboard(
        tables=[rank_entries(group, basis_of) for group in _alike(entries)],
        published=published,
        copies=copies,
    )


def _as_row(table: int, rank: str, entry: LeaderboardEntry) -> dict[str, Any]:
    report, manifest = entry.report, entry.run.manifest
    headline = report.headline
    return {
        "table": table,
        "benchmark": manifest.benchmark,
        "protocol": report.protocol,
        "evaluator": report.evaluator,
        "rank": rank,
        "label": manifest.label or None,
        "checkpoint": manifest.checkpoint,
        "seed": int(manifest.pixels["seed"]),
        "score": headline.value,
        "low": headline.low,
        "high": headline.high,
        "coverage": report.coverage,
        "n_samples": headline.n_samples,
        "partial": report.partial,
        "evaluation": entry.evaluation.name,
        "folder": str(entry.run.root),
        **{f"group: {name}": one.value for name, one in report.groups.items()},
    }


def _entries(run: StoredRun) -> list[LeaderboardEntry]:
    return [
        LeaderboardEntry(run=run, evaluation=run.evaluation(name), report=report)
        for name, report in run.reports().items()
    ]


def rank_entries(entries: Sequence[LeaderboardEntry], basis_of: BasisOf) -> RankedTable:
    """Order comparable results; those that cannot be distinguished share a rank.

    Each result is compared with the first of the present rank, so that a chain of small steps does
    not tie the best with the worst.
    """
    ordered = sorted(entries, key=_order)
    ranked = [entry for entry in ordered if not entry.reservations]
    leaders = list(range(len(ranked)))
    untested = None
    try:
        leaders = _leaders(ranked, basis_of)
    except AlphaBenchError as error:
        untested = str(error)
    ranks = [f"{first + 1}{'=' if leaders.count(first) > 1 else ''}" for first in leaders]
    return RankedTable(
        entries=ordered,
        ranks=[*ranks, *[NOTHING] * (len(ordered) - len(ranked))],
        untested=untested,
    )


def _leaders(ranked: Sequence[LeaderboardEntry], basis_of: BasisOf) -> list[int]:
    """For each entry, the index of the first entry of its rank."""
    if len(ranked) < 2:
        return list(range(len(ranked)))
    basis = basis_of(ranked[0].run, ranked[0].report.protocol)
    clusters = [clusters_of(e.run, e.evaluation, basis) for e in ranked]
    leaders = [0]
    for index in range(1, len(ranked)):
        first = leaders[-1]
        difference = paired_difference(
            clusters[first], clusters[index], basis.formula, basis.settings
        )
        leaders.append(index if is_distinguishable(difference) else first)
    return leaders


def _order(entry: LeaderboardEntry) -> tuple[bool, bool, float, str, str]:
    value = entry.report.headline.value
    manifest = entry.run.manifest
    return (
        bool(entry.reservations),
        value is None,
        -(value or 0.0),
        manifest.checkpoint,
        manifest.fingerprint,
    )


def _alike(entries: Sequence[LeaderboardEntry]) -> list[list[LeaderboardEntry]]:
    """Entries by what they measured, full splits first, larger tables before smaller ones."""
    tables: dict[tuple[tuple[str, str], ...], list[LeaderboardEntry]] = {}
    for entry in entries:
        tables.setdefault(tuple(sorted(entry.measurement.items())), []).append(entry)
    return [
        tables[key]
        for key in sorted(
            tables,
            key=lambda key: (
                tables[key][0].report.split != "",
                tables[key][0].run.manifest.benchmark,
                -len(tables[key]),
                key,
            ),
        )
    ]


def _benchmark_of(one: RankedTable) -> str:
    return one.entries[0].report.benchmark


def _index(pages: Mapping[str, Sequence[RankedTable]]) -> str:
    rows = []
    for name, tables in pages.items():
        for one in tables:
            first = one.entries[0]
            leading = first.report.headline.value is not None and not first.reservations
            rows.append(
                [
                    f"[{inline(first.run.manifest.benchmark)}]({_slug(name)}.md)",
                    inline(first.report.evaluator),
                    first.report.protocol,
                    str(len(one.entries)),
                    _label(first, one.entries) if leading else NOTHING,
                    f"{number(first.report.headline.value)} {interval(first.report.headline)}"
                    if leading
                    else NOTHING,
                ]
            )
    header = ["benchmark", "evaluator", "protocol", "runs", "highest score", "score [95% interval]"]
    align: list[Align] = ["left", "left", "left", "right", "left", "right"]
    return (
        "# Leaderboards\n\n"
        f"{markdown_table(header, rows, align)}\n\n"
        "Each row is a table of its own: results that differ in benchmark, data, prompts, images "
        "per sample, protocol or evaluator are never ranked against each other. The tables link "
        "to the report of every row.\n"
    )


def _page(name: str, tables: Sequence[RankedTable], published: Sequence[Published]) -> str:
    parts = [f"# {inline(name)}", _LEGEND]
    for position, one in enumerate(tables, start=1):
        parts += _section(one, tables[position - 2] if position > 1 else None, str(position))
    for listed in published:
        if listed.benchmark == name:
            parts += published_section(listed)
    return "\n\n".join(parts) + "\n"


def _section(one: RankedTable, above: RankedTable | None, name: str) -> list[str]:
    first = one.entries[0]
    report, pixels = first.report, first.run.manifest.pixels
    parts = [
        f"## {inline(first.run.manifest.benchmark)}, {report.protocol} protocol, "
        f"evaluator {inline(report.evaluator)}",
        f"{inline(pixels.get('benchmark.prompt_style', NOTHING))} prompts, "
        f"{first.run.images_per_sample} images per sample, "
        f"data `{pixels.get('benchmark.data_digest', NOTHING)[:12]}`, "
        f"evaluation {inline(first.evaluation.name)}.",
    ]
    identity = first.evaluation.identity
    if (reason := not_comparable_reason(report, identity)) is not None:
        parts.append(f"> **NOT COMPARABLE**: {reason}")
    if above is not None and _near(one, above):
        changed = identity_differences(above.entries[0].measurement, first.measurement)
        parts.append(f"Not comparable with the table above: {inline(changed, 400)}.")
    parts.append(_table(one, name))
    if one.untested is not None:
        parts.append(f"Ties were not tested: {inline(one.untested)}.")
    links = [
        f"[{name}.{i}]: {entry.report_path}.md" for i, entry in enumerate(one.entries, start=1)
    ]
    return [*parts, *_uncovered(one), "\n".join(links)]


def _near(one: RankedTable, above: RankedTable) -> bool:
    return one.entries[0].run.manifest.benchmark == above.entries[0].run.manifest.benchmark


def _table(one: RankedTable, name: str) -> str:
    groups = list(dict.fromkeys(g for entry in one.entries for g in entry.report.groups))
    header = ["rank", "checkpoint", "score", "95% interval", *[inline(g, 40) for g in groups]]
    rows = [
        [
            rank,
            _label(entry, one.entries),
            number(entry.report.headline.value),
            interval(entry.report.headline),
            *[_group_value(entry.report, group) for group in groups],
            coverage_words(entry.report),
            str(entry.report.headline.n_samples),
            _date(entry),
            f"[report][{name}.{index}]",
        ]
        for index, (rank, entry) in enumerate(zip(one.ranks, one.entries, strict=True), start=1)
    ]
    numeric: list[Align] = ["right"] * (2 + len(groups) + 2)
    return markdown_table(
        [*header, "coverage", "samples", "date", "from"],
        rows,
        ["right", "left", *numeric, "left", "left"],
    )


def _group_value(report: Report, group: str) -> str:
    return number(report.groups[group].value) if group in report.groups else NOTHING


def _label(entry: LeaderboardEntry, beside: Sequence[LeaderboardEntry]) -> str:
    """The checkpoint's name, what sets it apart from its namesakes, and its stamps."""
    manifest = entry.run.manifest
    namesakes = [
        other.run.manifest for other in beside if other.run.manifest.title == manifest.title
    ]
    apart = [
        f"{key.removeprefix('checkpoint.')}={manifest.pixels.get(key, NOTHING)}"
        for key in sorted({key for other in namesakes for key in other.pixels})
        if len({other.pixels.get(key) for other in namesakes}) > 1
    ]
    name = inline(manifest.title, 60) + (f" ({inline(', '.join(apart), 60)})" if apart else "")
    marks = dict.fromkeys(filter(None, [entry.stamp, *entry.reservations]))
    return " ".join([name, *[f"**{mark}**" for mark in marks]])


def _uncovered(one: RankedTable) -> list[str]:
    """What unscored verdicts could change, for the rows that have some."""
    lines = []
    for entry in one.entries:
        report = entry.report
        if report.coverage < 1 and report.bounds is not None:
            low, high = report.bounds
            lines.append(
                f"- {_label(entry, one.entries)}: {coverage_words(report)} scored; bounds if "
                f"all others are worst or best: {number(low)} and {number(high)}."
            )
    return ["\n".join(lines)] if lines else []


def _date(entry: LeaderboardEntry) -> str:
    began = entry.run.manifest.circumstances.get("began")
    return inline(began[:10]) if isinstance(began, str) and began else NOTHING


def _copies(entry: LeaderboardEntry) -> dict[str, str]:
    page = report_markdown(entry.run, entry.evaluation, gallery=None)
    numbers = json.dumps(report_to_json(entry.report), indent=2, ensure_ascii=False)
    return {f"{entry.report_path}.md": page, f"{entry.report_path}.json": f"{numbers}\n"}


def _slug(name: str) -> str:
    words = re.sub(r"[^a-z0-9.]+", "-", name.casefold()).strip("-.")
    return words[-48:].strip("-.") or "run"
