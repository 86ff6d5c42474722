"""What every comparison with modelscope's mPLUG needs: weights, images, questions, its replies.

Used by `tools.reference.check_mplug` and `tools.perf.vqa`, which know what to make of the replies.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import alphabench.evaluators
from alphabench.models.mplug.config import (
    BeamSearchConfig,
    MplugConfig,
    MplugTextConfig,
    MplugVisionConfig,
)

WORKER = Path(alphabench.evaluators.__path__[0]) / "mplug" / "mplug_worker.py"
ORACLE = Path(__file__).with_name("mplug_oracle.py")
END_BIAS = 18.0
"""Of random weights in the real widths, so that answers end after a few words, as trained ones."""


def parser_of(description: str | None, *, images: int, questions: int) -> argparse.ArgumentParser:
    """A command line with what both tools take.

    Args:
        description: the tool's docstring.
        images: the default number of images.
        questions: the default number about each image.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", type=Path, required=True, help="interpreter with modelscope")
    parser.add_argument("--work", type=Path, required=True, help="folder for weights and results")
    parser.add_argument("--model", type=Path, help="a released folder instead of random weights")
    parser.add_argument("--tiny", action="store_true", help="tiny widths instead of the real ones")
    parser.add_argument("--side", type=int, default=504, help="of the images, in pixels")
    parser.add_argument("--stride", type=int, default=6, help="stride_layer")
    parser.add_argument("--images", type=int, default=images)
    parser.add_argument("--questions", type=int, default=questions, help="about each image")
    return parser


def weights_of(arguments: argparse.Namespace) -> Path:
    """The folder that was given, or random weights of the wanted sizes in the working folder.

    They are written once.
    """
    from tests.support.tiny_mplug import save_mplug

    if arguments.model is not None:
        return Path(arguments.model)
    folder = Path(arguments.work) / "model"
    if (folder / "pytorch_model.bin").is_file():
        return folder
    if arguments.tiny:
        return save_mplug(folder)
    design = MplugConfig(
        vision=MplugVisionConfig(image_res=arguments.side),
        text=dataclasses.replace(MplugTextConfig(), stride_layer=arguments.stride),
        search=BeamSearchConfig(),
    )
    return save_mplug(folder, design, end_bias=END_BIAS)


def make_requests(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The pairs, also written as the oracle reads them."""
    from tests.support.tiny_mplug import pairs, save_images

    work = Path(arguments.work)
    images = save_images(work / "images", arguments.images)
    requests = [
        {"image": str(path), "box": None, "question": question}
        for path, question in pairs(images, arguments.questions)
    ]
    (work / "requests.json").write_text(json.dumps(requests), encoding="utf-8")
    return requests


def ask_official(
    folder: Path,
    arguments: argparse.Namespace,
    extra: Sequence[str] = (),
    *,
    threads: int | None = None,
) -> None:
    """Run the oracle on what `make_requests` wrote; its log lies beside its results.

    Args:
        folder: of the weights.
        arguments: of `parser_of`.
        extra: further words for the oracle.
        threads: None leaves that to the environment.
    """
    work = Path(arguments.work)
    words = [str(arguments.python), str(ORACLE), "--worker", str(WORKER), "--model", str(folder)]
    words += ["--requests", str(work / "requests.json"), "--out", str(work), *extra]
    if arguments.tiny:
        words.append("--any-width")
    environment = dict(os.environ)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    with (work / "oracle.log").open("wb") as log:
        subprocess.run(words, stdout=log, stderr=log, check=True, env=environment)


def read_replies(work: Path) -> list[dict[str, Any]]:
    """What the oracle said, in order."""
    lines = (work / "replies.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
