"""How often the files of a run's images are opened; counted by Python's own audit events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

COUNTING = r"""
import json, os, re, sys
from collections import Counter

reads = {"work": Counter(), "gallery": Counter()}
IMAGE = re.compile(r"images[/\\][^/\\]+[/\\]\d+\.png$")

def count(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
        path = os.fspath(arguments[0])
        if IMAGE.search(path) and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            frame = sys._getframe()
            while frame and frame.f_globals.get("__name__") != "alphabench.reports.gallery_images":
                frame = frame.f_back
            reads["gallery" if frame else "work"][path] += 1

sys.addaudithook(count)
from alphabench.cli import main
try:
    main(sys.argv[2:])
finally:
    with open(sys.argv[1], "w") as file:
        json.dump(reads, file)
"""


def reads(folder: Path, *words: str) -> tuple[Counter[int], Counter[int]]:
    """How many images the command opened once, twice and so on.

    Returns:
        First for all work but the gallery, then by the gallery, which contains the images.
    """
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, "reads.json", *words],
        cwd=folder,
        env={**os.environ, "ALPHABENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads((folder / "reads.json").read_text())
    return Counter(counts["work"].values()), Counter(counts["gallery"].values())


@pytest.mark.parametrize(
    ("benchmark", "judge"), [("geneval:mini", []), ("dpg:mini", ["--judge", "nano"])]
)
def test_a_run_opens_each_image_once_and_its_gallery_once_more_however_many_questions_are_asked(
    tmp_path: Path, benchmark: str, judge: list[str]
) -> None:
    words = [benchmark, "--ckpt", "scene:?error=0.2", "--limit", "2", "--out", "run"]
    assert reads(tmp_path, "run", *words, *judge) == ({1: 8}, {1: 8})


def test_only_the_gallery_opens_images_when_reports_are_made_again(tmp_path: Path) -> None:
    words = ["geneval:mini", "--ckpt", "scene:?error=0.2", "--limit", "2", "--out", "run"]
    reads(tmp_path, "run", *words)
    time.sleep(2.1)  # a younger file is verified again by the next process
    reads(tmp_path, "run", *words)
    for command in (["summarise", "run"], ["run", *words]):
        assert reads(tmp_path, *command) == ({}, {1: 8})
