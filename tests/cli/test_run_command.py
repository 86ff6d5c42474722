"""`alphabench run` from the outside: figures, files, and that how it is run changes neither."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alphabench.runs.store import RunFolder
from tests.cli.conftest import Shell

MINI = ("run", "geneval:mini", "--ckpt")
DRAWN = 60
"""Of GenEval's 553 prompts; of all six tasks."""


def hashes(root: Path) -> dict[str, str]:
    return {name: record.sha256 for name, record in RunFolder.open(root).images().items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    shell = Shell(folder=folder, cache=folder / "cache")
    said = shell(*MINI, "scene:", "--limit", "12", "--out", "run", "--json")
    return folder / "run", said.report


@pytest.mark.parametrize(("error", "n_samples"), [(0.0, 4), (0.2, 10), (0.5, 4)])
def test_the_score_of_generated_scenes_is_within_its_interval_of_the_truth(
    alphabench: Shell, error: float, n_samples: int
) -> None:
    words = (f"scene:?error={error}", "--limit", str(6 * n_samples), "--json")
    found = alphabench(*MINI, *words).json
    headline = found["headline"]
    assert headline["low"] <= 1 - error <= headline["high"]
    assert headline["n_scored"] == headline["n_expected"] == 24 * n_samples
    assert found["coverage"] == 1.0
    assert found["partial"] is (n_samples < 10)
    assert len(found["groups"]) == 6
    for group in found["groups"].values():
        assert group["low"] <= group["value"] <= group["high"]
        assert (group["n_samples"], group["n_scored"]) == (n_samples, 4 * n_samples)


def test_one_json_object_says_what_was_measured(undisturbed: tuple[Path, Any]) -> None:
    _, found = undisturbed
    assert found["benchmark"] == "geneval"
    assert found["split"] == "mini"
    assert found["protocol"] == "official"
    assert found["evaluator"] == "nano"
    assert found["partial"] is True


def test_a_person_is_reported_the_score_and_where_to_look(alphabench: Shell) -> None:
    said = alphabench(*MINI, "scene:", "--limit", "6", "--out", "run")
    assert "PARTIAL" in said.out
    assert "report:  run/report.md" in said.out
    assert "gallery: run/gallery.html" in said.out
    assert "PARTIAL" in (alphabench.folder / "run" / "report.md").read_text()
    assert "PARTIAL" in (alphabench.folder / "run" / "gallery.html").read_text()
    assert "PARTIAL" in alphabench("show", "run").out
    assert "PARTIAL" in alphabench("leaderboard", "run").out


def test_workers_batch_order_and_limit_change_neither_images_nor_verdicts(
    alphabench: Shell, undisturbed: tuple[Path, Any]
) -> None:
    root, found = undisturbed
    words = ("--limit", "12", "--out", "two", "--workers", "2", "--json")
    both = alphabench(*MINI, "scene:", *words)
    assert both.report == found
    assert hashes(alphabench.folder / "two") == hashes(root)
    fewer = alphabench(*MINI, "scene:", "--limit", "6", "--out", "few", "--json").json
    assert fewer["partial"] is True
    assert hashes(alphabench.folder / "few").items() <= hashes(root).items()


def test_a_label_stands_in_tables_and_names_the_folder(alphabench: Shell) -> None:
    words = (*MINI, "scene:", "--limit", "6", "--name")
    run = alphabench(*words, "good scenes", "--json").json["run"]
    assert (run["label"], run["checkpoint"]) == ("good scenes", "scene:")
    folder = "runs/geneval/good-scenes"
    assert run["folder"] == folder
    assert alphabench("show", folder).out.startswith("# geneval@1:mini: good scenes")
    assert "| good scenes " in alphabench("leaderboard", "runs").out
    assert "# good scenes against good scenes" in alphabench("compare", folder, folder).out
    assert "good scenes" in (alphabench.folder / folder / "gallery.html").read_text()
    other = alphabench(*MINI, "scene:?error=1", "--limit", "6", "--name", "good scenes", code=2)
    assert "holds another run (checkpoint.error: '0.0' -> '1.0')" in other.err


def test_a_second_process_on_the_same_run_is_refused_in_a_sentence(alphabench: Shell) -> None:
    command = (*MINI, "scene:", "--out", "run")
    first = alphabench.start(*command)
    try:
        while not (alphabench.folder / "run" / "images.jsonl").exists():
            assert first.poll() is None
            time.sleep(0.02)
        second = alphabench(*command, code=2)
        assert f"being written by process {first.pid}" in second.err
    finally:
        first.kill()
        first.communicate()


def test_damaged_images_are_noticed_and_made_again(
    alphabench: Shell, undisturbed: tuple[Path, Any]
) -> None:
    root, found = undisturbed
    command = (*MINI, "scene:", "--limit", "12", "--out", "run", "--json")
    alphabench(*command)
    paths = sorted((alphabench.folder / "run" / "images").glob("*/*.png"))
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:100])
    paths[2].write_bytes(paths[3].read_bytes())
    said = alphabench(*command)
    assert "was deleted" in said.err
    assert said.err.count("was altered") == 2
    assert said.report == found
    assert hashes(alphabench.folder / "run") == hashes(root)


def test_generating_and_scoring_apart_is_running(
    alphabench: Shell, undisturbed: tuple[Path, Any]
) -> None:
    _, found = undisturbed
    made = alphabench(
        "generate", "geneval:mini", "--ckpt", "scene:", "--limit", "12", "--out", "run"
    )
    assert "48 of 48 images are in run" in made.out
    assert alphabench("score", "run", "--json").report == found
    assert alphabench("summarise", "run", "--json").report == found


def test_a_dry_run_says_what_would_be_done_and_does_nothing(alphabench: Shell) -> None:
    said = alphabench(*MINI, "scene:", "--dry-run")
    assert "60" in said.out
    assert "240 (4 per sample)" in said.out
    assert "nano-official" in said.out
    assert "MIT" in said.out
    assert "size=128x128; error=0.0" in said.out
    assert not (alphabench.folder / "runs").exists()


def test_a_dry_run_lists_what_is_missing_a_line_each_and_fails(alphabench: Shell) -> None:
    words = ("run", "tiif:mini", "--ckpt", "scene:?size=64", "--dry-run")
    said = alphabench(*words, code=2)
    assert "missing: tiif puts its questions to a judge, and none is named" in said.out
    found = alphabench(*words, "--json", code=2).json
    assert found["plan"]["refused"] is True
    assert found["plan"]["changed_settings"] == {"size": "64x64"}
    assert found["plan"]["images"] == 52
    assert len(found["missing"]) == 1
    judged = alphabench(*words, "--judge", "nano", "--json").json
    assert judged["plan"]["judge_calls"] == 154
    assert (judged["missing"], judged["plan"]["refused"]) == ([], False)


def test_an_export_reads_back_as_upstreams_own_result(alphabench: Shell) -> None:
    run = alphabench(*MINI, "scene:?error=0.3", "--limit", "18", "--out", "run", "--json").report
    alphabench("summarise", "run", "--export", "theirs")
    again = alphabench("summarise", "geneval", "--official", "theirs/results.jsonl", "--json").json
    # Upstream adds the tasks up in the order of its file: the last bit may differ.
    assert again["headline"]["value"] == pytest.approx(run["headline"]["value"], rel=1e-15)
    assert {k: v["value"] for k, v in again["groups"].items()} == {
        k: v["value"] for k, v in run["groups"].items()
    }
    as_folder = alphabench(
        *MINI, "images:theirs/images", "--layout", "geneval", "--evaluator", "nano",
        "--limit", "18", "--out", "imported", "--json",
    ).report  # fmt: skip
    assert as_folder == run


def test_a_published_result_is_printed_with_intervals_and_says_what_it_lacks(
    alphabench: Shell,
) -> None:
    rows = [{"tag": "colors", "metadata": str(n), "correct": n % 2} for n in range(4)]
    path = alphabench.folder / "results.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    said = alphabench("summarise", "geneval", "--official", path).out
    assert said.index("Overall score (avg. over tasks): 0.50000") < said.index("(brackets: 95%")
    assert "colors  0.500 [0.000, 1.000]  4 samples, 4 of 4 scored" in said
    assert "PARTIAL: some samples or images of the benchmark are not in this result." in said
    path.write_text(path.read_text() + json.dumps({**rows[0], "correct": None}))
    lacking = alphabench("summarise", "geneval", "--official", path, code=1)
    assert "80% (4 of 5) of the expected verdicts have a value" in lacking.out


def test_the_official_prompts_that_the_world_knows_are_generated_and_the_rest_is_accounted_for(
    alphabench: Shell, fetched: Path
) -> None:
    shell = Shell(folder=alphabench.folder, cache=fetched)
    planned = shell("run", "geneval", "--ckpt", "scene:", "--dry-run", code=1)
    assert "2212 (4 per sample)" in planned.out
    words = ("--limit", str(DRAWN), "--json")
    found = shell("run", "geneval", "--ckpt", "scene:?size=64", *words, code=1).json
    assert found["partial"]
    assert found["evaluator"] == "nano"
    assert found["split"] == ""
    assert found["statuses"]["scored"] + found["statuses"]["refused"] == DRAWN * 4
    assert found["headline"]["value"] > 0.9
    assert 0.3 < found["coverage"] < 0.6


def test_a_image_that_is_not_one_is_named(alphabench: Shell) -> None:
    alphabench(*MINI, "scene:", "--limit", "6", "--out", "run")
    alphabench("summarise", "run", "--export", "theirs")
    victim = next((alphabench.folder / "theirs" / "images").glob("*/samples/0001.png"))
    victim.write_bytes(b"not a picture")
    words = ("images:theirs/images", "--layout", "geneval", "--limit", "6", "--out", "again")
    said = alphabench(*MINI, *words, code=2)
    assert "0001.png" in said.err


def test_images_are_lossless_rgb_of_the_asked_size(undisturbed: tuple[Path, Any]) -> None:
    root, _ = undisturbed
    with Image.open(next((root / "images").glob("*/0.png"))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (128, 128))


def test_two_runs_are_compared_by_sample(alphabench: Shell, undisturbed: tuple[Path, Any]) -> None:
    root, _ = undisturbed
    alphabench(*MINI, "scene:?error=1", "--limit", "12", "--out", "wrong", "--json")
    said = alphabench("compare", "wrong", root)
    assert "**Difference +1.000, distinguishable**" in said.out
    assert "not distinguishable" in alphabench("compare", root, root).out
    page = alphabench("compare", "wrong", root, "--gallery", "--out", "pages/two.html").out
    assert page.endswith("gallery: pages/two.html\n")
    assert "A wrong, B right" in (alphabench.folder / "pages" / "two.html").read_text()
    alone = alphabench("compare", "wrong", root, "--out", "two.html", code=2)
    assert "add --gallery" in alone.err
    refused = alphabench("compare", "wrong", root, "--evaluation", "nano-official-0", code=2)
    assert "did you mean" in refused.err
