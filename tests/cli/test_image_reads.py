"""How often the files of a run's images are opened; counted by Python's own audit events."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from tests.support.forks import run

COUNTING = r"""
import json, os, re, sys, time
from collections import Counter

reads = {"work": Counter(), "gallery": Counter()}
IMWAIT = re.compile(r"images[/\\][^/\\]+[/\\]\d+\.png$")

def count(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
        path = os.fspath(arguments[0])
        if IMWAIT.search(path) and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            frame = sys._getframe()
            while frame and frame.f_globals.get("__name__") != "alphabench.reports.gallery_images":
                frame = frame.f_back
            reads["gallery" if frame else "work"][path] += 1

import torch
from alphabench.cli import main

for number, words in enumerate(json.loads(sys.argv[1])):
    if words == ["wait"]:
        time.sleep(2.1)
        continue
    pid = os.fork()  # a process of its own, which need not import torch again
    if not pid:
        sys.addaudithook(count)
        try:
            main(words)
        finally:
            with open(f"reads-{number}.json", "w") as file:
                json.dump(reads, file)
    if os.waitpid(pid, 0)[1]:
        sys.exit(f"failed: {words}")
"""


WAIT = ["wait"]
"""Instead of a command: a younger file is verified again by the next process."""


def reads(folder: Path, *commands: list[str]) -> list[tuple[Counter[int], Counter[int]]]:
    """How many images each command opened once, twice and so on, each in a process of its own.

    Returns:
        For each command: first for all work but the gallery, then by the gallery, which contains
        the images.
    """
    done = run(
        "-c",
        COUNTING,
        json.dumps(commands),
        cwd=folder,
        variables={"ALPHABENCH_CACHE": str(folder / "cache")},
    )
    assert done.returncode == 0, done.stderr
    found = []
    for number, words in enumerate(commands):
        if words == WAIT:
            continue
        counts = json.loads((folder / f"reads-{number}.json").read_text())
        found.append((Counter(counts["work"].values()), Counter(counts["gallery"].values())))
    return found


def test_a_run_opens_each_image_once_and_its_gallery_once_more_however_many_questions_are_asked(
    tmp_path: Path,
) -> None:
    words = ["dpg:mini", "--ckpt", "scene:?error=0.2", "--limit", "2", "--out", "run"]
    assert reads(tmp_path, ["run", *words, "--judge", "nano"]) == [({1: 8}, {1: 8})]


def test_only_the_gallery_opens_images_when_reports_are_made_again(tmp_path: Path) -> None:
    words = ["geneval:mini", "--ckpt", "scene:?error=0.2", "--limit", "2", "--out", "run"]
    again, summarise = ["run", *words], ["summarise", "run"]
    first, _, *later = reads(tmp_path, again, WAIT, again, summarise, again)
    assert first == ({1: 8}, {1: 8})
    assert later == [({}, {1: 8})] * 2
