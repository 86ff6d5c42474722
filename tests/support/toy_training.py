"""Toy trainings as a process: `python -m tests.support.toy_training FOLDER key=value ...`.

`--` begins the next one, in the same process or group of processes (torchrun). `delay` (seconds a
rollout) leaves time to be killed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from alphabench.cli.continuation import Continuation
from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphabench.core.stopping import Stopping
from alphatrainers import distributed, strict_yaml
from alphatrainers.distributed import Processes
from alphatrainers.protocols import (
    JsonValue,
    Score,
    ScoredTrajectory,
    StepInfo,
    TrajectoryCollector,
)
from alphatrainers.reward_scoring import RewardUse
from alphatrainers.settings import TrainingSettings
from alphatrainers.trainer import Trainer, TrainingOutcome
from alphatrainers.trainer_components import RuntimeContext, TrainerComponents
from alphatrainers.trajectory import Program, TrainingPrompt, Trajectory
from tests.support.toy_policy import PROMPTS, Brightness, Threes, ToyPolicy, ToyTask

SETTINGS: dict[str, Any] = {
    "steps": 20,
    "prompts_per_step": 2,
    "group_size": 4,
    "rollout_batch": 4,
    "replay_batch": 4,
    "lora": {"rank": 2, "alpha": 4.0},
    "optimiser": {"lr": 0.01, "experts": {"und": 0.005}},
    "ema": {"decay": 0.5},
    "image": {"clip_low": 0.001, "clip_high": 0.001, "kl_weights": {"reference": 0.01}},
    "text": {"kl_weights": {"reference": 0.01}},
    "logging": {"tensorboard": False},
    "save_every": 5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Toy:
    """What the command line may set."""

    training: TrainingSettings
    delay: float = 0.0
    queues: bool = True
    """Whether the task has a state, which belongs to one number of processes."""
    broken: int | None = None
    """The rank that fails in the second step."""
    hangs: int | None = None
    """The rank that hangs in the second step."""


@dataclass
class Slow(Brightness):
    """Brightness that takes its time."""

    delay: float = field(default=0.0)

    def score(self, trajectories: Sequence[Trajectory]) -> Sequence[Score]:
        time.sleep(self.delay)
        return super().score(trajectories)


class Queueless(ToyTask):
    """Any number of processes may go on with it."""

    def state(self) -> JsonValue:
        return None

    def restore(self, state: JsonValue) -> None:
        assert state is None


@dataclass
class Broken(ToyTask):
    """Fails in the second step."""

    rank: int = 0

    def collect(
        self, prompts: Sequence[TrainingPrompt], collector: TrajectoryCollector, step_info: StepInfo
    ) -> list[ScoredTrajectory]:
        if step_info.step == 1:
            raise TrainingStoppedError(f"the disk of process {self.rank} is full", hint="free some")
        return super().collect(prompts, collector, step_info)


class Hanging(ToyPolicy):
    """Hangs in the second rollout."""

    rollouts = 0

    def rollout(self, programs: Sequence[Program]) -> list[Trajectory]:
        self.rollouts += 1
        if self.rollouts == 2:
            time.sleep(3600.0)
        return super().rollout(programs)


def settings_of(*assignments: str) -> Toy:
    """The settings above, changed."""
    return strict_yaml.build_settings(
        Toy, strict_yaml.override({"training": SETTINGS}, assignments)
    )


def train(
    folder: Path,
    *assignments: str,
    together: Processes | None = None,
    policy: ToyPolicy | None = None,
    report: Callable[[str], None] = lambda message: None,
) -> TrainingOutcome:
    """One toy training with two rewards, one of them of the text alone."""
    toy = settings_of(*assignments)
    rewards = {
        "brightness": RewardUse(reward=Slow(delay=toy.delay)),
        "threes": RewardUse(reward=Threes(), weight=0.5, applies_to="text"),
    }
    processes = together or Processes()
    task = ToyTask() if toy.queues else Queueless()
    if toy.broken == processes.rank:
        task = Broken(rank=processes.rank)
    parts = TrainerComponents(
        policy=policy or (Hanging() if toy.hangs == processes.rank else ToyPolicy()),
        task=task,
        rewards=rewards,
        prompts=PROMPTS,
    )
    around = RuntimeContext(processes=processes, report=report)
    return Trainer(parts, toy.training, folder, around).train()


def main(words: Sequence[str]) -> None:
    """Errors and signals are told as the command line does."""
    again = Continuation(words)
    stopping = Stopping(again.print, deferral=lambda: again.deferral)
    with stopping.watched():
        try:
            train_all(words, again)
        except AlphaBenchError as error:
            sys.exit(f"error: {error.message}")
        finally:
            stopping.leave()


def train_all(words: Sequence[str], again: Continuation) -> None:
    torch.set_num_threads(1)
    together = distributed.join(torch.device("cpu"))
    again.deferral, again.reason = together.defer_signals(), together.reason_to_stop
    with together.reporting():
        for divides, part in groupby(words, key=lambda word: word == "--"):
            if not divides:
                folder, *assignments = part
                if train(Path(folder), *assignments, together=together).stopped:
                    break
        distributed.leave(together)


if __name__ == "__main__":
    main(sys.argv[1:])
