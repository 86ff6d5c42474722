"""What repeating a finished run costs, by the number of its images: `python -m tools.perf.repeat`.

A repeat makes, reads and asks nothing. What it costs should grow with the images no faster than
they do, and its memory little: the last lines are the ratios of a run and one four times as large.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL.Image import Image, new

from alphabench.types import ImageRequest, NotGenerated

ROOT = Path(__file__).parents[2]


class Tiny:
    """Makes images of 8 x 8 pixels, for as little time as can be."""

    batch_size = 64

    @property
    def identity(self) -> Mapping[str, str]:
        return {"kind": "tiny"}

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        return [new("RGB", (8, 8), (request.seed % 255, 9, 9)) for request in requests]


class Cost(NamedTuple):
    """Of one process."""

    seconds: float
    processor_seconds: float
    peak_mb: float


def write_prompts(path: Path, n_images: int) -> None:
    """A file of prompts with three questions each, about one image a prompt."""
    with path.open("w") as file:
        for i in range(n_images):
            questions = [
                {"question_type": "semantic", "question": f"Is there an apple ({i})?"},
                {"question_type": "semantic", "question": f"Is it red ({i})?"},
            ]
            row = {
                "prompt": f"an image of red apple number {i} on a table",
                "group": f"g{i % 6}",
                "semantic_questions": [{**one, "is_valid": True} for one in questions],
                "quality_questions": [
                    {"question_type": "quality", "question": "Is it sharp?", "is_valid": True}
                ],
            }
            file.write(json.dumps(row) + "\n")


def cost(words: Sequence[str], folder: Path) -> Cost:
    """Of `alphabench` with these words; stops where it fails."""
    began = time.monotonic()
    environment = {
        **os.environ,
        "ALPHABENCH_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "alphabench", *words]
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    child = os.posix_spawn(
        sys.executable,
        command,
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)],
    )
    os.close(output)
    _, status, used = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit((folder / "output.txt").read_text()[-2000:])
    kilobytes = used.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return Cost(
        time.monotonic() - began,
        used.ru_utime + used.ru_stime,
        kilobytes / 1024,
    )


def measured(n_images: int, folder: Path) -> Cost:
    """The second repeat of a run with so many images."""
    prompts, out = folder / f"{n_images}.jsonl", folder / f"run-{n_images}"
    write_prompts(prompts, n_images)
    words = ["run", "dvreward", "--prompts", str(prompts), "--out", str(out)]
    words += ["--ckpt", "python:tools.perf.repeat:Tiny", "--judge", "scripted:?answer=Yes"]
    first = cost(words, folder)
    time.sleep(
        3.0
    )  # files must be this old to be believed unchanged; see alphabench.runs.verified_images
    cost(words, folder)
    again = cost(words, folder)
    for name, found in (("first", first), ("again", again)):
        print(
            f"{n_images:>6} images, {name}: {found.seconds:6.1f} s, of the processor "
            f"{found.processor_seconds:6.1f} s; {found.peak_mb:5.0f} MB",
            flush=True,
        )
    return again


def main() -> None:
    """Measure both sizes, and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    n_images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as temporary:
        small, large = (measured(n, Path(temporary)) for n in (n_images, 4 * n_images))
    print(f"ratio of processor time  {large.processor_seconds / small.processor_seconds:.2f}")
    print(f"ratio of memory          {large.peak_mb / small.peak_mb:.2f}")


if __name__ == "__main__":
    main()
