"""`show`, `list --json`, `compare --json`: what stands there, for people and for programs."""

from __future__ import annotations

import json
import os
import pty
import re
from pathlib import Path

import pytest

from alphabench import registry
from alphabench.benchmarks import open_benchmark
from alphabench.upstream import UpstreamData, pinned_names
from tests.cli.conftest import Shell
from tests.support.forks import Forked

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A folder with two small runs: `a` without errors, `b` with."""
    folder = tmp_path_factory.mktemp("two")
    shell = Shell(folder=folder, cache=folder / "cache")
    for name, ckpt in (("a", "scene:"), ("b", "scene:?error=0.5")):
        shell("run", "geneval:mini", "--ckpt", ckpt, "--limit", "6", "--out", f"runs/{name}")
    return shell


def test_a_benchmark_is_described_before_its_data_is_here(alphabench: Shell) -> None:
    page = alphabench("show", "geneval")
    assert "Whether short prompts are followed" in page.out
    for fact in ("553", "2,212", "MIT", "85 kB", "official, strict", "alphabench fetch geneval"):
        assert fact in page.out
    facts = alphabench("show", "geneval", "--json").json
    assert (facts["prompts"], facts["images_per_prompt"], facts["judge_calls"]) == (553, 4, "none")


@pytest.mark.parametrize("name", registry.benchmark_names())
def test_what_is_known_of_a_benchmark_names_listed_splits_and_counts_them_right(name: str) -> None:
    entry = registry.benchmark_entry(name)
    assert len(re.findall(r"\.(?:\s|$)", entry.measures)) == 2
    assert set(entry.prompts) <= set(entry.listed)
    assert set(entry.judge_calls) <= {"", *entry.listed}
    minis = [full for full in entry.listed if full.endswith(":mini")]
    assert len(minis) == (not entry.takes_prompts)
    for mini in minis:
        assert entry.prompts[mini] == len(open_benchmark(mini).samples())


def test_the_numbers_of_prompts_are_those_of_the_official_data(
    tmp_path: Path, shared: Path
) -> None:
    data = UpstreamData(cache_dir=tmp_path)
    pins = ("corebench", "geneval", "geneval-long", "geneval2", "longtext", "tiif", "wise")
    for pin in (*pins, "unigenbench", "wise-legacy"):
        data.fetch(pin, source=shared / "upstream")
    for base in ("corebench", "geneval", "geneval2", "longtext", "tiif", "unigenbench", "wise"):
        for name, known in registry.benchmark_entry(base).prompts.items():
            assert len(open_benchmark(name, data=data).samples()) == known, name


def test_a_benchmark_in_a_file_is_shown(alphabench: Shell) -> None:
    page = alphabench("show", f"file:{ROOT / 'examples' / 'own_prompts.yaml'}")
    assert "Fruit and furniture" in page.out


def test_a_run_is_shown_as_its_report_or_as_json(two_runs: Shell) -> None:
    assert two_runs("show", "runs/a").out.startswith("# geneval@1:mini")
    facts = two_runs("show", "runs/a", "--json").json
    assert (facts["benchmark"], facts["images"]) == ("geneval@1:mini", 24)
    (report,) = facts["reports"].values()
    assert report["headline"]["value"] == facts["results"][0]["score"] == 1.0


def test_lists_are_json_on_request_and_runs_come_newest_first(two_runs: Shell) -> None:
    every = two_runs("list", "--json").json
    assert {"benchmarks", "checkpoints", "evaluators", "judges", "recipes", "data", "runs"} == set(
        every
    )
    began = [row["began"] for row in every["runs"]]
    assert began == sorted(began, reverse=True)
    (geneval,) = [row for row in every["data"] if row["name"] == "geneval"]
    assert (geneval["fetched"], geneval["sizes"]) == (False, ["85 kB"])


def test_what_is_listed_fits_80_columns(alphabench: Shell) -> None:
    lines = alphabench("list").out.splitlines()
    assert [line for line in lines if len(line) > 80] == []


def test_comparisons_and_leaderboards_are_json_on_request(two_runs: Shell) -> None:
    compared = two_runs("compare", "runs/a", "runs/b", "--json").json
    assert compared["difference"]["value"] < 0
    assert set(compared["groups"]["counting"]) >= {"value", "low", "high", "distinguishable"}
    board = two_runs("leaderboard", "runs", "--json").json
    assert [row["score"] for row in board["results"]] == sorted(
        (row["score"] for row in board["results"]), reverse=True
    )
    written = two_runs("leaderboard", "runs", "--out", "board", "--json")
    assert written.json == board
    assert "wrote board" in written.err


def on_a_terminal(shell: Shell, *words: str) -> str:
    """What a command prints when its output is a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    variables = {**shell.variables, "COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"}
    process = Forked(
        "-m",
        "alphabench",
        *words,
        cwd=shell.folder,
        variables=variables,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 65536):
            parts.append(part)
    except OSError:  # Linux reports the end of a terminal as an error
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", b"".join(parts).decode()).replace("\r\n", "\n")


def test_a_terminal_gets_tables_and_a_pipe_markdown(two_runs: Shell) -> None:
    words = ("compare", "runs/a", "runs/b")
    piped, rendered = two_runs(*words).out, on_a_terminal(two_runs, *words)
    assert piped.startswith("# ")
    assert "| group " in piped
    assert "| group " not in rendered
    assert "# " not in rendered
    assert "counting" in rendered
    assert [line for line in rendered.splitlines() if len(line) > 80 or "…" in line] == []


def test_doctor_groups_what_is_absent_with_what_installs_it(alphabench: Shell) -> None:
    facts = json.loads(alphabench("doctor", "nano", "--json").out)
    assert facts["healthy"]
    assert [one["subject"] for one in facts["findings"]] == ["evaluator nano"]


def test_an_apple_gpu_is_refused_with_what_to_do(alphabench: Shell) -> None:
    words = ("run", "geneval:mini", "--ckpt", "nano", "--devices", "mps")
    refused = alphabench(*words, code=2)
    assert "Apple GPUs (mps) are not supported" in refused.err
    assert "CPU" in refused.err


def test_everything_that_can_be_fetched_is_listed_with_size_and_licence(alphabench: Shell) -> None:
    listed = alphabench("fetch", "--list").out
    assert re.search(r"geneval +85 kB; MIT; alphabench fetch geneval", listed)
    assert "about 5 GB" in listed
    assert "alphabench fetch --list" in alphabench("fetch", code=2).err


def test_fetching_all_goes_on_after_what_cannot_be_had(alphabench: Shell, tmp_path: Path) -> None:
    source = tmp_path / "mirror"
    source.mkdir()
    said = alphabench("fetch", "all", "--from", source, code=2)
    for text in (
        "licence: MIT; 85 kB",
        "wise-legacy",
        "not fetched: weights of mplug (about 5 GB)",
    ):
        assert text in said.out
    # One for each set of pinned files, and one for the images of GEdit-Bench.
    assert said.err.count("error: ") == len(pinned_names()) + 1


@pytest.mark.parametrize(
    ("benchmark", "missing", "works"),
    [
        ("geneval2", "the judge's official wording (geneval2-judge)", "`--wording own`"),
        ("longtext", "the judge's official wording (longtext-judge)", "`--wording own`"),
        ("unigenbench", "the judge's official wording (unigenbench-judge)", "`--wording own`"),
        ("corebench", "the judge's official wording (corebench-judge)", "`--wording own`"),
        ("imgedit", "the source images (imgedit-images)", "only imgedit:mini can be run"),
        (
            "rise",
            "the source images (rise-images) and the judge's official wording (rise-judge)",
            "only rise:mini can be run",
        ),
    ],
)
def test_a_folder_without_all_parts_is_used_and_the_end_says_what_is_missing(
    alphabench: Shell, shared: Path, benchmark: str, missing: str, works: str
) -> None:
    fetched = alphabench("fetch", benchmark, "--from", shared / "upstream", code=2)
    assert "verified" in fetched.out
    *reasons, error, hint = fetched.err.splitlines()
    assert all(reason.startswith("not fetched: ") for reason in reasons)
    assert error.startswith(f"error: {benchmark} is fetched in part, without {missing}; until then")
    assert error.endswith(works)
    assert hint == f"hint: `alphabench fetch {benchmark}` gets the rest from its source"
