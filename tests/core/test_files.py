"""Reading files that somebody else wrote: sizes, kinds, encodings, depth, and where paths lead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.core.files import (
    UnreadableFileError,
    confined,
    parse_json,
    read_bytes,
    read_json,
    read_text,
    well_formed,
)


def test_a_named_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableFileError, match="not a regular file"):
        read_bytes(tmp_path / "pipe")


def test_a_device_without_end_is_refused() -> None:
    with pytest.raises(UnreadableFileError, match="not a regular file"):
        read_bytes(Path("/dev/zero"))


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UnreadableFileError, match="are over 10"):
        read_bytes(large, max_bytes=10)


def test_a_file_that_is_absent_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="No such file"):
        read_text(tmp_path / "absent")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "marked.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "marked.json") == {"a": 1}
    assert read_text(tmp_path / "marked.json") == '{"a": 1}'


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_json_that_is_nested_too_deeply_is_one_error(text: str) -> None:
    with pytest.raises(UnreadableFileError, match="nested too deeply"):
        parse_json(text)


@pytest.mark.parametrize("text", ["", "{", "<html>", "1" * 10_000])
def test_what_is_no_json_is_one_error(text: str) -> None:
    with pytest.raises(UnreadableFileError, match="no JSON"):
        parse_json(text)


def test_halves_of_surrogate_pairs_can_be_written_again() -> None:
    value = parse_json('{"\\ud83d": ["\\ude00 x", {"a": "\\ud83d\\ude00"}]}')
    assert value == {"\ufffd": ["\ufffd x", {"a": "\U0001f600"}]}


@given(st.text(alphabet=st.characters()))
def test_well_formed_text_can_always_be_encoded_and_keeps_the_rest(text: str) -> None:
    plain = well_formed(text)
    plain.encode()
    assert len(plain) == len(text)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "", "a\0b"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableFileError, match="leads out"):
        confined(tmp_path, name)


def test_a_link_may_stay_inside_but_not_lead_out(tmp_path: Path) -> None:
    root = tmp_path / "snapshots" / "rev"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "b").write_text("x")
    (root / "sub" / "file").write_text("x")
    (root / "inside").symlink_to("sub/file")
    (root / "outside").symlink_to("../../blobs/b")
    assert confined(root, "inside") == root / "inside"
    with pytest.raises(UnreadableFileError, match="link that leads out"):
        confined(root, "outside")
    assert confined(root, "outside", links_within=tmp_path) == root / "outside"


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UnreadableFileError):
        confined(tmp_path, "a/x")
