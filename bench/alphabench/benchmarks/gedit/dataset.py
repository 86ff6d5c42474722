"""GEdit-Bench's official data, 1,212 rows with images, extracted from a Hugging Face data set.

The library `datasets` reads the hub's data set at the pinned revision, or a local copy. The rows
and one file for each image are stored in the user's cache, and runs read only these. Knows no
language, no group and no judge.

    <cache>/upstream/stepfun-ai/GEdit-Bench/rows.jsonl      images by the sha256 of their bytes
    <cache>/upstream/stepfun-ai/GEdit-Bench/pictures/<sha256>.png
    <cache>/upstream/stepfun-ai/GEdit-Bench/origin.json     the source, and the sha256 of rows.jsonl
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, confined, read_bytes, read_json
from alphabench.core.writing import replacing_folder, writing
from alphabench.upstream.fetch import Dataset

REPOSITORY: Final = "stepfun-ai/GEdit-Bench"
REVISION: Final = "58159f3de6689982b1df7f1a6c557ded16548a24"
"""Of the data set on the Hugging Face hub."""
LICENCE: Final = "MIT"
"""As the data set's card states at that revision."""
TEXTS: Final = ("task_type", "key", "instruction", "instruction_language")
LANGUAGES: Final = ("en", "cn")
N_ROWS: Final = 1212
"""Of the data set at that revision, half of them in each language."""
IMAGE_COLUMNS: Final = ("input_image", "input_image_raw")
"""What the judge is shown, and what the editor is given."""
_ROWS, _ORIGIN, _FOLDER = "rows.jsonl", "origin.json", "pictures"
_KINDS: Final = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpg"), (b"RIFF", "webp"))
_FETCH: Final = "run `alphabench fetch gedit`, or use gedit:mini, which needs none"


@dataclass(frozen=True, slots=True, kw_only=True)
class GEditOrigin:
    """What lies in the cache."""

    source: str
    """`owner/name@revision` of a hub data set, or `a local copy`."""
    digest: str
    """sha256 of the rows, which name every image by its own."""
    n_rows: int


def gedit_folder(cache_dir: Path) -> Path:
    """Where the data lies, or will."""
    return cache_dir / "upstream" / REPOSITORY


def gedit_origin(cache_dir: Path) -> GEditOrigin | None:
    """What lies in the cache; None when nothing does.

    Raises:
        AlphaBenchError: the file that records it is damaged.
    """
    path = gedit_folder(cache_dir) / _ORIGIN
    try:
        return GEditOrigin(**read_json(path)) if path.exists() else None
    except (UnreadableFileError, OSError, TypeError) as error:
        raise AlphaBenchError(f"{str(path)!r} is damaged: {error}", hint=_FETCH) from error


def read_gedit_rows(cache_dir: Path) -> list[dict[str, Any]]:
    """All rows, images as absolute paths.

    Raises:
        AlphaBenchError: the data is not there, or was changed.
    """
    origin, folder = gedit_origin(cache_dir), gedit_folder(cache_dir)
    if origin is None:
        raise AlphaBenchError(
            f"the official data 'gedit' is not on this machine (licence: {LICENCE})", hint=_FETCH
        )
    try:
        content = (folder / _ROWS).read_bytes()
    except OSError as error:
        raise AlphaBenchError(
            f"{str(folder / _ROWS)!r} cannot be read ({error.strerror})", hint=_FETCH
        ) from error
    if hashlib.sha256(content).hexdigest() != origin.digest:
        raise AlphaBenchError(
            f"{str(folder / _ROWS)!r} was changed since it was fetched", hint=_FETCH
        )
    rows = [json.loads(line) for line in content.decode("utf-8").splitlines()]
    return [
        {**row, **{name: str(folder / _FOLDER / row[name]) for name in IMAGE_COLUMNS}}
        for row in rows
    ]


def fetch_gedit(cache_dir: Path, *, source: str | None = None) -> GEditOrigin:
    """Take the data out of a data set, in place of what lies in the cache.

    Args:
        cache_dir: the user's cache folder.
        source: None is the hub's data set at the pinned revision; `owner/name@revision` another
            one; a folder a local copy, as `save_to_disk` wrote it or with the hub's parquet files
            (in it or in its folder `data`). Nothing else in a folder is read.

    Raises:
        AlphaBenchError: `datasets` is not installed, or the data cannot be had, is of another
            form, or cannot be written.
    """
    rows, origin = _open(source)
    folder = gedit_folder(cache_dir)
    with (
        writing(folder, elsewhere="choose another cache folder with ALPHABENCH_CACHE"),
        replacing_folder(folder) as draft,
    ):
        return _write(draft, rows, origin, root=_local_folder(source))


def _local_folder(source: str | None) -> Path | None:
    return Path(source) if source is not None and Path(source).exists() else None


def _write(
    folder: Path, rows: Iterable[Mapping[str, Any]], source: str, *, root: Path | None
) -> GEditOrigin:
    (folder / _FOLDER).mkdir()
    lines = []
    for number, row in enumerate(rows):
        kept = {name: row.get(name) for name in TEXTS}
        if not all(isinstance(value, str) and value for value in kept.values()):
            raise _other_form(source, f"row {number} lacks one of {', '.join(TEXTS)}")
        if kept["instruction_language"] not in LANGUAGES:
            raise _other_form(source, f"row {number} is in {kept['instruction_language']!r}")
        if not isinstance(row.get("Intersection_exist"), bool):
            raise _other_form(source, f"row {number} has no 'Intersection_exist'")
        images = {
            n: _keep(folder / _FOLDER, _bytes_of(row.get(n), root), f"{n} of row {number}", source)
            for n in IMAGE_COLUMNS
        }
        fields = {**kept, "Intersection_exist": row["Intersection_exist"], **images}
        lines.append(json.dumps(fields, ensure_ascii=False) + "\n")
    if not lines:
        raise _other_form(source, "it has no rows")
    content = "".join(lines).encode()
    (folder / _ROWS).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    origin = GEditOrigin(source=source, digest=digest, n_rows=len(lines))
    fields = {"source": origin.source, "digest": origin.digest, "n_rows": origin.n_rows}
    (folder / _ORIGIN).write_text(json.dumps(fields, indent=2), encoding="utf-8")
    return origin


def _bytes_of(image: Any, root: Path | None) -> bytes | None:
    """The image's bytes; a path is followed only to a file inside a local copy."""
    if not isinstance(image, Mapping):
        return None
    content, path = image.get("bytes"), image.get("path")
    if isinstance(content, bytes) or root is None or not isinstance(path, str):
        return content if isinstance(content, bytes) else None
    try:
        inside = Path(path).relative_to(root) if Path(path).is_absolute() else Path(path)
        return read_bytes(confined(root, str(inside)))
    except (UnreadableFileError, ValueError):
        return None


def _keep(folder: Path, content: bytes | None, what: str, source: str) -> str:
    """The name of the file that stores the image's bytes; equal bytes share a file."""
    kind = next((k for start, k in _KINDS if (content or b"").startswith(start)), None)
    if content is None or kind is None:
        raise _other_form(source, f"{what} is no PNG, JPEG or WebP image")
    name = f"{hashlib.sha256(content).hexdigest()}.{kind}"
    if not (folder / name).exists():
        (folder / name).write_bytes(content)
    return name


def _open(source: str | None) -> tuple[Iterator[Mapping[str, Any]], str]:
    """The rows with undecoded images, and a name for their source."""
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError as error:
        raise AlphaBenchError(
            "the data of gedit is read by the library datasets, which is not installed",
            hint="pip install -e '.[data]'",
        ) from error
    local = _local_folder(source)
    name, _, revision = (source or f"{REPOSITORY}@{REVISION}").partition("@")
    try:
        if local is not None:
            found = _local(datasets, local)
        else:
            found = datasets.load_dataset(name, revision=revision or None, split="train")
        for column in IMAGE_COLUMNS:
            found = found.cast_column(column, datasets.Image(decode=False))
    except AlphaBenchError:
        raise
    except Exception as error:  # a boundary: the library raises whatever it likes
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AlphaBenchError(
            f"the data set {source or REPOSITORY!r} cannot be read: {first}",
            hint="check the network, or pass --from a local copy or owner/name@revision",
        ) from error
    return iter(
        found
    ), "a local copy" if local is not None else f"{name}@{revision or 'its newest'}"


def _local(datasets: Any, folder: Path) -> Any:
    if any((folder / name).is_file() for name in ("state.json", "dataset_dict.json")):
        found = datasets.load_from_disk(str(folder))
        return found["train"] if isinstance(found, datasets.DatasetDict) else found
    for kind in ("parquet", "arrow"):
        files = [
            str(file) for at in ("", "data") for file in sorted((folder / at).glob(f"*.{kind}"))
        ]
        if files:
            return datasets.load_dataset(kind, data_files=files, split="train")
    raise AlphaBenchError(
        f"{str(folder)!r} holds no copy of {REPOSITORY}",
        hint="pass --from a folder with its parquet files, or one that `save_to_disk` wrote",
    )


def _other_form(source: str, what: str) -> AlphaBenchError:
    return AlphaBenchError(
        f"{source!r} is not GEdit-Bench as published: {what}",
        hint=f"pass --from a copy of {REPOSITORY} at {REVISION[:12]}",
    )


def _fetch_in_words(cache_dir: Path, source: str | None) -> str:
    beside = Path(source or "") / REPOSITORY
    origin = fetch_gedit(cache_dir, source=str(beside) if source and beside.is_dir() else source)
    lacks = N_ROWS - origin.n_rows
    short = f", {lacks} fewer than the official: results will be PARTIAL" if lacks > 0 else ""
    return f"{origin.n_rows} rows from {origin.source}{short}"


DATASET: Final = Dataset(
    where=f"gedit ({REPOSITORY} at {REVISION[:12]})", licence=LICENCE, fetch=_fetch_in_words
)
