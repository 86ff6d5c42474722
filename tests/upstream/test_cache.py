"""The user's copy of official data: what may enter it, and what is read from it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.upstream import (
    Pin,
    PinnedFile,
    UpstreamData,
    default_cache_dir,
    licence_of,
    pin_of,
    pins_of,
)

NAME = "geneval"
PATH = "prompts/evaluation_metadata.jsonl"


@pytest.fixture
def folder(shared: Path) -> Path:
    return shared / "upstream"


@pytest.fixture
def data(tmp_path: Path) -> UpstreamData:
    return UpstreamData(cache_dir=tmp_path / "cache")


def copy_with(folder: Path, tmp_path: Path, content: bytes | None) -> Path:
    """A source folder whose only file has other content, or is absent."""
    place = tmp_path / "source" / pin_of(NAME).repository / PATH
    place.parent.mkdir(parents=True)
    if content is not None:
        place.write_bytes(content)
    return tmp_path / "source"


def original(folder: Path) -> bytes:
    return (folder / pin_of(NAME).repository / PATH).read_bytes()


def files_below(path: Path) -> list[Path]:
    return [each for each in path.rglob("*") if each.is_file()]


def test_a_folder_with_upstreams_layout_fills_the_cache(folder: Path, data: UpstreamData) -> None:
    assert data.missing(NAME) == [PATH]
    report = data.fetch(NAME, source=folder)
    assert [file.outcome for file in report.files] == ["fetched"]
    assert str(report) == "1 file verified (85,209 bytes; 1 fetched)"
    assert data.read(NAME, PATH) == original(folder)
    assert data.missing(NAME) == []
    assert files_below(data.cache_dir) == [data.path_of(NAME, PATH)]


def test_a_verified_file_in_the_cache_is_not_fetched_again(
    folder: Path, data: UpstreamData, tmp_path: Path
) -> None:
    data.fetch(NAME, source=folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    report = data.fetch(NAME, source=empty)  # nothing there: nothing was asked of it
    assert [file.outcome for file in report.files] == ["cached"]


@pytest.mark.parametrize("damage", [b"", b"cut", None])
def test_a_changed_file_is_noticed_when_read_and_mended_by_fetching(
    folder: Path, data: UpstreamData, damage: bytes | None
) -> None:
    data.fetch(NAME, source=folder)
    place = data.path_of(NAME, PATH)
    place.write_bytes(original(folder).replace(b"dog", b"cat") if damage is None else damage)
    with pytest.raises(AlphaBenchError, match="is not the official file") as caught:
        data.read(NAME, PATH)
    assert str(place) in caught.value.message
    assert "alphabench fetch geneval" in caught.value.hint
    assert data.missing(NAME) == [PATH]
    assert [file.outcome for file in data.fetch(NAME, source=folder).files] == ["replaced"]
    assert data.read(NAME, PATH) == original(folder)


def test_unfetched_data_names_the_command_the_licence_and_the_way_without(
    data: UpstreamData,
) -> None:
    with pytest.raises(AlphaBenchError) as caught:
        data.read(NAME, PATH)
    assert "licence: MIT" in caught.value.message
    assert "`alphabench fetch geneval`" in caught.value.hint
    assert "geneval:mini" in caught.value.hint
    assert not data.cache_dir.exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda content: content[:-1], "has 85208 bytes instead of 85209"),
        (lambda content: content + b"\n", "has 85210 bytes instead of 85209"),
        (lambda content: content.replace(b"dog", b"cat"), "has another sha256"),
    ],
)
def test_a_file_with_another_digest_is_refused_and_leaves_no_trace(
    folder: Path, data: UpstreamData, tmp_path: Path, change: object, complaint: str
) -> None:
    assert callable(change)
    source = copy_with(folder, tmp_path, change(original(folder)))
    with pytest.raises(AlphaBenchError, match=f"is refused: it {complaint}"):
        data.fetch(NAME, source=source)
    assert files_below(data.cache_dir) == []


def test_a_refused_replacement_leaves_what_was_there(
    folder: Path, data: UpstreamData, tmp_path: Path
) -> None:
    data.fetch(NAME, source=folder)
    data.path_of(NAME, PATH).write_bytes(b"mine")
    with pytest.raises(AlphaBenchError, match="is refused"):
        data.fetch(NAME, source=copy_with(folder, tmp_path, b"worse"))
    assert data.path_of(NAME, PATH).read_bytes() == b"mine"


def test_a_source_without_the_file_says_which_layout_it_needs(
    folder: Path, data: UpstreamData, tmp_path: Path
) -> None:
    with pytest.raises(AlphaBenchError, match="cannot be read") as caught:
        data.fetch(NAME, source=copy_with(folder, tmp_path, None))
    assert "<owner>/<repository>/<path>" in caught.value.hint


def test_a_source_that_is_no_folder_is_refused(data: UpstreamData, tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="there is no folder"):
        data.fetch(NAME, source=str(tmp_path / "nowhere"))


def test_a_link_that_leads_out_of_the_cache_is_refused(
    folder: Path, data: UpstreamData, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    owner = data.cache_dir / "upstream" / "djghosh13"
    owner.parent.mkdir(parents=True)
    owner.symlink_to(outside)
    with pytest.raises(AlphaBenchError, match="leads out of the cache"):
        data.fetch(NAME, source=folder)
    assert files_below(outside) == []


def test_a_cache_that_cannot_be_written_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(AlphaBenchError, match="cannot be written"):
        UpstreamData(cache_dir=blocked).fetch(NAME, source=folder)


def test_a_set_that_was_fetched_in_part_is_completed(data: UpstreamData, tmp_path: Path) -> None:
    """Other files of the set that are in place are neither lost nor asked for again."""
    first, second = (
        PinnedFile(path=path, git_blob=hashlib.sha1(b"blob 1\0" + path.encode()).hexdigest())
        for path in ("a", "b")
    )
    pin = Pin(
        name="two",
        repository="x/y",
        commit="0" * 40,
        licence="MIT",
        stand_in="",
        files=(first, second),
    )
    source = tmp_path / "source" / "x" / "y"
    source.mkdir(parents=True)
    (source / "a").write_bytes(b"a")
    with pytest.raises(AlphaBenchError, match="cannot be read"):
        data.fetch_pin(pin, source=tmp_path / "source")
    (source / "a").unlink()
    (source / "b").write_bytes(b"b")
    report = data.fetch_pin(pin, source=tmp_path / "source")
    assert [file.outcome for file in report.files] == ["cached", "fetched"]
    assert str(report) == "2 files verified (2 bytes; 1 cached, 1 fetched)"


def test_two_data_sets_lie_side_by_side(folder: Path, data: UpstreamData) -> None:
    for name in ("geneval", "geneval-long"):
        data.fetch(name, source=folder)
        (path,) = [file.path for file in pin_of(name).files]
        assert data.read(name, path)


def test_the_default_cache_is_the_users_own() -> None:
    assert default_cache_dir().name == "alphabench"


def test_licences_are_known_before_anything_is_downloaded() -> None:
    assert (licence_of("geneval"), licence_of("geneval-long")) == ("MIT", "Apache-2.0")


@pytest.mark.parametrize(
    ("benchmark", "names"),
    [
        ("geneval", ["geneval"]),
        ("geneval@af4902f", ["geneval"]),
        ("geneval:long", ["geneval-long"]),
        ("geneval-long", ["geneval-long"]),
        ("geneval:mini", []),
        ("wise", ["wise", "wise-judge"]),
        ("wise@verified", ["wise", "wise-judge"]),
        ("wise@legacy", ["wise-legacy", "wise-legacy-judge"]),
        ("wise-judge", ["wise-judge"]),
        ("wise@legacy:mini", []),
        ("corebench", ["corebench", "corebench-judge"]),
        ("corebench:mini", []),
        ("longtext:zh", ["longtext", "longtext-judge"]),
        ("longtext:mini", []),
        ("oneig:zh", ["oneig", "oneig-judge"]),
        ("oneig:mini", []),
        ("geneval2", ["geneval2", "geneval2-judge"]),
        ("geneval2:mini", []),
        ("unigenbench", ["unigenbench", "unigenbench-judge"]),
        ("unigenbench:mini", []),
        ("gedit:cn", ["gedit-judge"]),
        ("imgedit", ["imgedit", "imgedit-images", "imgedit-judge"]),
        ("rise:64", ["rise", "rise-images", "rise-judge"]),
        ("imgedit:uge", ["imgedit-uge", "imgedit-uge-images", "imgedit-uge-judge"]),
        ("imgedit-images", ["imgedit-images"]),
        ("imgedit:mini", []),
    ],
)
def test_a_benchmarks_name_leads_to_its_data(benchmark: str, names: list[str]) -> None:
    assert [pin.name for pin in pins_of(benchmark)] == names


def test_unknown_data_names_the_nearest() -> None:
    with pytest.raises(AlphaBenchError, match="did you mean 'geneval'"):
        pins_of("genevall")
