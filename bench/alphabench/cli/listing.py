"""Lists benchmarks, checkpoints, evaluators, judges and runs as text. Loads no model."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

from alphabench import registry
from alphabench.benchmarks import open_benchmark
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Benchmark
from alphabench.judges import FORMS as JUDGE_FORMS
from alphabench.runs.store import RunFolder, run_folders
from alphabench.types import Card, Report
from alphabench.upstream import UpstreamData

What = Literal["benchmarks", "checkpoints", "evaluators", "judges", "runs", "all"]

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


def listing_text(what: What, *, runs: Path, data: UpstreamData) -> str:
    """The list of one kind, or of all kinds."""
    makers: Mapping[str, Callable[[], Iterator[str]]] = {
        "benchmarks": lambda: _benchmarks(data),
        "checkpoints": _checkpoints,
        "evaluators": lambda: _evaluators(data),
        "judges": lambda: iter(JUDGE_FORMS),
        "runs": lambda: _runs(runs),
    }
    chosen = {what: makers[what]} if what != "all" else makers
    return "\n\n".join(
        "\n".join([f"{title}:", *(f"  {line}" for line in make())])
        for title, make in chosen.items()
    )


def benchmark_card(benchmark: Benchmark) -> str:
    """A benchmark's card, for `alphabench show`."""
    card = benchmark.card
    try:
        n_samples = str(len(benchmark.samples()))
    except AlphaBenchError as error:
        n_samples = f"unknown: {error}"
    facts = {
        "benchmark": card.id,
        "title": card.title,
        "samples": n_samples,
        "images per sample": str(card.images_per_sample),
        "prompts": card.prompt_style,
        "protocol": card.protocol,
        "evaluators": ", ".join(card.evaluators),
        "data": card.source,
        "data digest": card.data_digest,
        "licence": card.licence,
        "citation": card.citation,
    }
    width = max(map(len, facts))
    return "\n".join(f"{key:<{width}}  {value}" for key, value in facts.items())


def run_text(root: Path) -> str:
    """The report of a run, or a summary of what it holds so far."""
    from alphabench.runs.run_pages import REPORT_FILE

    folder = RunFolder.open(root)
    report = folder.read_page(REPORT_FILE)
    return (
        report or f"{_run_line(folder)}\nnot scored yet: alphabench score {shlex.quote(str(root))}"
    )


def _benchmarks(data: UpstreamData) -> Iterator[str]:
    for cards in _cards(data).values():
        for full, card in cards.items():
            yield f"{full:<18} {card.title} [{card.licence}] {', '.join(card.evaluators)}"


def _checkpoints() -> Iterator[str]:
    for kind in sorted(registry.known("checkpoint")):
        yield CHECKPOINT_FORMS.get(kind, f"{kind}:")


def _evaluators(data: UpstreamData) -> Iterator[str]:
    """Each evaluator with its benchmarks, or with single splits where only some accept it."""
    takers: dict[str, list[str]] = {name: [] for name in registry.known("evaluator")}
    for name, cards in _cards(data).items():
        for evaluator in {one for card in cards.values() for one in card.evaluators}:
            taking = [full for full, card in cards.items() if evaluator in card.evaluators]
            takers.setdefault(evaluator, []).extend([name] if len(taking) == len(cards) else taking)
    for evaluator in sorted(takers):
        yield f"{evaluator:<21} {', '.join(takers[evaluator])}".rstrip()


def _cards(data: UpstreamData) -> Mapping[str, Mapping[str, Card]]:
    """Benchmark -> listed name of each version or split -> card."""
    return {
        name: {
            full: open_benchmark(full, data=data).card
            for full in registry.benchmark_entry(name).listed or (name,)
        }
        for name in registry.benchmark_names()
    }


def _runs(root: Path) -> Iterator[str]:
    skipped: list[str] = []
    folders = run_folders(root, note=skipped.append) if root.is_dir() else []
    if not folders:
        yield f"none below {str(root)!r}"
    for folder in folders:
        try:
            yield _run_line(folder)
        except AlphaBenchError as error:
            skipped.append(f"skipped: {error.message}")
    yield from skipped


def _run_line(folder: RunFolder) -> str:
    results = ", ".join(_result(name, report) for name, report in folder.reports().items())
    made = len(folder.images())
    return f"{folder.root}: {folder.manifest.benchmark}, {made} images, {results or 'no report'}"


def _result(name: str, report: Report) -> str:
    headline = report.headline
    stamp = " PARTIAL" if report.partial else ""
    if headline.value is None:
        return f"{name} {report.withheld or 'nothing scored'}{stamp}"
    return f"{name} {headline.value:.4f} [{headline.low:.4f}, {headline.high:.4f}]{stamp}"
