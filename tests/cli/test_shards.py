"""Shards from the command line: as a batch scheduler starts them, and as a user mistypes them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Said, Shell

RUN = ("geneval:mini", "--ckpt", "scene:?error=0.3", "--limit", "6")


def digests(folder: Path) -> dict[str, bytes]:
    images = folder / "images"
    return {str(path.relative_to(images)): path.read_bytes() for path in images.rglob("*.png")}


def test_shards_are_generated_scored_and_merged_into_the_plain_run(alphabench: Shell) -> None:
    plain = alphabench("run", *RUN, "--out", "runs/plain", "--json")
    said = alphabench("run", *RUN, "--out", "runs/a", "--shard", "1/2")
    assert "PARTIAL: the run folder holds shard 1 of 2; the run was limited to 6" in said.out
    assert "when all shards are done: alphabench merge runs/a\n" in said.out

    early = alphabench("merge", "runs/a", code=1)
    assert "shard 2 of 2 is missing: 3 samples" in early.err
    assert "without --shard and with --out runs/a" in early.out

    alphabench("generate", *RUN, "--out", "runs/a", "--shard", "2/2")
    half = alphabench("merge", "runs/a", code=1)
    assert "merged 2 folders: 24 images are in runs/a" in half.out
    assert "12 missing: no image or no verdict yet" in half.err
    alphabench("score", "runs/a.shard-2-of-2")
    whole = alphabench("merge", "runs/a.shard-1-of-2", "runs/a.shard-2-of-2", "--json")
    (result,) = whole.json["results"]
    assert {key: value for key, value in result.items() if key != "run"} == plain.report
    assert whole.json["missing"] == []
    assert digests(alphabench.folder / "runs/a") == digests(alphabench.folder / "runs/plain")

    again = alphabench("run", *RUN, "--out", "runs/a", "--json")
    assert again.report == plain.report
    assert alphabench("summarise", "runs/a", "--json").report == plain.report
    assert "+0.000, not distinguishable" in alphabench("compare", "runs/plain", "runs/a").out
    ranked = alphabench("leaderboard", "runs")
    assert "shards of runs (2)" in ranked.err
    assert ranked.out.count("| scene:?error=0.3 ") == 2
    listed = alphabench("list", "runs", "--json").json["runs"]
    assert [row["shard"] for row in listed if "1-of-2" in row["name"]] == [{"number": 1, "of": 2}]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("run", *RUN, "--shard", "0/8"), "--array=1-8"),
        (("run", *RUN, "--shard", "9/8"), "there is no shard 9 of 8"),
        (("generate", *RUN, "--shard", "x/y"), "--shard cannot be 'x/y'"),
        (("run", *RUN, "--shard", "7/8"), "shard 7 of 8 has no sample: the run has 6"),
        (("run", *RUN, "--shard", "1/2", "--out", "a.shard-2-of-2"), "--out a"),
        (("merge", "runs/a"), "no shards of one beside it"),
        (("merge", "."), "no run in '.'"),
        (("merge",), "RUN..."),
        (("score", "runs/a"), "is not a run folder"),
    ],
)
def test_a_mistake_with_shards_is_one_sentence(
    alphabench: Shell, words: tuple[str, ...], expected: str
) -> None:
    said: Said = alphabench(*words, code=2)
    assert expected in said.err
    assert said.out == ""
    assert not (alphabench.folder / "runs").exists()


def test_the_folder_of_shards_that_are_not_merged_yet_says_so(alphabench: Shell) -> None:
    alphabench("generate", *RUN, "--out", "a", "--shard", "1/2")
    for verb in ("score", "summarise"):
        said = alphabench(verb, "a", code=2)
        assert "'a' is not a run folder; shards of a run stand beside it" in said.err
        assert "alphabench merge a" in said.err
    again = alphabench("generate", *RUN, "--out", "a")
    assert "this command makes their images again; `alphabench merge a` takes them" in again.err
    shutil.rmtree(alphabench.folder / "a")
    assert "there are shards of runs only" in alphabench("leaderboard", ".", code=2).err


@pytest.mark.whole
def test_a_merge_that_is_killed_at_any_moment_is_completed_by_the_same_command(
    alphabench: Shell,
) -> None:
    for number in (1, 2):
        alphabench("run", *RUN, "--out", "a", "--shard", f"{number}/2")
    shards = [alphabench.folder / f"a.shard-{number}-of-2" for number in (1, 2)]
    before = [_files(shard) for shard in shards]
    alphabench("merge", "a")
    wanted, whole = _files(alphabench.folder / "a"), alphabench.folder / "a"
    for n_images in (0, 1, 5, 10, 15, 20, 23, 24):
        shutil.rmtree(whole)
        merging = alphabench.start("merge", "a")
        while merging.poll() is None and len(list(whole.glob("images/*/*.png"))) < n_images:
            time.sleep(0.001)
        merging.kill()
        merging.communicate()
        alphabench("merge", "a")
        assert _files(whole) == wanted
    assert [_files(shard) for shard in shards] == before


def _files(folder: Path) -> dict[str, bytes]:
    """All but what is about this machine's files and processes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("checked.json", "lock")
    }
