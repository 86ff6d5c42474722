"""Fetches the data sets that a benchmark needs, one by one, and reports the outcome of each.

One that cannot be obtained does not prevent the others. Knows no file format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

from alphabench import registry
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.upstream import Pin, UpstreamData, pinned_names, pins_of

Role = Literal["data", "images", "wording"]
_ROLES: Final[dict[str, Role]] = {"-images": "images", "-judge": "wording"}
"""By the end of a data set's name, see `pins_of`."""
_PARTS: Final = {
    "data": "its data",
    "images": "the source images",
    "wording": "the judge's official wording",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Data that `alphabench fetch` downloads, other than pinned files of a repository."""

    where: str
    licence: str
    fetch: Callable[[Path, str | None], str]
    """Cache folder and source -> a description of what was fetched."""
    size: str = "size not published"
    """How much is downloaded, in words."""
    complete: Callable[[Path], bool] | None = None
    """Cache folder -> whether it was fetched and is intact; None where only `fetch` can tell."""
    role: Role = "data"
    """What it is to its benchmark: prompts and facts, images to be edited, or judge templates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchableData:
    """What one `alphabench fetch NAME` downloads."""

    name: str
    licences: tuple[str, ...]
    sizes: tuple[str, ...]
    """Of each part, in words."""
    fetched: bool | None
    """Whether all of it is here; None where that is not known."""
    weights: bool
    """Of an evaluator; otherwise the data of a benchmark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A data set: its name, its licence, and the outcome."""

    subject: str
    licence: str
    size: str
    role: Role
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
        begun = Fetched(
            subject=piece.where, licence=piece.licence, size=piece.size, role=piece.role
        )
        yield begun
        try:
            words = piece.fetch(data.cache_dir, source)
        except AlphaBenchError as error:
            yield replace(begun, error=error)
        else:
            yield replace(begun, words=words)


def fetched_in_part(benchmark: str, outcomes: Sequence[Fetched]) -> AlphaBenchError | None:
    """What of a benchmark is missing, and what works meanwhile; None where all or nothing is here.

    Args:
        benchmark: as for `fetch_all`.
        outcomes: what `fetch_all` yielded in the end for each data set.
    """
    missing = [one for one in outcomes if one.error is not None]
    if not missing or len(missing) == len(outcomes):
        return None
    parts = [f"{_PARTS[one.role]} ({one.subject.partition(' ')[0]})" for one in missing]
    works = f"only {pins_of(benchmark)[0].stand_in} can be run"
    if all(one.role == "wording" for one in missing):
        works = "a judge can be asked in the project's own wording alone: `--wording own`"
    return AlphaBenchError(
        f"{benchmark} is fetched in part, without {' and '.join(parts)}; until then, {works}",
        hint=f"`alphabench fetch {benchmark}` gets the rest from its source",
    )


def fetchable(data: UpstreamData) -> list[FetchableData]:
    """All that can be fetched: the benchmarks' data, then evaluators' weights."""
    found: dict[tuple[str, ...], FetchableData] = {}
    names = [
        name
        for base in registry.benchmark_names()
        for name in (base, *registry.benchmark_entry(base).listed)
    ]
    for name, weights in [
        *((name, False) for name in names),
        *((name, True) for name in sorted(registry.known("dataset"))),
    ]:
        pieces = _pieces(name)
        if not pieces:
            continue
        checks = [piece.complete(data.cache_dir) if piece.complete else None for piece in pieces]
        found.setdefault(
            tuple(piece.where for piece in pieces),
            FetchableData(
                name=name,
                licences=tuple(dict.fromkeys(piece.licence for piece in pieces)),
                sizes=tuple(piece.size for piece in pieces),
                fetched=None if None in checks else all(checks),
                weights=weights,
            ),
        )
    return list(found.values())


def _pieces(benchmark: str) -> list[Dataset]:
    datasets = _datasets(benchmark)
    name = benchmark.partition(":")[0].partition("@")[0]
    if name not in registry.BENCHMARKS:
        if name in registry.benchmark_names() or datasets:
            return datasets  # which have no pinned files beside them
        if name not in pinned_names():
            known = {*registry.benchmark_names(), *registry.known("dataset")}
            raise unknown_name("benchmark or evaluator with data", benchmark, known)
    if name in registry.BENCHMARKS and registry.BENCHMARKS[name].by_hand:
        return datasets
    return [*datasets, *(_as_dataset(pin) for pin in pins_of(benchmark))]


def _as_dataset(pin: Pin) -> Dataset:
    return Dataset(
        where=f"{pin.name} ({pin.repository} at {pin.commit[:12]})",
        licence=pin.licence,
        fetch=partial(_fetch_pin, pin),
        size=_size_of(pin),
        role=next((role for end, role in _ROLES.items() if pin.name.endswith(end)), "data"),
        complete=partial(_is_complete, pin.name),
    )


def _is_complete(name: str, cache_dir: Path) -> bool:
    return not UpstreamData(cache_dir=cache_dir).missing(name)


def _size_of(pin: Pin) -> str:
    sizes = [file.size_bytes for file in pin.files]
    known = sum(size for size in sizes if size is not None)
    if None not in sizes:
        return size_words(known)
    return f"more than {size_words(known)}" if known else "size not published"


def size_words(size_bytes: int) -> str:
    """`850 bytes`, `85 kB`, `3.0 MB`: in powers of 1000, with two digits from a kilobyte on."""
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    size, unit = size_bytes / 1e3, "kB"
    for larger in ("MB", "GB"):
        if size >= 999.5:
            size, unit = size / 1e3, larger
    return f"{size:.1f} {unit}" if size < 9.95 else f"{size:.0f} {unit}"


def _fetch_pin(pin: Pin, cache_dir: Path, source: str | None) -> str:
    files = UpstreamData(cache_dir=cache_dir).fetch(pin.name, source=source).files
    counts = Counter(file.outcome for file in files)
    size = sum(file.size_bytes for file in files)
    words = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
    return f"{words}, verified ({size} bytes)"


def _datasets(benchmark: str) -> list[Dataset]:
    name, _, split = benchmark.partition(":")
    name = name.partition("@")[0]
    if split.startswith("mini"):
        return []
    if name in registry.benchmark_names():
        dataset = registry.benchmark_entry(name).dataset
        return [registry.load_object(dataset)] if dataset else []
    return [registry.load("dataset", name)] if name in registry.known("dataset") else []
