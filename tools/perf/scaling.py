"""A model of what a training gains from more devices, from the times of one process.

    python tools/perf/scaling.py --rollout 4.3 --update 6.2 --judge-rate 2 --judges 8
    python tools/perf/scaling.py --training FOLDER --prompts 8 --group 12
    python tools/perf/scaling.py --measure

The inputs are seconds of one device for one image (rollout, update), images a second of one judge
server, and sizes. They are given, read from the metrics of a training that ran in one process, or
measured here on the nano model. One training step with n devices, P prompts of G images each:

    share      = ceil(P / n) * G images on the device that has most
    rollout    = share * rollout seconds
    waiting    = max(P * G / judges - rollout, last batches / judges), for judges work while the
                 next batch is generated, and not before there is one
    update     = share * update seconds + optimiser seconds * updates (shards: / n)
    exchange   = updates * bytes / bandwidth * 2 (n - 1) / n, a ring all-reduce (Patarasuk and Yuan,
                 J. Parallel Distrib. Comput. 69, 2009) of float32 gradients; shards also gather the
                 weights once a replay batch, at (n - 1) / n of their bytes
    validation = ceil(images / n) * rollout seconds / steps between validations, plus what the
                 judges need for them

Nothing else: no stragglers, no memory limits, messages do not overlap with arithmetic, and a device
computes an image in the same time however many there are. So the table is an upper bound.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import mean
from typing import Final, NamedTuple

FLEETS: Final = (1, 8, 64)
_NANO: Final = ("training.steps=4", "training.prompts_per_step=4", "training.group_size=4",
                "training.rollout_batch=4", "training.replay_batch=4", "validation=[]",
                "prompts.questions=null")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredTimes:
    """Of one process on one device, and the sizes of a step; see the module."""

    rollout: float = 4.3
    """Seconds an image."""
    update: float = 6.2
    """Seconds an image: replay, forward and backward."""
    optimiser: float = 0.05
    """Seconds of one optimiser step with all weights."""
    judge_rate: float = 1.0
    """Images a second that one judge server scores."""
    judges: float = 8.0
    """Judge servers."""
    prompts: int = 32
    group: int = 14
    batch: int = 2
    """Images of a rollout batch on one device."""
    updates: int = 1
    gradient_bytes: float = 0.64e9
    """All-reduced in each update: four for each trained number."""
    weight_bytes: float = 0.0
    """Gathered for each replay batch where weights are shards; 0 where each device has all."""
    bandwidth: float = 50e9
    """Bytes a second between two devices."""
    validation_images: int = 120
    validate_every: int = 20


class StepTime(NamedTuple):
    """Seconds of one training step, by what they are spent on."""

    rollout: float
    waiting: float
    update: float
    exchange: float
    validation: float


def step_time(times: MeasuredTimes, devices: int) -> StepTime:
    """By the module's formulas."""
    images = times.prompts * times.group
    share = math.ceil(times.prompts / devices) * times.group
    working = min(devices, times.prompts)
    judged = times.judge_rate * times.judges
    rollout = share * times.rollout
    last = min(times.batch * working, images) / judged
    around = 2 * (devices - 1) / devices
    shards = devices if times.weight_bytes else 1
    gathered = math.ceil(share / times.batch) * times.weight_bytes * (devices - 1) / devices
    exchanged = times.updates * times.gradient_bytes * around + gathered
    drawn = math.ceil(times.validation_images / devices) * times.rollout
    scored = times.validation_images / judged
    return StepTime(
        rollout=rollout,
        waiting=max(images / judged - rollout, last),
        update=share * times.update + times.updates * times.optimiser / shards,
        exchange=exchanged / times.bandwidth,
        validation=max(drawn, scored) / times.validate_every,
    )


def scaling_table(times: MeasuredTimes, fleets: Sequence[int] = FLEETS) -> str:
    """Markdown: images a second and seconds a step by number of devices."""
    images = times.prompts * times.group
    alone = images / sum(step_time(times, 1))
    lines = [
        "| devices | images/s | of linear | rollout s | judges s | update s | exchange s | "
        "validation s |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for devices in fleets:
        spent = step_time(times, devices)
        speed = images / sum(spent)
        cells = [f"{devices}", f"{speed:.3g}", f"{speed / (devices * alone):.0%}"]
        lines.append("| " + " | ".join([*cells, *(f"{one:.3g}" for one in spent)]) + " |")
    return "\n".join(lines)


def read_training(folder: Path, times: MeasuredTimes) -> MeasuredTimes:
    """Replaces what the metrics of a training in one process tell; its first step warms up.

    The judges' rate is that of the last batch of each step, which nothing overlaps.
    """
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["seconds"] for line in lines][1:]
    images = times.prompts * times.group
    waited = mean(step["reward_wait"] for step in steps)
    return replace(
        times,
        rollout=mean(step["rollout"] for step in steps) / images,
        update=mean(step["update"] for step in steps) / images,
        optimiser=0.0,
        judge_rate=times.batch / max(waited, 1e-3),
    )


def measure_nano(times: MeasuredTimes) -> MeasuredTimes:
    """Trains the nano model for a few steps in one process."""
    small = replace(times, prompts=4, group=4, batch=4, judges=1.0, gradient_bytes=4e6,
                    validation_images=0)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "training"
        command = [sys.executable, "-m", "alphabench", "train", "nano-awm", *_NANO]
        subprocess.run([*command, "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
        return read_training(out, small)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for one in fields(MeasuredTimes):
        kind = int if isinstance(one.default, int) else float
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=kind, default=one.default)
    parser.add_argument("--training", type=Path, help="folder of a training in one process")
    parser.add_argument("--measure", action="store_true", help="measure the nano model here")
    given = vars(parser.parse_args())
    folder, measured = given.pop("training"), given.pop("measure")
    times = MeasuredTimes(**given)
    if measured:
        times = measure_nano(times)
    elif folder is not None:
        times = read_training(folder, times)
    print(times, scaling_table(times), sep="\n\n")


if __name__ == "__main__":
    main()
