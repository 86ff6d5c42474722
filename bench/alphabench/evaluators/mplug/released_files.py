"""Downloads mPLUG's released files into the cache.

`alphabench fetch mplug` downloads them from ModelScope, or takes them from a folder. Neither sizes
nor digests are known to this project, as the files were not available when it was written: the
first fetch records sha256 and size of each, and later ones that differ are refused. The evaluator's
identity contains the digest in any case. The folder is about 5 GB.

    <cache>/upstream/damo/mplug_visual-question-answering_coco_large_en/<file>
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.writing import move_into_place, replace_file, writing
from alphabench.models.mplug.config import read_mplug_config
from alphabench.remote.credentials import without_secrets
from alphabench.upstream.fetch import Dataset
from alphabench.upstream.sources import DEFAULT_RETRIES, DownloadRetries, open_client

if TYPE_CHECKING:
    import httpx

REPOSITORY: Final = "damo/mplug_visual-question-answering_coco_large_en"
"""Of ModelScope; `iic/` holds the same name."""
FILES: Final = ("config.yaml", "config_bert.json", "vocab.txt", "pytorch_model.bin")
"""What inference needs, the large one last."""
OPTIONAL_FILES: Final = ("configuration.json",)
"""What modelscope itself needs besides; copied if present."""
LICENCE: Final = "as stated on the model's page at ModelScope (not verified)"
ADDRESS: Final = "https://modelscope.cn/api/v1/models/{name}/repo?Revision=master&FilePath={file}"
_NOTES: Final = "origin.json"
_HINT: Final = (
    "download the folder by other means and pass it: alphabench fetch mplug --from FOLDER, or "
    "mplug?weights=FOLDER"
)


def mplug_folder(cache_dir: Path) -> Path:
    """The folder of fetched weights; need not exist."""
    return cache_dir / "upstream" / REPOSITORY


def fetch_mplug(
    cache_dir: Path, source: str | None, *, retries: DownloadRetries = DEFAULT_RETRIES
) -> int:
    """Fetches the files into the cache; returns their size in bytes.

    Args:
        cache_dir: the user's cache folder.
        source: a folder with the files, or with `<owner>/<name>/` below it; a mirror's address
            with that layout; None is ModelScope.
        retries: with a server.

    Raises:
        AlphaBenchError: a file cannot be fetched or written, differs from the last fetch, or the
            model is of another kind.
    """
    folder = mplug_folder(cache_dir)
    with writing(folder, elsewhere="choose another cache folder with ALPHABENCH_CACHE"):
        folder.mkdir(parents=True, exist_ok=True)
        notes = _read_notes(folder)
        for name in (*FILES, *OPTIONAL_FILES):
            path = folder / name
            fetched = path if path.is_file() else _fetch_file(source, path, retries)
            if fetched is None:
                continue
            _check(fetched, path, notes)
            if fetched != path:
                move_into_place(fetched, path)
            replace_file(folder / _NOTES, json.dumps(notes, indent=1) + "\n")
    read_mplug_config(folder)
    return sum((folder / name).stat().st_size for name in FILES)


def _fetch_file(source: str | None, path: Path, retries: DownloadRetries) -> Path | None:
    """The file as `<name>.part` beside its final path; None for an optional file that is absent."""
    part, needed = path.with_name(f"{path.name}.part"), path.name in FILES
    local = _local_folder(source)
    if local is not None:
        exists = _take(local / path.name, part, needed=needed)
    else:
        exists = _download(_address(source, path.name), part, retries, needed=needed)
    return part if exists else None


def _local_folder(source: str | None) -> Path | None:
    if source is None or source.startswith(("http://", "https://")):
        return None
    folder = Path(source).expanduser()
    below = folder / REPOSITORY
    return below if below.is_dir() else folder


def _address(source: str | None, name: str) -> str:
    if source is None:
        return ADDRESS.format(name=REPOSITORY, file=name)
    return f"{source.rstrip('/')}/{REPOSITORY}/{name}"


def _take(path: Path, target: Path, *, needed: bool) -> bool:
    """A link where the file system allows it, else a copy; False for an absent optional file."""
    if not path.is_file():
        if needed:
            raise AlphaBenchError(f"there is no file {str(path)!r}", hint=_HINT)
        return False
    target.unlink(missing_ok=True)
    try:
        os.link(path.resolve(), target)
    except OSError:
        shutil.copyfile(path, target)
    return True


def _download(address: str, target: Path, retries: DownloadRetries, *, needed: bool) -> bool:
    """Streams to a file, resuming after a broken connection; False for an absent optional file."""
    import httpx

    reason = ""
    with open_client(retries) as client:
        for attempt in range(retries.tries):
            if attempt:
                retries.sleep(retries.wait_seconds * 2 ** (attempt - 1))
            try:
                status = _stream(client, address, target)
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
                continue
            if status in (200, 206):
                return True
            reason = f"the server answers {status}"
            if status != 429 and status < 500:
                break
    if not needed:
        return False
    shown = without_secrets(address)
    raise AlphaBenchError(f"{shown!r} could not be downloaded: {reason}", hint=_HINT)


def _stream(client: httpx.Client, address: str, target: Path) -> int:
    have = target.stat().st_size if target.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", address, headers=headers) as answer:
        if answer.status_code == 416:
            # All of it is here already; the digest decides.
            return 200
        if answer.is_success:
            with target.open("ab" if answer.status_code == 206 else "wb") as file:
                for chunk in answer.iter_bytes(2**20):
                    file.write(chunk)
        return answer.status_code


def _check(fetched: Path, path: Path, notes: dict[str, dict[str, object]]) -> None:
    """Refuses a file that differs from the recorded one; records a new one."""
    facts = _facts(fetched)
    if notes.setdefault(path.name, facts) == facts:
        return
    if fetched != path:
        fetched.unlink()
    raise AlphaBenchError(
        f"{path.name!r} is not the file that was fetched here before",
        hint=f"delete {str(path)!r} to fetch it again, or its folder to take another release",
    )


def _facts(path: Path) -> dict[str, object]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "size_bytes": path.stat().st_size}


def _read_notes(folder: Path) -> dict[str, dict[str, object]]:
    try:
        notes: dict[str, dict[str, object]] = json.loads((folder / _NOTES).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise AlphaBenchError(
            f"the record {str(folder / _NOTES)!r} of what was fetched cannot be read",
            hint=f"delete {str(folder)!r} and fetch again",
        ) from error
    return notes


def _fetch_and_describe(cache_dir: Path, source: str | None) -> str:
    size = fetch_mplug(cache_dir, source)
    return f"{len(FILES)} files ({size} bytes) in {mplug_folder(cache_dir)}"


DATASET: Final = Dataset(
    where=f"mPLUG's weights (ModelScope {REPOSITORY})",
    licence=LICENCE,
    fetch=_fetch_and_describe,
    size="about 5 GB",
)
