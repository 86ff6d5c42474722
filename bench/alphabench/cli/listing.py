"""What there is: benchmarks, checkpoints, evaluators, judges, data, runs; lists of other packages.

As rows for programs and as text that fits 80 columns. Loads no model.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from alphabench import registry
from alphabench.benchmarks import open_benchmark
from alphabench.cli.printing import ShownPage
from alphabench.core.errors import AlphaBenchError
from alphabench.judges import FORMS as JUDGE_FORMS
from alphabench.runs.folder_search import run_folders
from alphabench.runs.store import RunFolder
from alphabench.types import Card, Report
from alphabench.upstream import UpstreamData
from alphabench.upstream.fetch import fetchable

What = Literal[
    "benchmarks", "checkpoints", "evaluators", "judges", "recipes", "data", "runs", "all"
]

CHECKPOINT_FORMS: Final[Mapping[str, str]] = {
    "bagel": "owner/name or DIR      BAGEL as released (--think for chain of thought)",
    "diffusers": "owner/name or DIR      a diffusers pipeline from the hub or a folder",
    "http": "https://host/v1#MODEL  an endpoint of the OpenAI images API",
    "images": "images:DIR             existing images (--layout geneval, flat, tiif ...)",
    "janus": "owner/name or DIR      Janus in the layout of transformers",
    "nano": "nano                   the small unified model in this package, for the :mini splits",
    "python": "python:MODULE:FACTORY  your own object with `generate`",
    "scene": "scene:?error=0.2       renders the prompt as a synthetic scene, with chosen errors",
}
_COLUMNS: Final = 80
_LONGEST_NAME: Final = 22


class Listing(Protocol):
    """Things of another package, as its entry point of the group `alphabench.listings` has them.

    The entry point's name is the word for `alphabench list`, such as `recipes`.
    """

    def names(self) -> Sequence[str]:
        """Of all things, without reading any."""
        ...

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """A row with a `name` and a `text` for each thing, and further facts as JSON values."""
        ...

    def page(self, name: str) -> ShownPage | None:
        """About one thing by its name or its folder; None if it is none of this kind."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Where to look for what is listed."""

    runs: Path
    """The folder above run folders."""
    data: UpstreamData

    def rows(self, what: str) -> list[dict[str, Any]]:
        """The rows of one kind, each with a `name` and a `text`."""
        makers: Mapping[str, Callable[[], Iterator[dict[str, Any]]]] = {
            "benchmarks": self._benchmarks,
            "checkpoints": _checkpoints,
            "evaluators": self._evaluators,
            "judges": _judges,
            "data": self._data,
            "runs": self._runs,
        }
        if what in makers:
            return list(makers[what]())
        if what not in registry.known("listing"):
            return []
        listing: Listing = registry.load("listing", what)
        return [dict(row) for row in listing.rows()]

    def _cards(self) -> Mapping[str, Mapping[str, Card]]:
        """Benchmark -> listed name of each version or split -> card."""
        return {
            name: {
                full: open_benchmark(full, data=self.data).card
                for full in registry.benchmark_entry(name).listed or (name,)
            }
            for name in registry.benchmark_names()
        }

    def _benchmarks(self) -> Iterator[dict[str, Any]]:
        for base, cards in self._cards().items():
            entry = registry.benchmark_entry(base)
            for full, card in cards.items():
                n_prompts = entry.prompts.get(full)
                size = [f"{n_prompts:,} prompts x {card.images_per_sample}"] if n_prompts else []
                facts = "; ".join([*size, card.licence])
                yield {
                    "name": full,
                    "text": f"{card.title} ({facts})",
                    "title": card.title,
                    "prompts": n_prompts,
                    "images_per_prompt": card.images_per_sample,
                    "licence": card.licence,
                    "evaluators": list(card.evaluators),
                    "data": card.source,
                }

    def _evaluators(self) -> Iterator[dict[str, Any]]:
        """With their benchmarks, or with single splits where only some accept one."""
        takers: dict[str, list[str]] = {name: [] for name in registry.known("evaluator")}
        for name, cards in self._cards().items():
            for evaluator in {one for card in cards.values() for one in card.evaluators}:
                taking = [full for full, card in cards.items() if evaluator in card.evaluators]
                every = len(taking) == len(cards)
                takers.setdefault(evaluator, []).extend([name] if every else taking)
        for evaluator in sorted(takers):
            yield {
                "name": evaluator,
                "text": ", ".join(takers[evaluator]),
                "benchmarks": takers[evaluator],
            }

    def _data(self) -> Iterator[dict[str, Any]]:
        for one in fetchable(self.data):
            states = {True: "fetched", False: f"alphabench fetch {one.name}", None: ""}
            facts = [" + ".join(one.sizes), " / ".join(one.licences), states[one.fetched]]
            kind = "weights of an evaluator: " if one.weights else ""
            text = f"{kind}{'; '.join(fact for fact in facts if fact)}"
            yield {"text": text, **asdict(one)}

    def _runs(self) -> Iterator[dict[str, Any]]:
        skipped: list[str] = []
        folders = run_folders(self.runs, note=skipped.append) if self.runs.is_dir() else []
        rows: list[dict[str, Any]] = []
        for folder in folders:
            try:
                rows.append(run_row(folder))
            except AlphaBenchError as error:
                skipped.append(f"skipped: {error.message}")
        yield from sorted(rows, key=lambda row: row["began"], reverse=True)
        for text in skipped:
            yield {"name": "", "text": text, "skipped": text}


def kinds_of(what: What) -> list[str]:
    """The kinds to list: one, or all, those of other packages included."""
    if what != "all":
        return [what]
    built_in = ["benchmarks", "checkpoints", "evaluators", "judges"]
    return [*built_in, *sorted(registry.known("listing")), "data", "runs"]


def listing_json(what: What, inventory: Inventory) -> dict[str, Any]:
    """Kind -> rows."""
    return {
        kind: [
            {key: value for key, value in row.items() if key != "text"}
            for row in inventory.rows(kind)
        ]
        for kind in kinds_of(what)
    }


def listing_text(what: What, inventory: Inventory, *, narrow: bool = False) -> str:
    """The list of one kind, or of all kinds.

    Args:
        what: the kind.
        inventory: what is listed.
        narrow: runs fit 80 columns, too; otherwise each is one line, as tools that search expect.
    """
    return "\n\n".join(
        "\n".join([f"{kind}:", *_lines(kind, inventory, narrow=narrow)]) for kind in kinds_of(what)
    )


def _lines(kind: str, inventory: Inventory, *, narrow: bool) -> Iterator[str]:
    rows = inventory.rows(kind)
    if not rows:
        yield f"  none below {str(inventory.runs)!r}" if kind == "runs" else "  none"
    for row in rows:
        if kind == "runs" and narrow and row["name"]:
            yield f"  {row['name']}"
            text = row["text"].removeprefix(f"{row['name']}: ")
            yield textwrap.fill(text, _COLUMNS, initial_indent=" " * 6, subsequent_indent=" " * 6)
        elif kind == "runs":
            yield f"  {row['text']}"
        elif not row["text"]:
            yield f"  {row['name']}"
        else:
            yield from _two_columns(row["name"], row["text"])


def _two_columns(name: str, text: str) -> Iterator[str]:
    indent = " " * (_LONGEST_NAME + 4)
    first = f"  {name:<{_LONGEST_NAME}}  "
    lines = textwrap.wrap(
        text, _COLUMNS - len(indent), break_long_words=False, break_on_hyphens=False
    )
    if len(name) > _LONGEST_NAME:
        yield f"  {name}"
        first = indent
    yield (first + lines[0]).rstrip()
    for line in lines[1:]:
        yield indent + line


def _checkpoints() -> Iterator[dict[str, Any]]:
    for kind in sorted(registry.known("checkpoint")):
        form, _, text = CHECKPOINT_FORMS.get(kind, f"{kind}:").partition("  ")
        yield {"name": form, "text": text.strip(), "kind": kind}


def _judges() -> Iterator[dict[str, Any]]:
    for form in JUDGE_FORMS:
        name, _, text = form.partition(" ")
        yield {"name": name, "text": text.strip("()")}


def run_row(folder: RunFolder) -> dict[str, Any]:
    """A run as a row: what it is of, and its results."""
    manifest, n_images = folder.manifest, len(folder.images())
    reports = folder.reports()
    results = ", ".join(_result(name, report) for name, report in reports.items())
    part = f" ({manifest.shard})" if manifest.shard is not None else ""
    return {
        "name": str(folder.root),
        "text": f"{folder.root}: {manifest.benchmark}{part}, {n_images} images, "
        f"{results or 'no report'}",
        "benchmark": manifest.benchmark,
        "checkpoint": manifest.checkpoint,
        "seed": int(manifest.pixels["seed"]),
        "limit": manifest.limit,
        "shard": None if manifest.shard is None else asdict(manifest.shard),
        "images": n_images,
        "began": str(manifest.circumstances.get("began", "")),
        "results": [
            {
                "evaluation": name,
                "protocol": report.protocol,
                "evaluator": report.evaluator,
                "score": report.headline.value,
                "low": report.headline.low,
                "high": report.headline.high,
                "coverage": report.coverage,
                "partial": report.partial,
            }
            for name, report in reports.items()
        ],
    }


def _result(name: str, report: Report) -> str:
    headline = report.headline
    stamp = " PARTIAL" if report.partial else ""
    if headline.value is None:
        return f"{name} {report.withheld or 'nothing scored'}{stamp}"
    interval = f"[{headline.low:.4f}, {headline.high:.4f}]"
    return f"{name} {headline.value:.4f} {interval}, coverage {_share(report.coverage)}{stamp}"


def _share(part: float) -> str:
    """In per cent; 100% only where nothing is missing."""
    return "100%" if part == 1 else f"{min(part, 0.999):.1%}"
