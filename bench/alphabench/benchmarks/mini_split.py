"""Where the data of a split comes from: the package, for `:mini`, or pinned upstream files.

Knows the location of the mini splits and no format: each benchmark parses its own lines.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Final

from alphabench.upstream import Pin

MINI_VERSION: Final = "1"
"""Version of every mini split; other data would be another version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """What a benchmark's card states about its data."""

    licence: str
    """SPDX identifier, or words where there is none."""
    source: str
    """Repository and commit, or `alphabench`."""
    digest: str
    """sha256 of the data that decides prompts and answers, in hexadecimal."""


def mini_bytes(benchmark: str) -> bytes:
    """The JSON lines of `<benchmark>:mini`."""
    return (resources.files("alphabench.scenes") / "mini" / f"{benchmark}.jsonl").read_bytes()


def mini_source(benchmark: str, *, also: str = "") -> DataSource:
    """The source of `<benchmark>:mini`.

    Args:
        benchmark: its name.
        also: what decides the data beside the lines; enters the digest.
    """
    digest = hashlib.sha256(mini_bytes(benchmark) + also.encode()).hexdigest()
    return DataSource(licence="Apache-2.0", source="alphabench", digest=digest)


def pinned_source(pin: Pin, *, digest: str) -> DataSource:
    """The source of data at a pinned commit; `digest` is of the files that the split uses."""
    return DataSource(licence=pin.licence, source=f"{pin.repository}@{pin.commit}", digest=digest)
