"""A digest over files: the identity of weights and images on this machine.

Hashes the full content, streamed. Does not interpret the files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from alphabench.core.errors import AlphaBenchError


def digest_files(root: Path, paths: Iterable[Path]) -> str:
    """`sha256:<hex>` over the relative path, the size and the content of each file.

    The order in which the paths are given does not matter, nor does the path of `root`.

    Raises:
        OSError: a file cannot be read.
        ValueError: a path is not under `root`.
    """
    total = hashlib.sha256()
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in paths):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
            size = file.tell()
        # Each part has a fixed length or ends in NUL, which no file name contains.
        total.update(name.encode() + b"\0" + size.to_bytes(8, "big") + content)
    return f"sha256:{total.hexdigest()}"


def digest_file(path: Path) -> str:
    """`sha256:<hex>` over one file's content, whatever it is called.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def check_named_digest(path: Path) -> None:
    """Check the first eight digits of the SHA-256, with which OpenMMLab's file names end.

    Raises:
        AlphaBenchError: the name states a digest, and the content has another.
    """
    named = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
    if named and not digest_file(path).removeprefix("sha256:").startswith(named[1]):
        raise AlphaBenchError(
            f"the content of {path.name!r} is not what its name says",
            hint="download the checkpoint again",
        )
