"""Times the native mPLUG, in batches, against modelscope's pipeline, one question at a time.

    python -m tools.perf.vqa --python ENV/bin/python --work DIR             # random, real widths
    python -m tools.perf.vqa --python ENV/bin/python --work DIR --model FOLDER
    python -m tools.perf.vqa --python ENV/bin/python --work DIR --tiny      # says nothing of speed

Both get the same weights, images and questions in one run, with as many threads as
`--threads` says. The pipeline is called as DPG-Bench's script calls it: for each question it
encodes the image anew. Loading is not counted. Seconds are processor time of either process;
prints them by question, their ratio, and where ours goes; ends with code 1 when answers differ or
the ratio is below 2.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from PIL import Image

from alphabench.models.mplug.image_processing import pixels_of
from alphabench.models.mplug.loading import LoadedMplug, load_mplug
from tools.reference.mplug_image_sides import (
    ask_official,
    make_requests,
    parser_of,
    read_replies,
    weights_of,
)

WANTED = 2.0


class Spent(NamedTuple):
    """Processor seconds of ours, by part."""

    images: float
    answers: float


def main() -> int:
    """Time both and print."""
    arguments = _parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    folder = weights_of(arguments)
    requests = make_requests(arguments)
    ask_official(folder, arguments, threads=arguments.threads)
    replies = read_replies(arguments.work)
    loaded = load_mplug(folder)
    said, spent = time_ours(loaded, requests, at_once=arguments.at_once)
    official = sum(reply["seconds"] for reply in replies)
    ratio = official / sum(spent)
    equal = sum(one == reply["answer"] for one, reply in zip(said, replies, strict=True))
    n = len(requests)
    print(f"{n} questions about {arguments.images} images, {arguments.threads} threads")
    print(f"official one by one   {official / n:8.2f} s a question")
    print(f"native in batches     {sum(spent) / n:8.2f} s a question")
    print(f"  of which images   {spent.images / n:8.2f}")
    print(f"  of which answers    {spent.answers / n:8.2f}")
    print(f"ratio                 {ratio:8.1f}")
    print(f"answers equal         {equal} of {n}")
    return 0 if equal == n and ratio >= WANTED else 1


def _parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__, images=2, questions=6)
    parser.add_argument("--at-once", type=int, default=8, help="questions in one batch of ours")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def time_ours(
    loaded: LoadedMplug, requests: Sequence[dict[str, Any]], *, at_once: int
) -> tuple[list[str], Spent]:
    """Answers, and what they took: reading and encoding images; everything after."""
    said: list[str] = []
    images = answers = 0.0
    side = loaded.model.config.vision.image_res
    for path, group in groupby(requests, key=lambda request: str(request["image"])):
        questions = [str(request["question"]) for request in group]
        start = time.process_time()
        with Image.open(path) as opened:
            image_ID = loaded.model.encode_image(pixels_of([opened], side=side))[0]
        middle = time.process_time()
        for first in range(0, len(questions), at_once):
            tokens = loaded.tokenizer.encode(questions[first : first + at_once])
            said += loaded.tokenizer.decode(loaded.model.answer(image_ID, *tokens))
        images += middle - start
        answers += time.process_time() - middle
    return said, Spent(images, answers)


if __name__ == "__main__":
    sys.exit(main())
