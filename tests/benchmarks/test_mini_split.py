"""The data of the mini splits, and what cards state about where data comes from."""

from __future__ import annotations

import hashlib

import pytest

from alphabench.benchmarks.mini_split import mini_bytes, mini_source, pinned_source
from alphabench.upstream import pin_of

MINIS = (
    "corebench", "cvtg", "dpg", "gedit", "geneval", "geneval2",
    "imgedit", "longtext", "oneig", "rise", "tiif", "unigenbench", "wise",
)  # fmt: skip


@pytest.mark.parametrize("benchmark", MINIS)
def test_a_mini_split_is_named_by_the_digest_of_its_lines(benchmark: str) -> None:
    source = mini_source(benchmark)
    assert source.digest == hashlib.sha256(mini_bytes(benchmark)).hexdigest()
    assert (source.licence, source.source) == ("Apache-2.0", "alphabench")


def test_what_decides_the_data_beside_the_lines_enters_the_digest() -> None:
    assert mini_source("gedit", also="renderer 2").digest != mini_source("gedit").digest


def test_pinned_data_is_named_by_repository_and_commit() -> None:
    pin = pin_of("tiif")
    source = pinned_source(pin, digest="0" * 64)
    assert source.source == f"{pin.repository}@{pin.commit}"
    assert (source.licence, source.digest) == (pin.licence, "0" * 64)
