"""Holds the project's mPLUG against modelscope's own code: answers and logits, same weights.

    python -m tools.reference.check_mplug --python ENV/bin/python --work DIR  # the real widths
    python -m tools.reference.check_mplug --python ENV/bin/python --work DIR --tiny   # a minute
    python -m tools.reference.check_mplug --python ENV/bin/python --work DIR --model FOLDER

ENV is an environment with modelscope; docs/official_scorers.md says how to make one. Random weights
are drawn into DIR unless a folder is given. The official pipeline gets one (image, question) pair
at a time, ours an image with all its questions. Ends with code 1 unless all answers are equal and
no logit of the official best beam differs by more than 1e-4.

The official side computes an image's encoding once for consecutive questions about it
(`--remember-images` of `tools/reference/mplug_oracle.py`), which changes no number and saves
hours.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
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

BOUND = 1e-4


class Found(NamedTuple):
    """What ours says about one pair."""

    answer: str
    difference: float | None
    """The largest of the logits; None where the official ones were not kept."""
    spread: float | None
    """Standard deviation of the official logits."""


def main() -> int:
    """Compare, print, and say by the exit code whether they are equal."""
    arguments = _parse()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    folder = weights_of(arguments)
    requests = make_requests(arguments)
    if not arguments.reuse:
        extra = ("--logits", str(arguments.logits), "--remember-images")
        ask_official(folder, arguments, extra)
    replies = read_replies(work)
    requests = requests[: len(replies)]  # fewer when an interrupted run is reused
    start = time.process_time()
    found = list(ask_ours(load_mplug(folder), requests, replies, work))
    return report(replies, found, seconds=time.process_time() - start)


def _parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__, images=20, questions=10)
    parser.add_argument("--logits", type=int, default=200, help="pairs whose logits are compared")
    parser.add_argument("--reuse", action="store_true", help="what an earlier run left")
    return parser.parse_args()


def ask_ours(
    loaded: LoadedMplug, requests: Sequence[dict[str, Any]], replies: Sequence[Any], work: Path
) -> Iterator[Found]:
    """An image with all its questions at a time."""
    side = loaded.model.config.vision.image_res
    numbered = enumerate(requests)
    for path, group in groupby(numbered, key=lambda pair: str(pair[1]["image"])):
        asked = list(group)
        with Image.open(path) as opened:
            image_ID = loaded.model.encode_image(pixels_of([opened], side=side))[0]
        tokens = loaded.tokenizer.encode([request["question"] for _, request in asked])
        answers = loaded.tokenizer.decode(loaded.model.answer(image_ID, *tokens))
        for (number, request), answer in zip(asked, answers, strict=True):
            stored = work / f"{number:04d}.npy"
            if not stored.is_file():
                yield Found(answer, None, None)
                continue
            official_TV = np.load(stored)
            alone = loaded.tokenizer.encode([request["question"]])
            given_1T = torch.tensor([replies[number]["words"][1:]], dtype=torch.long)
            ours_TV = loaded.model.logits(image_ID, *alone, given_1T)[0].numpy()
            difference = float(np.abs(ours_TV - official_TV).max())
            yield Found(answer, difference, float(official_TV.std()))


def report(replies: Sequence[Any], found: Sequence[Found], *, seconds: float) -> int:
    """Print the table; 0 where all is equal."""
    equal = [one.answer == reply["answer"] for one, reply in zip(found, replies, strict=True)]
    compared = [one for one in found if one.difference is not None]
    worst = max((one.difference or 0.0 for one in compared), default=0.0)
    spread = sum(one.spread or 0.0 for one in compared) / max(1, len(compared))
    steps = sum(len(reply["words"]) for reply in replies)
    official = sum(reply["seconds"] for reply in replies)
    print(f"answers equal            {sum(equal)} of {len(equal)}")
    print(f"different answers        {len({reply['answer'] for reply in replies})}")
    print(f"steps of the search      {steps / len(replies):.2f} a question")
    print(f"largest logit difference {worst:.2e} over {len(compared)} pairs")
    print(f"spread of the logits     {spread:.2f}")
    print(
        f"processor seconds        official {official:.0f} (images remembered), ours "
        f"{seconds:.0f} (answers and logits)"
    )
    for number, same in enumerate(equal):
        if not same:
            print(f"pair {number}: {replies[number]['answer']!r} and {found[number].answer!r}")
    return 0 if all(equal) and compared and worst <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
