"""The examples run as their pages say: through the command line, from outside the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Shell

FRUIT = "python:judged_benchmark:Fruit"


@pytest.fixture
def examples(tmp_path: Path) -> Shell:
    """The command line in the folder of the examples."""
    return Shell(folder=Path(__file__).parents[2] / "examples", cache=tmp_path)


def test_a_judged_benchmark_from_outside_the_package_is_run_and_scored_again(
    examples: Shell, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ("--ckpt", "scene:", "--judge", "nano", "--out", out, "--json")
    report = examples("run", FRUIT, *words).report
    assert report["benchmark"] == "fruit"
    assert report["headline"]["value"] > 0.8
    assert list(report["groups"]) == ["colour", "counting", "relation"]
    assert report["statuses"] == {"scored": 24}
    assert (report["coverage"], report["partial"]) == (1.0, False)

    unnamed = examples("score", out, "--judge", "scripted:", code=2)
    assert "--benchmark python:module:factory" in unnamed.err
    again = examples("score", out, "--judge", "nano", "--benchmark", FRUIT, "--json")
    assert again.report == report
    other = examples("summarise", out, "--benchmark", "python:tests.support.fakes:Reds", code=2)
    assert "'reds@1'" in other.err


def test_planted_errors_lower_the_score_of_the_example(examples: Shell, tmp_path: Path) -> None:
    words = ("--judge", "nano", "--limit", "3", "--out", tmp_path / "run", "--json")
    report = examples("run", FRUIT, "--ckpt", "scene:?error=1", *words).json
    assert report["headline"]["value"] < 0.8
    assert report["partial"]


def test_the_example_without_a_judge_tells_how_to_name_one(examples: Shell) -> None:
    assert "--judge nano" in examples("run", FRUIT, "--ckpt", "scene:", code=2).err


def test_a_benchmark_in_a_file_is_run_and_its_folder_needs_the_file_no_more(
    examples: Shell, alphabench: Shell, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ("--ckpt", "scene:?error=0.25", "--judge", "nano", "--out", out)
    report = examples("run", "file:own_prompts.yaml", *words, "--json").report
    assert (report["benchmark"], report["coverage"]) == ("fruit-file", 1.0)
    assert list(report["groups"]) == ["colour", "counting"]
    assert report["headline"]["value"] < 1.0

    elsewhere = alphabench("score", out, "--judge", "nano", "--json")
    assert elsewhere.report == report
    assert alphabench("summarise", out, "--json").report == report
    assert "fruit-file" in alphabench("leaderboard", out).out
    assert "difference" in alphabench("compare", out, out).out
    assert examples("run", "file:own_prompts.yaml", *words, "--json").report == report


def test_a_copy_of_a_benchmark_that_was_altered_scores_nothing(
    examples: Shell, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    examples("generate", "file:own_prompts.yaml", "--ckpt", "scene:", "--out", out)
    kept = out / "benchmark.json"
    kept.write_text(kept.read_text().replace("Is the apple red?", "Is the apple green?"))
    refused = examples("score", out, "--judge", "scripted:", code=2)
    assert "data" in refused.err
