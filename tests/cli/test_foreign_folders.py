"""Folders from elsewhere, through the command line: nothing is moved, shown or run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Shell

RUN = ("geneval:mini", "--ckpt", "scene:", "--limit", "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    Shell(folder=folder, cache=folder / "cache")("run", *RUN, "--out", "run")
    return folder / "run"


def prepared(alphabench: Shell, made: Path, name: str, change: Callable[[Any], object]) -> Path:
    """A copy of the run, with one of its files changed."""
    run = alphabench.folder / "runs" / "theirs"
    shutil.copytree(made, run)
    path = run / name
    rows = [json.loads(line) for line in path.read_text().splitlines() if path.suffix == ".jsonl"]
    content = rows or json.loads(path.read_text())
    change(content)
    lines = [json.dumps(row) for row in rows] or [json.dumps(content)]
    path.write_text("".join(f"{line}\n" for line in lines))
    return run


def test_a_run_that_names_files_of_the_user_moves_none(alphabench: Shell, made: Path) -> None:
    thesis = alphabench.folder / "thesis.png"
    thesis.write_bytes(b"precious")
    run = prepared(
        alphabench, made, "images.jsonl", lambda rows: rows[1].update(path="../../thesis.png")
    )
    for words in (("run", *RUN, "--out", run), ("score", run), ("summarise", run)):
        said = alphabench(*words, code=2)
        assert "line 2 of" in said.err
        assert "'path' is '../../thesis.png'" in said.err
        assert said.err.count("error:") == said.err.count("hint:") == 1
    assert sorted(path.name for path in alphabench.folder.glob("thesis*")) == ["thesis.png"]
    assert thesis.read_bytes() == b"precious"


def test_a_manifest_runs_no_program(alphabench: Shell, made: Path) -> None:
    evil = alphabench.folder / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {alphabench.folder / 'ran'}\n")
    evil.chmod(0o755)
    (alphabench.folder / "weights.pth").touch()
    spec = f"mmdet?python={evil}&checkpoint={alphabench.folder / 'weights.pth'}&allow_pickle=true"
    run = prepared(
        alphabench, made, "manifest.json", lambda m: m["circumstances"].update(evaluator=spec)
    )
    shutil.rmtree(run / "verdicts")
    alphabench("score", run)
    assert not (alphabench.folder / "ran").exists()


def test_one_odd_folder_hides_no_other_and_commands_no_terminal(
    alphabench: Shell, made: Path
) -> None:
    pwned = "scene:\x1b]0;pwned\x07\x1b[2J"
    run = prepared(alphabench, made, "manifest.json", lambda m: m.update(checkpoint=pwned))
    (run / "report.md").write_text(f"# {pwned}\n")
    site = alphabench.folder / "runs" / "site"
    site.mkdir()
    (site / "manifest.json").write_text('{"start_url": "/\x1b[2J"}')
    listed = alphabench("list", "runs")
    board = alphabench("leaderboard", "runs")
    shown = alphabench("show", run)
    assert "runs/theirs: geneval@" in listed.out
    assert "| scene:" in board.out
    assert "skipped: 'runs/site/manifest.json'" in listed.out
    assert "skipped: 'runs/site/manifest.json'" in board.err
    assert "\\u001b]0;pwned" in shown.out
    assert "\x1b" not in "".join([listed.out, board.out, board.err, shown.out])
