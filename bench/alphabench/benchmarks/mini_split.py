"""Where the data of a split comes from: the package, for `:mini`, or pinned upstream files.

Knows the location of the mini splits and no format: each benchmark parses its own lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from alphabench.upstream import Pin

MINI_VERSION: Final = "1"
"""Version of every mini split; other data would be another version."""
MINI_TEST: Final = "geneval-test"
"""Name of the data of `geneval:mini-test`."""
TEST_SPLIT: Final = "geneval:mini-test"
"""The benchmark by which nothing is chosen: neither a recipe, nor a step, nor weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """What a benchmark's card states about its data."""

    licence: str
    """SPDX identifier, or words where there is none."""
    source: str
    """Repository and commit, or `alphabench`."""
    version: str
    """Of the benchmark: the start of the commit, or `MINI_VERSION`."""
    digest: str
    """sha256 of the data that decides prompts and answers, in hexadecimal."""


def is_test_split(benchmark: str) -> bool:
    """Whether a benchmark's name, with its version or without, is that of the test split."""
    name, _, split = benchmark.partition(":")
    return f"{name.partition('@')[0]}:{split}" == TEST_SPLIT


def mini_bytes(name: str) -> bytes:
    """The JSON lines of `<name>:mini`, or of `MINI_TEST`."""
    return (resources.files("alphabench.scenes") / "mini" / f"{name}.jsonl").read_bytes()


def mini_source(name: str, *, also: str = "") -> DataSource:
    """The source of `<name>:mini`, or of `MINI_TEST`.

    Args:
        name: of the benchmark, or `MINI_TEST`.
        also: what decides the data beside the lines; enters the digest.
    """
    digest = hashlib.sha256(mini_bytes(name) + also.encode()).hexdigest()
    return DataSource(
        licence="Apache-2.0", source="alphabench", version=MINI_VERSION, digest=digest
    )


def pinned_source(pin: Pin, *, digest: str) -> DataSource:
    """The source of data at a pinned commit; `digest` is of the files that the split uses."""
    source = f"{pin.repository}@{pin.commit}"
    return DataSource(licence=pin.licence, source=source, version=pin.commit[:7], digest=digest)


def pinned_files_source(*pins: Pin, paths: Sequence[str] = ()) -> DataSource:
    """The source of files of some pins, under the first one's licence and commit.

    Args:
        pins: whose files decide the data.
        paths: those of the first pin alone that do, in this order; empty for all files.
    """
    named = [pins[0].file(path) for path in paths]
    files = named or [file for pin in pins for file in pin.files]
    digests = "".join(file.digest for file in files)
    return pinned_source(pins[0], digest=hashlib.sha256(digests.encode()).hexdigest())
