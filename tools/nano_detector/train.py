"""Trains the nano detector from scratch on rendered scenes; on two processor cores, under an hour.

    python -m tools.nano_detector.train WORK --steps 5000 --threads 2

WORK holds the pool of rendered images, the checkpoint, the log and the newest weights file. The
same command after an interruption continues: a step is a function of (seed, step) and the weights
alone. `--install` copies the newest weights into the package.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import alphabench.nano
from alphabench.core.writing import appending, move_into_place, replace_file
from alphabench.nano.detector_network import WEIGHTS, DetectorConfig, DetectorNet, channels_last
from alphabench.scenes.scene_sampling import random_scene
from alphabench.scenes.spec import CATEGORIES
from tools.cpu_precision import cpu_autocast
from tools.nano_detector.batches import rough_batch
from tools.nano_detector.export import export_detector
from tools.nano_detector.geneval_facts import geneval_scene
from tools.nano_detector.losses import WEIGHTS as LOSS_WEIGHTS
from tools.nano_detector.losses import losses
from tools.nano_detector.pool import (
    COLOUR_NAMES,
    Draw,
    Pool,
    Shard,
    draw_shard,
    fill_pool,
    joined,
    scattered_scene,
)

DRAWS: tuple[Draw, ...] = (random_scene, geneval_scene, scattered_scene)
HELD_OUT = 1_000_000
"""Index of the first shard that is never trained on."""
LAST_HELD_OUT = 4
"""Shards on which the final weights are calibrated and examined, half each."""
WARM_UP = 200
EMA = 0.998


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorTraining:
    """All that decides the weights, besides the code."""

    steps: int
    seed: int
    batch: int
    shards: int
    rate: float
    """Peak learning rate of AdamW; warms up linearly, falls as a cosine."""

    def rate_at(self, step: int) -> float:
        warm = min(1.0, (step + 1) / WARM_UP)
        return self.rate * warm * (0.505 + 0.495 * math.cos(math.pi * step / self.steps))

    def shards_at(self, step: int) -> int:
        """How much of the pool step `step` draws from: a rule, so that timing decides nothing."""
        return min(self.shards, 2 + step // 60)


class Training:
    """Weights, their moving average, the optimiser and the step; saved and restored as one."""

    def __init__(self, plan: DetectorTraining, work: Path, *, threads: int) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.path = plan, work / "checkpoint.pt"
        design = DetectorConfig(categories=CATEGORIES, colours=COLOUR_NAMES)
        self.net = channels_last(DetectorNet(design, norm=True))
        with torch.no_grad():
            assert self.net.heads.bias is not None
            self.net.heads.bias[0] = -4.0  # centres are rare: start from "nowhere"
        self.replicas = [channels_last(DetectorNet(design, norm=True)) for _ in range(threads)]
        self.threads = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        self.average = DetectorNet(design, norm=True).eval().requires_grad_(False)
        self.average.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(self.net.parameters(), plan.rate, weight_decay=0.02)
        self.step = 0
        self.seconds = 0.0
        if self.path.exists():
            self._restore()

    def _restore(self) -> None:
        state = torch.load(self.path, weights_only=True)
        if state["plan"] != asdict(self.plan):
            raise SystemExit(f"{self.path} belongs to another plan: {state['plan']}")
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]

    def save(self) -> None:
        state = {
            "plan": asdict(self.plan),
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        move_into_place(part, self.path)

    def advance(self, rows: Shard) -> dict[str, float]:
        """One step of the optimiser; returns the losses.

        The batch is shared out to one replica per thread, each with one core and its own share of
        the noise: on a busy machine that loses far less than threads inside every operation.
        """
        started = time.monotonic()
        share = len(rows.picture_RSS3) // len(self.replicas)
        jobs = [
            self.threads.submit(self._share, index, rows.rows(slice(index * share, None)), share)
            for index in range(len(self.replicas))
        ]
        parts = [job.result() for job in jobs]
        gradients = zip(*(_gradients(replica) for replica in self.replicas), strict=True)
        for parameter, shares in zip(self.net.parameters(), gradients, strict=True):
            parameter.grad = torch.stack(shares).mean(dim=0)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate_at(self.step)
        self.optimiser.step()
        self.net.load_state_dict(dict(self.replicas[0].named_buffers()), strict=False)
        self._average(min(EMA, (1 + self.step) / (10 + self.step)))
        self.step += 1
        self.seconds += time.monotonic() - started
        return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}

    def _share(self, index: int, rows: Shard, count: int) -> dict[str, float]:
        """The gradients of one replica's part of the batch."""
        replica = self.replicas[index]
        replica.load_state_dict(self.net.state_dict())
        rng = np.random.default_rng([self.plan.seed, self.step, index])
        pixels_B3SS, labels = rough_batch(rows.rows(slice(count)), rng)
        with cpu_autocast():
            maps = replica(pixels_B3SS.contiguous(memory_format=torch.channels_last))
        parts = losses(maps, labels)
        total = torch.stack([LOSS_WEIGHTS[name] * part for name, part in parts.items()]).sum()
        replica.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        return {name: float(part.detach()) for name, part in parts.items()}

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        pairs = zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True)
        for slow, fast in pairs:
            if slow.is_floating_point():
                slow.lerp_(fast, 1.0 - decay)
            else:
                slow.copy_(fast)


def _gradients(net: DetectorNet) -> list[Tensor]:
    """The gradient of each parameter; all take part in the loss."""
    gradients = [parameter.grad for parameter in net.parameters()]
    return [gradient for gradient in gradients if gradient is not None]


def _train(
    plan: DetectorTraining, work: Path, *, threads: int, save_every: int, examine_every: int
) -> None:
    """Runs to the last step, from wherever the checkpoint stands, and exports the weights."""
    training = Training(plan, work, threads=threads)
    pool = Pool(work / "pool")
    held_out = _held_out(plan, 0)
    recent: list[dict[str, float]] = []
    while training.step < plan.steps:
        rng = np.random.default_rng([plan.seed, training.step])
        rows = pool.pick(rng, plan.batch, among=plan.shards_at(training.step))
        recent.append(training.advance(rows))
        step = training.step
        if step % 50 == 0:
            mean = {name: float(np.mean([r[name] for r in recent])) for name in recent[0]}
            _log(work, {"step": step, "seconds": round(training.seconds, 1), **mean})
            recent.clear()
        if step % save_every == 0 or step == plan.steps:
            training.save()
        if step % examine_every == 0 and step < plan.steps:
            found = export_detector(training.average, held_out, work / WEIGHTS)
            _log(work, {"step": step, **asdict(found)})
    held_out = joined([_held_out(plan, number) for number in range(LAST_HELD_OUT)])
    found = export_detector(training.average, held_out, work / WEIGHTS)
    _log(work, {"step": plan.steps, **asdict(found)})


def _held_out(plan: DetectorTraining, number: int) -> Shard:
    return draw_shard(plan.seed, HELD_OUT + number, DRAWS)


def _log(work: Path, entry: dict[str, float]) -> None:
    line = json.dumps({k: round(v, 4) for k, v in entry.items()})
    print(line, flush=True)
    with appending(work / "log.jsonl") as append:
        append(f"{line}\n".encode())


def install(work: Path) -> Path:
    """Copies the newest weights of WORK into the package; returns where they lie."""
    target = Path(alphabench.nano.__path__[0]) / WEIGHTS
    replace_file(target, (work / WEIGHTS).read_bytes())
    return target


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--shards", type=int, default=48, help="1,000 images (54 MB) each")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--examine-every", type=int, default=1000)
    parser.add_argument("--install", action="store_true", help="only copy the newest weights")
    options = parser.parse_args(arguments)
    if options.install:
        print(install(options.work))
        return
    torch.set_num_threads(1)
    plan = DetectorTraining(
        steps=options.steps,
        seed=options.seed,
        batch=options.batch,
        shards=options.shards,
        rate=options.rate,
    )
    options.work.mkdir(parents=True, exist_ok=True)
    renderer = multiprocessing.get_context("spawn").Process(
        target=fill_pool, args=(options.work / "pool", plan.seed, DRAWS, plan.shards), daemon=True
    )
    renderer.start()
    _train(
        plan,
        options.work,
        threads=options.threads,
        save_every=options.save_every,
        examine_every=options.examine_every,
    )


if __name__ == "__main__":
    main()
