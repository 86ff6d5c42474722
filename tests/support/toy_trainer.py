"""A trainer of the toy policy at a small setting, and what its folder logs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alphatrainers import strict_yaml
from alphatrainers.protocols import (
    Task,
    ValidationPoint,
)
from alphatrainers.reward_scoring import RewardUse
from alphatrainers.settings import TrainingSettings
from alphatrainers.trainer import Trainer
from alphatrainers.trainer_components import RuntimeContext, TrainerComponents
from alphatrainers.trajectory import ProgramStep
from tests.support.toy_policy import (
    IMAGE,
    PROMPTS,
    TEXT,
    Brightness,
    Scripted,
    Threes,
    ToyPolicy,
    ToyTask,
)

SMALL: dict[str, Any] = {
    "steps": 2,
    "prompts_per_step": 2,
    "group_size": 4,
    "rollout_batch": 4,
    "replay_batch": 4,
    "lora": None,
    "optimiser": {"lr": 0.01},
    "image": {"clip_low": 0.001, "clip_high": 0.001},
    "text": {"kind": "none"},
    "logging": {"tensorboard": False},
}


def build(
    folder: Path,
    *assignments: str,
    steps: tuple[ProgramStep, ...] = (IMAGE,),
    policy: ToyPolicy | None = None,
    task: Task | None = None,
    reward: Brightness | None = None,
    points: Sequence[ValidationPoint | None] = (),
    context: RuntimeContext | None = None,
    **more: Any,
) -> Trainer:
    settings = strict_yaml.build_settings(
        TrainingSettings, strict_yaml.override(SMALL, assignments)
    )
    rewards = {"brightness": RewardUse(reward=reward or Brightness())}
    if any(step == TEXT for step in steps):
        rewards["threes"] = RewardUse(reward=Threes(), applies_to="text")
    parts = TrainerComponents(
        policy=policy or ToyPolicy(),
        task=task or ToyTask(steps=steps),
        rewards=rewards,
        prompts=PROMPTS,
        validations=[Scripted(points)] if points else [],
        **more,
    )
    return Trainer(parts, settings, folder, context)


def lines(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def values(folder: Path, name: str) -> list[float]:
    return [line["values"][name] for line in lines(folder)]
