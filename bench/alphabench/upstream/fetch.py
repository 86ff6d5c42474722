"""Fetches the data sets that a benchmark needs, one by one, and reports the outcome of each.

One that cannot be obtained does not prevent the others. Knows no file format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alphabench import registry
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.upstream import Pin, UpstreamData, pinned_names, pins_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Data that `alphabench fetch` downloads, other than pinned files of a repository."""

    where: str
    licence: str
    fetch: Callable[[Path, str | None], str]
    """Cache folder and source -> a description of what was fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A data set: its name, its licence, and the outcome."""

    subject: str
    licence: str
    words: str | None = None
    """Describes what was fetched; None without an error means that it is about to be."""
    error: AlphaBenchError | None = None


def fetch_all(benchmark: str, data: UpstreamData, *, source: str | None) -> Iterator[Fetched]:
    """Yields each data set twice: before it is fetched, with its licence, and then the outcome.

    Args:
        benchmark: `name[@version][:split]` of an existing version and split, or an evaluator whose
            weights can be fetched.
        data: the cache to store it in.
        source: a folder or mirror laid out as `<owner>/<repository>/<path>`; None is the origin.
    """
    for piece in _pieces(benchmark):
        yield Fetched(subject=piece.where, licence=piece.licence)
        try:
            words = piece.fetch(data.cache_dir, source)
        except AlphaBenchError as error:
            yield Fetched(subject=piece.where, licence=piece.licence, error=error)
        else:
            yield Fetched(subject=piece.where, licence=piece.licence, words=words)


def _pieces(benchmark: str) -> list[Dataset]:
    datasets = _datasets(benchmark)
    name = benchmark.partition(":")[0].partition("@")[0]
    if name not in registry.BENCHMARKS:
        if name in registry.benchmark_names() or datasets:
            return datasets  # which have no pinned files beside them
        if name not in pinned_names():
            known = {*registry.benchmark_names(), *registry.known("dataset")}
            raise unknown_name("benchmark or evaluator with data", benchmark, known)
    return [*datasets, *(_as_dataset(pin) for pin in pins_of(benchmark))]


def _as_dataset(pin: Pin) -> Dataset:
    return Dataset(
        where=f"{pin.name} ({pin.repository} at {pin.commit[:12]})",
        licence=pin.licence,
        fetch=partial(_fetch_pin, pin),
    )


def _fetch_pin(pin: Pin, cache_dir: Path, source: str | None) -> str:
    files = UpstreamData(cache_dir=cache_dir).fetch(pin.name, source=source).files
    counts = Counter(file.outcome for file in files)
    size = sum(file.size_bytes for file in files)
    words = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
    return f"{words}, verified ({size} bytes)"


def _datasets(benchmark: str) -> list[Dataset]:
    name, _, split = benchmark.partition(":")
    name = name.partition("@")[0]
    if split == "mini":
        return []
    if name in registry.benchmark_names():
        dataset = registry.benchmark_entry(name).dataset
        return [registry.load_object(dataset)] if dataset else []
    return [registry.load("dataset", name)] if name in registry.known("dataset") else []
