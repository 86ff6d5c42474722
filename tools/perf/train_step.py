"""Measures a training step by phase, in the released recipe's shape and in the lean one's.

    python -m tools.perf.train_step                            minutes on one core
    python -m tools.perf.train_step --divide 7 --prompts 1     the smallest, half a minute
    python -m tools.perf.train_step --counts                   counts instead, a minute or two

`--counts` prints operations a decoded token, passes of the decoder, waits of the host and memory of
a step, as it is and with one thing done otherwise (`step_counts`).

Both shapes are read from their recipes (bagel-rt2i, bagel-unigrpo-style) and run by the engine in
one process, from the same weights: those of the embedded model, rewarded by DVReward with the
embedded judge. Steps, window, guidance, losses, rates and the proportion of the groups are the
recipes'; images, thoughts and the number of prompts are scaled to the model, and a batch is a
complete group in both. A first step warms up, since replay is probed there; then come the timed
steps, then one under torch's counter of FLOPs, which would slow them. With few images, the lengths
of their thoughts are random.

The ratios are the result. Seconds are those of the processor, on one thread, so that other work on
the machine does not count; the reward's worker runs in parallel. How phases share a step is the
small model's: it denoises 16 tokens an image where BAGEL denoises a thousand.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch.utils.flop_counter import FlopCounterMode

from alphabench.upstream import UpstreamData
from alphagrpo.assemble import assemble
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.policies.unified_policy import UMMPolicy
from alphagrpo.recipe import TrainingRecipe, load_recipe
from alphatrainers.protocols import ReplayAnswer, ReplaySpec, RewardFunction, Score, VelocityQuery
from alphatrainers.trainer import Trainer
from alphatrainers.trainer_components import TrainerComponents
from alphatrainers.trajectory import GenerateText, Program, SampledText, Trajectory

RELEASED: Final = "bagel-rt2i"
LEAN: Final = "bagel-unigrpo-style"
THOUGHT: Final = 96
"""Most tokens of a thought in the released shape, instead of 1024."""
_OTHERS: Final = {
    "images": "images a step",
    "written": "tokens of a thought",
    "velocities": "velocities trained",
    "waiting": "s a step, reward wait",
}
PHASES: Final = ("rollout", "thinking", "reward", "replay", "update")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much smaller than the recipes it is."""

    prompts: int = 2
    divide: int = 1
    """Of the group sizes; they stay 2 or more."""
    steps: int = 2
    """That are timed."""


@dataclass(slots=True)
class Meter:
    """Seconds of the processor and FLOPs by phase, each thread's by itself."""

    warm_up: int = 0
    """Rollouts to forget."""
    counting: bool = False
    """Counts FLOPs instead of seconds."""
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    flops: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def begin_rollout(self) -> None:
        """Forgets what was measured when the warming up is over."""
        if self.warm_up == 0:
            self.seconds.clear()
        self.warm_up -= 1

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What runs within it; a phase within a phase is part of both."""
        counter = _counter() if self.counting else None
        began = time.thread_time()
        with counter or nullcontext():
            yield
        if counter is None:
            self.seconds[name] += time.thread_time() - began
        else:
            self.flops[name] += counter.get_total_flops()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteredReward:
    """A reward, measured."""

    reward: RewardFunction
    name: str
    meter: Meter

    @property
    def identity(self) -> Mapping[str, str]:
        return self.reward.identity

    def score(self, trajectories: Sequence[Trajectory]) -> Sequence[Score]:
        """See `alphatrainers.protocols.RewardFunction`."""
        with self.meter.phase(f"reward {self.name}"):
            return self.reward.score(trajectories)


class MeteredPolicy(UMMPolicy):
    """The policy, measured."""

    def __init__(self, policy: UMMPolicy, meter: Meter) -> None:
        super().__init__(policy.umm, identity=policy.identity)
        self._meter = meter

    def rollout_in_slices(
        self, programs: Sequence[Program], *, images_together: int
    ) -> list[Trajectory]:
        self._meter.begin_rollout()
        with self._meter.phase("all of rollout"):
            return super().rollout_in_slices(programs, images_together=images_together)

    def replay(
        self,
        trajectories: Sequence[Trajectory],
        *,
        texts: Sequence[int],
        queries: Sequence[VelocityQuery],
        how: ReplaySpec,
    ) -> Iterator[ReplayAnswer]:
        answers = super().replay(trajectories, texts=texts, queries=queries, how=how)
        while True:
            with self._meter.phase("replay"):
                answer = next(answers, None)
            if answer is None:
                return
            yield answer

    def _sample_texts(self, said: Any, spec: GenerateText, generators: Any) -> list[SampledText]:
        with self._meter.phase("thinking"):
            return super()._sample_texts(said, spec, generators)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeCosts:
    """One shape: the cost of an image and its thought."""

    images: int
    """Of a step."""
    written: float
    """Tokens of a thought, on average."""
    velocities: float
    """Replayed with gradient for an image."""
    seconds: Mapping[str, float]
    """By phase, and `step`."""
    gflop: Mapping[str, float]
    """By phase, and `step`."""
    waiting: float
    """Seconds of a step by the clock, not the processor, in which nothing was left but to wait for
    rewards."""

    @property
    def images_per_second(self) -> float:
        return 1.0 / self.seconds["step"]


def scaled_recipe(name: str, size: Size) -> TrainingRecipe:
    """A recipe of BAGEL for the embedded model and judge."""
    recipe = load_recipe(name)
    group = max(2, round(recipe.training.group_size / size.divide))
    longest = load_recipe(RELEASED).task.thought.max_tokens
    thought = round(recipe.task.thought.max_tokens * THOUGHT / longest)
    changes = (
        "policy={checkpoint: nano, options: {think: true}}",
        "task.draw.width=null",
        "task.draw.height=null",
        f"task.thought.max_tokens={thought}",
        "rewards.dvreward.judge=nano",
        f"prompts={{source: 'small:?count={8 * size.prompts}'}}",
        "validation=[]",
        "panel=0",
        f"training.prompts_per_step={size.prompts}",
        f"training.group_size={group}",
        f"training.rollout_batch={group}",
        f"training.replay_batch={group}",
        "training.logging.tensorboard=false",
    )
    return load_recipe(name, changes)


def measure_shape(name: str, size: Size, folder: Path) -> ShapeCosts:
    """Runs one shape in a training's folder of its recipe."""
    recipe = scaled_recipe(name, size)
    timed, counted = Meter(warm_up=size.prompts), Meter(counting=True)
    _train(recipe, folder, meter=timed, steps=1 + size.steps)
    _train(recipe, folder, meter=counted, steps=2 + size.steps)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = lines[1 : 1 + size.steps]
    images = size.prompts * recipe.training.group_size
    in_all = sum(line["seconds"]["cpu"] for line in steps)
    values = steps[0]["values"]
    return ShapeCosts(
        images=images,
        written=sum(line["values"]["text/completion_length"] for line in steps) / size.steps,
        velocities=values["forward_passes/train/velocities"] / images,
        seconds=_split(timed.seconds, in_all, images * size.steps),
        gflop=_split(counted.flops, counted.flops["main"] + _rewards(counted.flops), images * 1e9),
        waiting=sum(line["seconds"]["reward_wait"] for line in steps) / size.steps,
    )


def _train(recipe: TrainingRecipe, folder: Path, *, meter: Meter, steps: int) -> None:
    """The training up to so many steps; begins or goes on."""
    context = AssemblyContext(
        folder=folder, data=UpstreamData(cache_dir=folder / "data"), device="cpu", report=_silent
    )
    settings = replace(recipe.training, steps=steps, save_every=1)
    trainer = Trainer(_metered(assemble(recipe, context), meter), settings, folder)
    with meter.phase("main"):
        trainer.train()


def _metered(components: TrainerComponents, meter: Meter) -> TrainerComponents:
    assert isinstance(components.policy, UMMPolicy)
    rewards = {
        name: replace(use, reward=MeteredReward(reward=use.reward, name=name, meter=meter))
        for name, use in components.rewards.items()
    }
    return replace(components, policy=MeteredPolicy(components.policy, meter), rewards=rewards)


def _rewards(by_phase: Mapping[str, float]) -> float:
    return sum(value for name, value in by_phase.items() if name.startswith("reward "))


def _split(by_phase: Mapping[str, float], step: float, divisor: float) -> dict[str, float]:
    """By phase; what no other phase claims is the update: losses, backward, optimizer."""
    values = {
        "rollout": by_phase["all of rollout"] - by_phase["thinking"],
        "thinking": by_phase["thinking"],
        "reward": _rewards(by_phase),
        "replay": by_phase["replay"],
        "update": step - by_phase["all of rollout"] - _rewards(by_phase) - by_phase["replay"],
        "step": step,
    }
    return {name: value / divisor for name, value in values.items()}


def _counter() -> FlopCounterMode:
    # Torch's table does not have the kernels for CPUs.
    forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    mapping = {forward: _attention_flops, backward: _attention_gradient_flops}
    return FlopCounterMode(display=False, custom_mapping=mapping)


def _attention_flops(q: Sequence[int], k: Sequence[int], *_: object, **__: object) -> int:
    """Of scores and of mixing values; all scores count, masked or not."""
    rows, heads, queries, width = q
    return 4 * rows * heads * queries * k[2] * width


def _attention_gradient_flops(
    gradient: Sequence[int], q: Sequence[int], k: Sequence[int], *_: object, **__: object
) -> int:
    """Five products instead of two: the scores again, and a gradient each way of both."""
    del gradient
    return 5 * _attention_flops(q, k) // 2


def _silent(message: str) -> None:
    del message


def comparison_table(released: ShapeCosts, lean: ShapeCosts) -> str:
    """Both shapes, per image, and lean / released."""
    rows: list[Sequence[str]] = [
        ("an image takes", *("released", "lean", "lean/released") * 2),
        ("", "ms", "ms", "", "GFLOP", "GFLOP", ""),
    ]
    for phase in (*PHASES, "step"):
        seconds = released.seconds[phase], lean.seconds[phase]
        work = released.gflop[phase], lean.gflop[phase]
        times = (f"{1e3 * one:.1f}" for one in seconds)
        rows.append((phase, *times, _ratio(seconds), *(f"{one:.3f}" for one in work), _ratio(work)))
    rates = released.images_per_second, lean.images_per_second
    rows.append(("images a second", *(f"{rate:.2f}" for rate in rates), _ratio(rates)))
    for name, what in _OTHERS.items():
        pair = float(getattr(released, name)), float(getattr(lean, name))
        rows.append((what, *(f"{one:.2f}" for one in pair), _ratio(pair)))
    return "\n".join(f"{row[0]:<24}" + "".join(f"{cell:>15}" for cell in row[1:]) for row in rows)


def _ratio(pair: tuple[float, float]) -> str:
    released, lean = pair
    return f"{lean / released:.3f}" if released else "-"


def compare_shapes(size: Size) -> tuple[ShapeCosts, ShapeCosts]:
    """The released recipe's shape and the lean one's."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="train-step-") as folder:
            released, lean = (
                measure_shape(name, size, Path(folder) / name) for name in (RELEASED, LEAN)
            )
    finally:
        torch.set_num_threads(threads)
    return released, lean


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=Size().prompts, help="a step")
    parser.add_argument("--divide", type=int, default=Size().divide, help="group sizes by this")
    parser.add_argument("--steps", type=int, default=Size().steps, help="timed")
    parser.add_argument("--counts", action="store_true", help="counts instead of times")
    options = parser.parse_args()
    if options.counts:
        from tools.perf.step_counts import ALTERNATIVES, counts_table, step_counts

        rows = {name: step_counts(name) for name in ALTERNATIVES}
        sys.stdout.write(counts_table(rows) + "\n")
        return
    size = Size(prompts=options.prompts, divide=options.divide, steps=options.steps)
    sys.stdout.write(comparison_table(*compare_shapes(size)) + "\n")


if __name__ == "__main__":
    main()
