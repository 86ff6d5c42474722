"""Compressed bodies are unpacked within bounds."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from alphabench.remote.compression import BoundedBody, UnusableBodyError

TEXT = b"plain text " * 50


def unpacked(body: bytes, encoding: str | None, *, step: int = 7, most: int = 10_000) -> bytes:
    bounded = BoundedBody(encoding, most_bytes=most)
    for start in range(0, len(body), step):
        bounded.feed(body[start : start + step])
    return bounded.finish()


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (TEXT, None), (TEXT, "identity"), (gzip.compress(TEXT, mtime=0), "gzip"),
        (gzip.compress(TEXT, mtime=0), " X-GZIP"), (gzip.compress(TEXT, mtime=0) + b"\0\0", "gzip"),
        (gzip.compress(TEXT[:99], mtime=0) + gzip.compress(TEXT[99:], mtime=0), "gzip"),
        (zlib.compress(TEXT), "deflate"), (raw_deflate(TEXT), "deflate"),
    ],
    ids=["plain", "identity", "gzip", "x-gzip", "padded", "two members", "zlib", "raw deflate"],
)  # fmt: skip
def test_a_body_of_every_form_is_unpacked_however_it_arrives(
    body: bytes, encoding: str | None, step: int
) -> None:
    assert unpacked(body, encoding, step=step) == TEXT


@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
def test_a_body_of_exactly_the_limit_is_complete_and_one_byte_more_is_refused(
    encoding: str | None,
) -> None:
    def pack(content: bytes) -> bytes:
        if encoding == "gzip":
            return gzip.compress(content, mtime=0)
        return zlib.compress(content) if encoding else content

    assert unpacked(pack(b"x" * 10_000), encoding) == b"x" * 10_000
    with pytest.raises(UnusableBodyError, match="larger than"):
        unpacked(pack(b"x" * 10_001), encoding)


def test_a_bomb_takes_no_more_memory_than_the_bound() -> None:
    bomb = gzip.compress(b" " * (256 * 2**20), 1)
    bounded = BoundedBody("gzip", most_bytes=2**20)
    tracemalloc.start()
    with pytest.raises(UnusableBodyError, match="larger than 1 MiB"):
        bounded.feed(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


@pytest.mark.parametrize(
    ("body", "encoding", "why"),
    [
        (TEXT, "gzip", "damaged"), (gzip.compress(TEXT, mtime=0)[:-9], "gzip", "too early"),
        (b"\xff\xff\xff\xff", "deflate", "damaged"), (TEXT, "br", "'br'"), (TEXT, "zstd", "'zstd'"),
        (TEXT, "gzip, gzip", "was not requested"),
    ],
)  # fmt: skip
def test_damage_and_unknown_compressions_are_distinguished_from_content(
    body: bytes, encoding: str, why: str
) -> None:
    with pytest.raises(UnusableBodyError, match=why):
        unpacked(body, encoding)
