from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.weights.digest import digest_file, digest_files

NAMES = st.text(alphabet="abc/", min_size=1, max_size=6).filter(
    lambda name: not name.startswith("/") and not name.endswith("/") and "//" not in name
)
FOLDERS = st.dictionaries(NAMES, st.binary(max_size=8), max_size=4).filter(
    lambda files: not any(f"{one}/" in other for one in files for other in files)
)


def digest(root: Path, files: dict[str, bytes], *, backwards: bool = False) -> str:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    names = sorted(files, reverse=backwards)
    return digest_files(root, [root / name for name in names])


@given(one=FOLDERS, two=FOLDERS)
def test_digests_are_equal_exactly_when_names_and_contents_are(
    one: dict[str, bytes], two: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = digest(tmp_path_factory.mktemp("one"), one)
    second = digest(tmp_path_factory.mktemp("two"), two, backwards=True)
    assert (first == second) == (one == two)


def test_one_file_is_its_plain_sha256_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    assert digest_file(tmp_path / "a") == f"sha256:{hashlib.sha256(b'weights').hexdigest()}"
