from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import httpx
import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.detection.mask2former.official_weights import (
    DATASET,
    KNOWN,
    OFFICIAL,
    OfficialFile,
    fetch_official_weights,
    find_official,
    named_as,
)
from alphabench.weights.digest import check_named_digest

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
WANTED = OfficialFile(
    name=f"detector-{DIGEST[:8]}.pth",
    where="https://weights.example/v2",
    sha256_begins=DIGEST[:8],
    words="the wanted file",
)
OTHER = dataclasses.replace(WANTED, name="older-00000000.pth", sha256_begins="00000000")


def test_the_official_names_end_with_what_is_known_of_their_digests() -> None:
    for one in KNOWN:
        assert one.name.endswith(f"-{one.sha256_begins}.pth")
    assert OFFICIAL.sha256_begins == "743b7d99"
    assert named_as("sha256:743b7d99" + "0" * 56) == OFFICIAL.words
    assert named_as(f"sha256:{DIGEST}") == "none of OpenMMLab's published files"
    assert OFFICIAL.name in DATASET.where


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_local_copy_is_taken_verified_and_found_again(as_folder: bool, tmp_path: Path) -> None:
    source = tmp_path / "mine" / WANTED.name
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    given = str(source.parent if as_folder else source)
    words = fetch_official_weights(tmp_path / "cache", given, known=(OTHER, WANTED))
    assert "7000 bytes, the first 8 digits of sha256 as published" in words
    found = find_official(None, cache_dir=tmp_path / "cache", known=(OTHER, WANTED))
    assert found.name == WANTED.name
    assert found.read_bytes() == CONTENT


def test_a_file_under_any_name_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "download(1).bin").write_bytes(CONTENT)
    fetch_official_weights(
        tmp_path / "cache", str(tmp_path / "download(1).bin"), known=(OTHER, WANTED)
    )
    assert find_official(None, cache_dir=tmp_path / "cache", known=(WANTED,)).name == WANTED.name


@pytest.mark.parametrize(
    ("source", "address"), [(None, "https://weights.example/v2"), ("http://m/x/", "http://m/x")]
)
def test_it_is_downloaded_from_its_server_or_a_mirror(
    source: str | None, address: str, tmp_path: Path
) -> None:
    asked: list[str] = []

    def serve(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, content=CONTENT)

    with httpx.Client(transport=httpx.MockTransport(serve)) as client:
        fetch_official_weights(tmp_path, source, client=client, known=(WANTED,))
        assert fetch_official_weights(tmp_path, None, client=client, known=(WANTED,)).startswith(
            "present: "
        )
    assert asked == [f"{address}/{WANTED.name}"]


def test_another_file_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"others")
    with pytest.raises(AlphaBenchError, match=r"another file: sha256 .* begins with 743b7d99"):
        fetch_official_weights(tmp_path / "cache", str(tmp_path / "weights.pth"))
    assert list((tmp_path / "cache").rglob("*.p*")) == []


def test_a_server_that_has_no_such_file_is_named(tmp_path: Path) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(404))
    with (
        httpx.Client(transport=transport) as client,
        pytest.raises(AlphaBenchError, match=r"detector-.*\.pth' cannot be had: .*404"),
    ):
        fetch_official_weights(tmp_path, None, client=client, known=(WANTED,))


def test_nowhere_to_be_found_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match=r"743b7d99\.pth' are not on this machine") as raised:
        find_official(None, cache_dir=tmp_path)
    assert "alphabench fetch mask2former" in raised.value.hint
    with pytest.raises(AlphaBenchError, match="there is no file"):
        find_official(tmp_path / "absent.pth")
    with pytest.raises(AlphaBenchError, match="there is no 'mask2former_swin-s"):
        fetch_official_weights(tmp_path, str(tmp_path / "absent"))


def test_a_file_that_calls_itself_official_and_is_not_is_refused(tmp_path: Path) -> None:
    impostor = tmp_path / OFFICIAL.name
    impostor.write_bytes(CONTENT)
    with pytest.raises(AlphaBenchError, match="is not what its name says"):
        find_official(impostor)
    check_named_digest(impostor.rename(tmp_path / f"x-{DIGEST[:8]}.pth"))
