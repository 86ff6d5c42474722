"""A run folder from elsewhere: nothing outside it is touched, and what is wrong is one sentence."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Generator
from alphabench.runs.plan import CheckpointFactory, open_evaluation, plan_run
from alphabench.runs.run import Outcome, Work, execute_plan
from tests.support.fakes import Dots, Reds

Harm = Callable[[Path], object]


def ran(run: Path) -> Outcome:
    def dots(*, device: str) -> Generator:
        return Dots()

    benchmark = Reds(groups=1, size=2)
    plan = plan_run(benchmark, CheckpointFactory(name="dots", open=dots), out=run)
    return execute_plan(plan, open_evaluation(benchmark, "brightness"), Work())


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A whole run, to be copied."""
    return ran(tmp_path_factory.mktemp("good") / "run")


def one(run: Path, pattern: str) -> Path:
    (path,) = run.glob(pattern)
    return path


def edited(pattern: str, change: Callable[[dict[str, Any]], object]) -> Harm:
    """Changes the first object in a file of the run."""

    def harm(run: Path) -> None:
        path = one(run, pattern)
        text = path.read_text()
        first, rest = text.split("\n", 1) if path.suffix == ".jsonl" else (text, "")
        content = json.loads(first)
        change(content)
        path.write_text(f"{json.dumps(content)}\n{rest}")

    return harm


def line(pattern: str, text: str) -> Harm:
    """Adds a line to a file of the run."""

    def harm(run: Path) -> None:
        path = one(run, pattern)
        path.write_text(f"{path.read_text()}{text}\n")

    return harm


def linked(name: str, target: str) -> Harm:
    """Puts a link in the place of a file or folder of the run."""

    def harm(run: Path) -> None:
        path = one(run, name) if "*" in name else run / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(run.parent / "home" / target)

    return harm


def piped(name: str) -> Harm:
    def harm(run: Path) -> None:
        path = one(run, name)
        path.unlink()
        os.mkfifo(path)

    return harm


def image_at(path: str) -> Harm:
    return edited("images.jsonl", lambda row: row.update(path=path))


def dated(number: object) -> Harm:
    return edited("manifest.json", lambda manifest: manifest.update(format=number))


IMAGES, VERDICTS, IDENTITY = "images.jsonl", "verdicts/*.jsonl", "verdicts/*.identity.json"
DEEP = "[" * 100_000 + "]" * 100_000
REFUSED: dict[str, tuple[Harm, str]] = {
    "an image that lies above": (image_at("../home/thesis.png"), "line 1 .*'path'"),
    "an image that climbs out": (image_at("images/../../home/thesis.png"), "line 1 .*'path'"),
    "an image by absolute path": (image_at("/etc/passwd"), "line 1 .*'path'"),
    "an image that is the manifest": (image_at("manifest.json"), "line 1 .*'path'"),
    "an image that is a link": (linked("images/0-0/0.png", "thesis.png"), "leads out"),
    "a folder of images that is a link": (linked("images/0-0", ""), "leads out"),
    "all images behind a link": (linked("images", ""), "leads out"),
    "rows behind a link": (linked(IMAGES, "thesis.txt"), "leads out"),
    "verdicts behind a link": (linked("verdicts", ""), "leads out"),
    "reports behind a link": (linked("reports", ""), "leads out"),
    "a page behind a link": (linked("report.md", "thesis.txt"), "leads out"),
    "a lock behind a link": (linked("lock", "thesis.txt"), "leads out"),
    "a manifest behind a link": (linked("manifest.json", "thesis.txt"), "leads out"),
    "a pipe for rows": (piped(IMAGES), "images.jsonl.*not a regular file"),
    "a pipe for a manifest": (piped("manifest.json"), "not a run folder"),
    "a row without a key": (edited(IMAGES, lambda r: r.pop("seconds")), "line 1 .*lacks 'seconds'"),
    "a row with text for a number": (
        edited(IMAGES, lambda r: r.update(seed="x")),
        "line 1 .*'seed' is 'x', not a whole number",
    ),
    "a row with no finite number": (
        edited(IMAGES, lambda r: r.update(seconds=float("inf"))),
        "'seconds' is inf, not a finite number",
    ),
    "a row that is a list": (line(IMAGES, "[]"), r"line 5 .*is \[\], not an object"),
    "a row that is nested deeply": (line(IMAGES, DEEP), "line 5 .*nested too deeply"),
    "a row that is no JSON": (line(IMAGES, "{oops"), "line 5 .*no JSON"),
    "an empty verdict": (line(VERDICTS, "{}"), "line 5 .*lacks 'image_sha256'"),
    "a verdict without a question": (
        edited(VERDICTS, lambda r: r["verdict"].pop("question_id")),
        "line 1 .*lacks 'verdict.question_id'",
    ),
    "a verdict that is no number": (
        edited(VERDICTS, lambda r: r["verdict"].update(value=float("nan"))),
        "line 1 .*'verdict.value' is nan",
    ),
    "a verdict that failed with a number": (
        edited(VERDICTS, lambda r: r["verdict"].update(status="failed")),
        "line 1 .*'verdict': a 'failed' verdict cannot carry",
    ),
    "a status of another version": (
        edited(VERDICTS, lambda r: r["verdict"].update(status="bored")),
        "line 1 .*'verdict.status' is 'bored', not one of 'scored'",
    ),
    "an identity of lists": (
        edited(IDENTITY, lambda i: i.update(threshold=[1])),
        "belongs to another evaluator",
    ),
    "pixels without a seed": (
        edited("manifest.json", lambda m: m["pixels"].pop("seed")),
        "manifest.json.*'pixels' lacks 'seed'",
    ),
    "pixels that are numbers": (
        edited("manifest.json", lambda m: m["pixels"].update(seed=0)),
        "manifest.json.*'pixels.seed' is 0, not text",
    ),
    "a million images of each sample": (
        edited(
            "manifest.json", lambda m: m["pixels"].update({"benchmark.images_per_sample": "9" * 9})
        ),
        "images_per_sample",
    ),
    "a limit that is text": (
        edited("manifest.json", lambda m: m.update(limit="all")),
        "'limit' is 'all', not a whole number",
    ),
    "a manifest without a checkpoint": (
        edited("manifest.json", lambda m: m.pop("checkpoint")),
        "manifest.json.*lacks 'checkpoint'",
    ),
    "a manifest of a newer version": (dated(2), "written by another version"),
    "a manifest of a website": (
        edited("manifest.json", lambda m: m.pop("format")),
        "is not the manifest of a run",
    ),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_with_a_folder_is_one_sentence_and_nothing_outside_is_touched(
    name: str, good: Outcome, tmp_path: Path
) -> None:
    harm, sentence = REFUSED[name]
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("precious")
    Image.new("RGB", (8, 8), "red").save(home / "thesis.png")
    shutil.copy(home / "thesis.png", home / "0.png")
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    run = tmp_path / "run"
    shutil.copytree(good.folder.root, run)
    harm(run)
    with pytest.raises(AlphaBenchError, match=sentence) as caught:
        ran(run)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before
    assert not re.search("thesis", (run / "gallery.html").read_text())


ACCEPTED: dict[str, Harm] = {
    "one key more in a row": edited(IMAGES, lambda row: row.update(colour="blue")),
    "one key more in a verdict": edited(VERDICTS, lambda row: row["verdict"].update(more=[1])),
    "one key more in the manifest": edited("manifest.json", lambda m: m.update(colour="blue")),
    "a blank line": line(IMAGES, ""),
    "nonsense about which images were checked": lambda run: (run / "checked.json").write_text(
        json.dumps(
            {"images/0-0/0.png": "a b c 1", "images/0-1/0.png": [1], "": f"{'9' * 64} 1 1 1"}
        )
    ),
    "files of macOS": lambda run: [
        (folder / f"._{name}").write_bytes(b"\x00\x05\x16\x07")
        for folder in (run, run / "reports", run / "verdicts")
        for name in ("manifest.json", "e.json", "e.identity.json", "e.jsonl")
    ],
    "a byte order mark": lambda run: one(run, IMAGES).write_bytes(
        b"\xef\xbb\xbf" + one(run, IMAGES).read_bytes()
    ),
    "a damaged report, which is worked out again": lambda run: one(
        run, "reports/*.json"
    ).write_text("{"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_does_no_harm_changes_no_report(name: str, good: Outcome, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(good.folder.root, run)
    ACCEPTED[name](run)
    assert ran(run).report == good.report
