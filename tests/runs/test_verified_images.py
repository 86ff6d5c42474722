"""A verified file is trusted until it changes, however it changes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from alphabench.runs.verified_images import VerifiedImages

CONTENT = b"sixteen bytes ..."


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "image.png"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stored(file: Path, checked: VerifiedImages) -> VerifiedImages:
    """As another process reads it."""
    path = file.parent / "checked.json"
    path.write_text(json.dumps(checked.to_json()))
    return VerifiedImages(path)


def checked(file: Path, *, seconds: float = 3600.0) -> VerifiedImages:
    """The file was verified; so many seconds later."""
    found = VerifiedImages(
        file.parent / "checked.json", now_ns=lambda: time.time_ns() + int(seconds * 1e9)
    )
    found.record(str(file), digest(file))
    return found


def test_an_unchanged_file_is_trusted_in_this_process_and_in_others(file: Path) -> None:
    assert checked(file).is_unchanged(str(file), digest(file))
    assert stored(file, checked(file)).is_unchanged(str(file), digest(file))


def test_it_is_trusted_to_have_the_digest_it_had_and_no_other(file: Path) -> None:
    assert not checked(file).is_unchanged(str(file), "0" * 64)
    assert not VerifiedImages(file.parent / "checked.json").is_unchanged(str(file), digest(file))


def test_a_change_is_seen_even_if_size_and_time_are_set_back(file: Path) -> None:
    found, before, sha256 = checked(file), file.stat(), digest(file)
    file.write_bytes(CONTENT[::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert not found.is_unchanged(str(file), sha256)


def test_a_copied_folder_is_read_again_whatever_it_claims(file: Path, tmp_path: Path) -> None:
    stored(file, checked(file))
    there = Path(shutil.copytree(file.parent, tmp_path / "there"))
    assert not VerifiedImages(there / "checked.json").is_unchanged(
        str(there / "image.png"), digest(file)
    )


def test_a_file_that_may_still_change_unseen_is_not_stored_for_others(file: Path) -> None:
    young = checked(file, seconds=0.0)
    assert young.is_unchanged(str(file), digest(file))
    assert young.to_json() == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"image.png": 1}', '{"image.png": "a b c d"}'])
def test_unreadable_content_is_ignored(file: Path, text: str) -> None:
    path = file.parent / "checked.json"
    path.write_text(text)
    assert not VerifiedImages(path).is_unchanged(str(file), digest(file))
    assert VerifiedImages(path).to_json() == {}


def test_a_link_or_folder_is_never_trusted(file: Path) -> None:
    link = file.with_name("link.png")
    link.symlink_to(file)
    found = VerifiedImages(file.parent / "checked.json")
    for path in (link, file.parent, file.with_name("absent.png")):
        found.record(str(path), digest(file))
        assert not found.is_unchanged(str(path), digest(file))
