"""The facts by which an official file is recognised."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.upstream import PinnedFile, pin_of, pinned_names


def pinned(content: bytes, *, sha256: bool = True, size: bool = True) -> PinnedFile:
    blob = b"blob " + str(len(content)).encode() + b"\0" + content
    return PinnedFile(
        path="a/b.txt",
        git_blob=hashlib.sha1(blob).hexdigest(),
        sha256=hashlib.sha256(content).hexdigest() if sha256 else None,
        size_bytes=len(content) if size else None,
    )


@given(st.binary(max_size=50), st.binary(max_size=50), st.booleans(), st.booleans())
def test_only_the_very_bytes_match(one: bytes, other: bytes, sha256: bool, size: bool) -> None:
    file = pinned(one, sha256=sha256, size=size)
    assert file.mismatch(one) is None
    assert (file.mismatch(other) is None) == (one == other)


def test_gits_identifier_is_that_of_git() -> None:
    """`printf 'hello\\n' | git hash-object --stdin`."""
    known = PinnedFile(path="x", git_blob="ce013625030ba8dba906f756967f9e9ca394464a")
    assert known.mismatch(b"hello\n") is None
    assert known.mismatch(b"hello") == "is another git blob than the pinned one"
    assert known.digest == "git:ce013625030ba8dba906f756967f9e9ca394464a"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "", ".", "a\\..\\b"])
def test_a_path_that_leaves_the_repository_cannot_be_pinned(path: str) -> None:
    with pytest.raises(ValueError, match="no path inside a repository"):
        PinnedFile(path=path, git_blob="0")


def test_every_data_set_is_pinned_to_a_commit_with_digests_and_a_licence() -> None:
    assert {"geneval", "geneval-long", "wise", "wise-legacy"} <= set(pinned_names())
    for name in pinned_names():
        pin = pin_of(name)
        assert len(pin.commit) == 40
        assert pin.licence
        assert pin.files
        assert all(len(file.git_blob) == 40 for file in pin.files)
