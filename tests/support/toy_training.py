"""Toy trainings as a process: `python -m tests.support.toy_training FOLDER key=value ...`.

`--` begins the next one, in the same process or group of processes (torchrun). `delay` (seconds a
rollout) leaves time to be killed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from alphatrainers import distributed, strict_yaml
from alphatrainers.distributed import Processes
from alphatrainers.protocols import Score
from alphatrainers.reward_scoring import RewardUse
from alphatrainers.settings import TrainingSettings
from alphatrainers.trainer import Trainer, TrainingOutcome
from alphatrainers.trainer_components import RuntimeContext, TrainerComponents
from alphatrainers.trajectory import Trajectory
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


@dataclass
class Slow(Brightness):
    """Brightness that takes its time."""

    delay: float = field(default=0.0)

    def score(self, trajectories: Sequence[Trajectory]) -> Sequence[Score]:
        time.sleep(self.delay)
        return super().score(trajectories)


def settings_of(*assignments: str) -> Toy:
    """The settings above, changed."""
    return strict_yaml.build_settings(
        Toy, strict_yaml.override({"training": SETTINGS}, assignments)
    )


def train(folder: Path, *assignments: str, together: Processes | None = None) -> TrainingOutcome:
    """One toy training with two rewards, one of them of the text alone."""
    toy = settings_of(*assignments)
    rewards = {
        "brightness": RewardUse(reward=Slow(delay=toy.delay)),
        "threes": RewardUse(reward=Threes(), weight=0.5, applies_to="text"),
    }
    parts = TrainerComponents(policy=ToyPolicy(), task=ToyTask(), rewards=rewards, prompts=PROMPTS)
    around = RuntimeContext(processes=together or Processes())
    return Trainer(parts, toy.training, folder, around).train()


def main(words: Sequence[str]) -> None:
    torch.set_num_threads(1)
    together = distributed.join(torch.device("cpu"))
    for divides, part in groupby(words, key=lambda word: word == "--"):
        if not divides:
            folder, *assignments = part
            train(Path(folder), *assignments, together=together)
    distributed.leave()


if __name__ == "__main__":
    main(sys.argv[1:])
