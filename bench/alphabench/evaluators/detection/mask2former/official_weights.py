"""The files that OpenMMLab published for GenEval's detector: their names, and how one gets here.

Promises that a file which calls itself one of them has its digest. Of each digest the first eight
hexadecimal digits are known, because OpenMMLab writes them into the file's name; the whole digest
and the size are published nowhere that we know of. Knows no network.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from alphabench.core.errors import AlphaBenchError
from alphabench.core.writing import move_into_place
from alphabench.remote.credentials import without_secrets
from alphabench.upstream import default_cache_dir
from alphabench.upstream.fetch import Dataset
from alphabench.weights.digest import check_named_digest
from alphabench.weights.find import WeightsNotFoundError

if TYPE_CHECKING:
    import httpx

LICENCE: Final = "Apache-2.0"
"""Of mmdetection, whose model zoo lists the files."""
_FOLDER: Final = "detectors"
_FETCH: Final = (
    "run `alphabench fetch mask2former`, with --from FILE if you have it, or give weights=FILE"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialFile:
    """A published checkpoint."""

    name: str
    where: str
    """Address of the folder."""
    sha256_begins: str
    """Eight digits; the rest is not known."""
    words: str


_ZOO: Final = "https://download.openmmlab.com/mmdetection"
OFFICIAL: Final = OfficialFile(
    name="mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco_20220504_001756-743b7d99.pth",
    where=f"{_ZOO}/v2.0/mask2former/mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco",
    sha256_begins="743b7d99",
    words="GenEval's official weights (mmdet 2.x)",
)
"""What GenEval's script downloads (djghosh13/geneval)."""
OFFICIAL_3: Final = OfficialFile(
    name="mask2former_swin-s-p4-w7-224_8xb2-lsj-50e_coco_20220504_001756-c9d0c4f2.pth",
    where=f"{_ZOO}/v3.0/mask2former/mask2former_swin-s-p4-w7-224_8xb2-lsj-50e_coco",
    sha256_begins="c9d0c4f2",
    words="OpenMMLab's file of the same training for mmdet 3.x",
)
KNOWN: Final = (OFFICIAL, OFFICIAL_3)


def named_as(digest: str) -> str:
    """What a file of this digest (`sha256:...`) is, in words."""
    for one in KNOWN:
        if digest.removeprefix("sha256:").startswith(one.sha256_begins):
            return one.words
    return "none of OpenMMLab's published files"


def find_official(
    given: Path | None,
    *,
    cache_dir: Path | None = None,
    known: Sequence[OfficialFile] = KNOWN,
) -> Path:
    """The file that was given, or the fetched one.

    Args:
        given: what the user named.
        cache_dir: where `fetch` put it; None is the user's cache.
        known: the files that it may be, the first one before the others.

    Raises:
        WeightsNotFoundError: none was fetched.
        AlphaBenchError: what was named is not there, or its content is not what its name says.
    """
    if given is not None:
        path = given.expanduser().absolute()
        if not path.is_file():
            raise AlphaBenchError(f"there is no file {str(path)!r}", hint="correct weights=")
        check_named_digest(path)
        return path
    folder = (cache_dir or default_cache_dir()) / _FOLDER
    for one in known:
        if (folder / one.name).is_file():
            check_named_digest(folder / one.name)
            return folder / one.name
    raise WeightsNotFoundError(
        f"the official weights {known[0].name!r} are not on this machine (licence: {LICENCE})",
        hint=_FETCH,
    )


def fetch_official_weights(
    cache_dir: Path,
    source: str | None,
    *,
    client: httpx.Client | None = None,
    known: Sequence[OfficialFile] = KNOWN,
) -> str:
    """Bring the official file into the cache, verified by what is known of its digest.

    Args:
        cache_dir: the user's cache folder.
        source: a file, a folder that has it under its own name, the address of such a folder, or
            None for OpenMMLab's server.
        client: None makes one.
        known: the files that it may be; the first one is what a server is asked for.

    Returns:
        What was fetched, in words.

    Raises:
        AlphaBenchError: it cannot be had, or is another file.
    """
    wanted = known[0]
    target = cache_dir / _FOLDER / wanted.name
    if target.is_file() and source is None:
        check_named_digest(target)
        return f"present: {target}"
    part = target.with_suffix(".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        if source is None or urlsplit(source).scheme in {"http", "https"}:
            where = wanted.where if source is None else source.rstrip("/")
            _download(f"{where}/{wanted.name}", part, client=client)
        else:
            shutil.copyfile(_local(source, known), part)
        verified = _verified(part, target.parent, known)
    except OSError as error:
        raise AlphaBenchError(
            f"the weights cannot be copied: {error.strerror or error}",
            hint="make room, or choose another cache folder",
        ) from error
    finally:
        part.unlink(missing_ok=True)
    size = verified.stat().st_size
    return f"{size} bytes, the first 8 digits of sha256 as published (no more is known)"


def _verified(part: Path, folder: Path, known: Sequence[OfficialFile]) -> Path:
    """Renames the file to what its content says that it is."""
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    for one in known:
        if found.startswith(one.sha256_begins):
            move_into_place(part, folder / one.name)
            return folder / one.name
    raise AlphaBenchError(
        f"this is another file: sha256 {found[:8]}..., and {known[0].name!r} begins with "
        f"{known[0].sha256_begins}",
        hint="give --from the official file, or use your own as mask2former:official?weights=FILE",
    )


def _local(source: str, known: Sequence[OfficialFile]) -> Path:
    path = Path(source).expanduser()
    names = [path] if path.is_file() else [path / one.name for one in known]
    for one in names:
        if one.is_file():
            return one
    raise AlphaBenchError(
        f"there is no {known[0].name!r} at {source!r}", hint="give --from the file itself"
    )


def _download(address: str, to: Path, *, client: httpx.Client | None) -> None:
    import httpx

    own = client or httpx.Client(follow_redirects=True, timeout=30.0)
    try:
        with own.stream("GET", address) as answer, to.open("wb") as file:
            if not answer.is_success:
                raise _no_weights(address, f"the server answers {answer.status_code}")
            for part in answer.iter_bytes():
                file.write(part)
    except httpx.HTTPError as error:
        raise _no_weights(address, str(error) or type(error).__name__) from error
    except httpx.InvalidURL as error:  # its text may hold part of a password
        raise _no_weights(address, "it is no address") from error
    finally:
        if client is None:
            own.close()


def _no_weights(address: str, reason: str) -> AlphaBenchError:
    return AlphaBenchError(
        f"{without_secrets(address)!r} cannot be had: {reason}",
        hint="try again, or give --from a file that you downloaded otherwise",
    )


DATASET: Final = Dataset(
    where=f"{OFFICIAL.name} ({OFFICIAL.words})",
    licence=LICENCE,
    fetch=fetch_official_weights,
)
"""For `alphabench fetch mask2former`."""
