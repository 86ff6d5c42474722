"""Merges folders of one run, such as its shards, into one folder that any command can continue.

All that is read is checked before anything is written: that the folders are of one run, undamaged
and not being written, and that they do not contradict each other. Files are written in the order
of the samples, so neither the order of the folders nor the number of merges changes them, and a
merge that was cut off is completed by the next. What is merged is never changed. Knows no
benchmark's rules and no file name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Benchmark
from alphabench.runs.merged_content import (
    MergedContent,
    images_in_order,
    merged_content,
    verdicts_in_order,
)
from alphabench.runs.plan import ranked_samples, requests_for
from alphabench.runs.progress import Progress, Silent, begin_phase, while_busy
from alphabench.runs.records import pixel_changes
from alphabench.runs.sharding import deal, named_shard, shard_folders, whole_run_folder
from alphabench.runs.store import BENCHMARK_FILE, ImageRecord, Manifest, RunFolder
from alphabench.runs.stored_run import StoredRun
from alphabench.types import Sample, image_id

PARTS: Final = "merged_from"
"""The circumstance that lists the folders that a run was merged from, each with its own."""
_OF_ONE_FOLDER: Final = ("command", "host", "device")
"""Circumstances that are no merged run's own."""
_MOST_NAMED: Final = 8
_MOST_CHANGES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedRun:
    """What a merge has made."""

    folder: RunFolder
    n_folders: int
    """How many were merged."""
    n_images: int
    missing: tuple[str, ...]
    """What the run still lacks, a sentence each; empty where it has all images."""


def folders_to_merge(given: Sequence[Path]) -> list[Path]:
    """The run folders that are meant, each once.

    Args:
        given: run folders; or the folder that a run would have as a whole, which stands for its
            shards beside it.

    Raises:
        AlphaBenchError: a folder is no run and has no shards beside it.
    """
    found: dict[Path, Path] = {}
    for path in given:
        shards = shard_folders(path)
        if not shards and not (path / "manifest.json").is_file():
            raise AlphaBenchError(
                f"there is no run in {str(path)!r}, and no shards of one beside it",
                hint="name run folders, such as runs/a.shard-1-of-8, or runs/a for all its shards",
            )
        itself = [path] if (path / "manifest.json").is_file() else []
        found |= {one.resolve(): one for one in (*shards, *itself)}
    return list(found.values())


def default_out(folders: Sequence[Path]) -> Path:
    """The folder of the whole run, beside its shards.

    Raises:
        AlphaBenchError: they are not shards of one run, by their names.
    """
    whole = {whole_run_folder(folder).resolve(): whole_run_folder(folder) for folder in folders}
    if len(whole) == 1 and any(named_shard(folder) for folder in folders):
        return next(iter(whole.values()))
    raise AlphaBenchError(
        "the names of these folders do not say where the merged run belongs",
        hint="name a folder for it: --out runs/merged",
    )


def merge_folders(
    given: Sequence[Path],
    open_benchmark: Callable[[RunFolder], Benchmark],
    *,
    out: Path | None = None,
    progress: Progress | None = None,
) -> MergedRun:
    """Merge run folders; the same call again changes nothing.

    Args:
        given: as `folders_to_merge` takes them.
        open_benchmark: called with one of them.
        out: the merged run's folder; None puts it beside its shards. It may hold a part of the
            run already.
        progress: is told of each image.

    Raises:
        AlphaBenchError: they are not of one run, one is damaged or being written, they contradict
            each other, or `out` cannot be written.
    """
    progress = progress or Silent()
    paths = folders_to_merge(given)
    root = default_out(paths) if out is None else out
    folders = [RunFolder.open(path) for path in paths if path.resolve() != root.resolve()]
    if not folders:
        raise AlphaBenchError(
            f"{str(root)!r} alone is named, which is the merged run itself",
            hint="name the folders of its shards",
        )
    folders.sort(key=_place)
    target = RunFolder.open(root) if (root / "manifest.json").is_file() else None
    _check_one_run(folders, target)
    with while_busy(progress, f"checking the images of {len(folders)} folders"):
        parts = [_checked(folder) for folder in folders]
    benchmark = open_benchmark(folders[0])
    parts[0].check_same_data(benchmark)
    all_samples = benchmark.samples()
    manifest = _merged_manifest(folders, target)
    # Before the folder is made: contradictions are refused, and leave nothing behind.
    merged_content(None if target is None else StoredRun.of(target), parts)
    folder = RunFolder.create(root, manifest)
    with folder.locked():
        existing = StoredRun.of(folder, verify_images=True)
        content = merged_content(existing, parts)
        _write(folder, existing, content, _places(all_samples, manifest), progress)
        for part in folders:
            kept = part.read_page(BENCHMARK_FILE)
            if kept is not None and folder.read_page(BENCHMARK_FILE) is None:
                folder.write_page(BENCHMARK_FILE, kept)
        folder.record_circumstances(manifest.circumstances)
    return MergedRun(
        folder=folder,
        n_folders=len(folders),
        n_images=len(content.images),
        missing=tuple(_missing(all_samples, folder.manifest, folders, content.images)),
    )


def _place(folder: RunFolder) -> tuple[int, int, str]:
    shard = folder.manifest.shard
    return (shard.of, shard.number, str(folder.root)) if shard else (0, 0, str(folder.root))


def _check_one_run(folders: Sequence[RunFolder], target: RunFolder | None) -> None:
    """Refuse folders of several runs, folders that are being written, and a shard as the result.

    Raises:
        AlphaBenchError: for each of these.
    """
    if target is not None and target.manifest.shard is not None:
        raise AlphaBenchError(
            f"{str(target.root)!r} holds {target.manifest.shard}, and not the whole run",
            hint="name another folder with --out",
        )
    first = target or folders[0]
    for folder in folders:
        if changes := pixel_changes(first.manifest, folder.manifest, most=_MOST_CHANGES):
            raise AlphaBenchError(
                f"{str(folder.root)!r} is of another run than {str(first.root)!r} ({changes})",
                hint="merge only the shards of one run, or name another folder with --out",
            )
    for folder in folders:
        if (held := folder.holder()) is not None:
            what = f"delete {str(held.file)!r} if it has ended" if held.file else "stop it"
            raise AlphaBenchError(
                f"{str(folder.root)!r} is being written by {held.holder}",
                hint=f"wait for it, or {what}",
            )


def _checked(folder: RunFolder) -> StoredRun:
    """The folder as it is.

    Raises:
        AlphaBenchError: one of its images was deleted or altered.
    """
    stored = StoredRun.of(folder, verify_images=True)
    if stored.damage:
        name, what = next(iter(stored.damage.items()))
        more = f", and {len(stored.damage) - 1} more" if len(stored.damage) > 1 else ""
        raise AlphaBenchError(
            f"{str(folder.root)!r} is damaged: image {name} was {what} since it was made{more}",
            hint="give the command that made it again, which makes such images again; or leave it "
            "out",
        )
    return stored


def _write(
    folder: RunFolder,
    existing: StoredRun,
    content: MergedContent,
    places: Mapping[str, int],
    progress: Progress,
) -> None:
    """Image files first, so that no record is without its file wherever this is cut off."""
    images = images_in_order(content.images, places)
    todo = [
        name
        for name in images
        if name in content.sources and (name not in existing.images or name in existing.damage)
    ]
    n_done = len(images) - len(todo)
    begin_phase(progress, "merging", total=len(images), done=n_done, first="first images")
    for name in todo:
        if existing.damage.get(name) == "altered":
            folder.set_aside(existing.images[name])
        folder.adopt_image(images[name], content.sources[name])
        progress.advance()
    progress.end()
    folder.replace_images(images.values())
    folder.replace_not_made(images_in_order(content.not_made, places))
    for evaluation, verdicts in content.verdicts.items():
        folder.write_evaluation(evaluation, content.identities[evaluation])
        folder.replace_verdicts(evaluation, verdicts_in_order(verdicts, places))


def _places(all_samples: Sequence[Sample], manifest: Manifest) -> dict[str, int]:
    """Image id -> its place in the benchmark."""
    seed, per_sample = int(manifest.pixels["seed"]), _images_per_sample(manifest)
    requests = requests_for(all_samples, per_sample, seed=seed)
    return {request.id: place for place, request in enumerate(requests)}


def _images_per_sample(manifest: Manifest) -> int:
    return int(manifest.pixels["benchmark.images_per_sample"])


def _merged_manifest(folders: Sequence[RunFolder], target: RunFolder | None) -> Manifest:
    """Of the whole run, with the circumstances of each folder that was merged."""
    first = target or folders[0]
    widest = first.manifest
    for folder in folders:
        widest = folder.manifest if folder.manifest.is_wider_than(widest) else widest
    origins = {_key(one): one for folder in (first, *folders) for one in _origins(folder)}
    parts = [origins[key] for key in sorted(origins)]
    own = dict(first.manifest.circumstances)
    if target is None or not _is_made_here(target):
        # Those of its first part, whichever were merged before.
        own = dict(parts[0]["circumstances"])
        for key in _OF_ONE_FOLDER:
            own.pop(key, None)
        began = [one["circumstances"].get("began") for one in parts]
        own |= {"began": min(filter(None, map(_text, began)), default="")}
    circumstances = {**own, PARTS: parts}
    return replace(widest, circumstances=circumstances, shard=None)


def _is_made_here(folder: RunFolder) -> bool:
    """Whether a run was begun in the folder itself, and not only merged into it."""
    return "command" in folder.manifest.circumstances or PARTS not in folder.manifest.circumstances


def _origins(folder: RunFolder) -> list[dict[str, Any]]:
    """The folder with its circumstances, or what it was itself merged from."""
    circumstances = dict(folder.manifest.circumstances)
    earlier = circumstances.pop(PARTS, None)
    known = [one for one in earlier if _is_origin(one)] if isinstance(earlier, list) else []
    if not _is_made_here(folder):
        return known
    shard = folder.manifest.shard
    own = {
        "folder": folder.root.name,
        "shard": None if shard is None else asdict(shard),
        "circumstances": circumstances,
    }
    return [*known, own]


def _is_origin(one: object) -> bool:
    return isinstance(one, dict) and isinstance(one.get("circumstances"), dict)


def _key(origin: Mapping[str, Any]) -> tuple[int, int, str, str]:
    """Its place among the others, and what tells it from them."""
    shard = origin.get("shard")
    of, number = (shard.get("of"), shard.get("number")) if isinstance(shard, dict) else (0, 0)
    began = origin["circumstances"].get("began")
    place = (of, number) if isinstance(of, int) and isinstance(number, int) else (0, 0)
    return (*place, str(origin.get("folder")), json.dumps(began))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _missing(
    all_samples: Sequence[Sample],
    manifest: Manifest,
    folders: Sequence[RunFolder],
    images: Mapping[str, ImageRecord],
) -> Iterator[str]:
    """What the merged run lacks: whole shards first, then single images."""
    ranked = ranked_samples(all_samples, seed=int(manifest.pixels["seed"]))[: manifest.limit]
    indices = range(_images_per_sample(manifest))
    lacking = {
        sample.id: n
        for sample in ranked
        if (n := sum(image_id(sample.id, index) not in images for index in indices))
    }
    given = {folder.manifest.shard for folder in folders}
    counts = {shard.of for shard in given if shard is not None}
    if None not in given and len(counts) == 1:
        (of,) = counts
        numbers = {shard.number for shard in given if shard is not None}
        absent = {
            number: ids
            for number, ids in enumerate(deal(ranked, of), start=1)
            if number not in numbers
            and ids
            and all(lacking.get(one) == len(indices) for one in ids)
        }
        if absent:
            n_samples = sum(map(len, absent.values()))
            which = f"{_named([*absent])} of {of}"
            are = "is missing: " if len(absent) == 1 else "are missing: "
            yield f"{which} {are}{_counted(n_samples, 'sample')}"
        for one in (one for ids in absent.values() for one in ids):
            del lacking[one]
    if n_images := sum(lacking.values()):
        are = "is" if n_images == 1 else "are"
        yield f"{_counted(n_images, 'image')} of the folders that were merged {are} missing"


def _named(numbers: Sequence[int]) -> str:
    """`shard 2`, `shards 2 and 5`; many are cut short."""
    shown = [str(number) for number in numbers[:_MOST_NAMED]]
    if len(numbers) > _MOST_NAMED:
        shown[-1:] = [f"{len(numbers) - _MOST_NAMED + 1} more"]
    if len(shown) == 1:
        return f"shard {shown[0]}"
    return f"shards {', '.join(shown[:-1])} and {shown[-1]}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
