"""Trainings of a toy policy whose images are tokens: trained as text is, counted as images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphatrainers import strict_yaml
from alphatrainers.guards import choose_old_log_probs
from alphatrainers.image_algorithms import TOKEN_ALGORITHMS, ImageLossSettings
from alphatrainers.reward_scoring import RewardUse
from alphatrainers.settings import GuardSettings, TextLossSettings, TrainingSettings
from alphatrainers.trainer import Trainer
from alphatrainers.trainer_components import TrainerComponents, training_identity
from alphatrainers.trajectory import GenerateImageTokens, ProgramStep
from tests.support.toy_policy import (
    PROMPTS,
    TEXT,
    TOKEN_IMAGE,
    Fives,
    Threes,
    ToyPolicy,
    ToyTask,
)

SMALL: dict[str, Any] = {
    "steps": 3,
    "prompts_per_step": 2,
    "group_size": 4,
    "rollout_batch": 4,
    "replay_batch": 4,
    "lora": None,
    "optimiser": {"lr": 0.01},
    "image": {"kind": "token_grpo", "clip_low": 0.2, "clip_high": 0.2},
    "text": {"kind": "none"},
    "logging": {"tensorboard": False},
}


def train(
    folder: Path, *assignments: str, steps: tuple[ProgramStep, ...] = (TOKEN_IMAGE,)
) -> list[dict[str, float]]:
    """The metrics of each step."""
    settings = strict_yaml.build_settings(
        TrainingSettings, strict_yaml.override(SMALL, assignments)
    )
    rewards = {"fives": RewardUse(reward=Fives(), applies_to="image")}
    if TEXT in steps:
        rewards["threes"] = RewardUse(reward=Threes(), applies_to="text")
    parts = TrainerComponents(
        policy=ToyPolicy(), task=ToyTask(steps=steps), rewards=rewards, prompts=PROMPTS
    )
    Trainer(parts, settings, folder).train()
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["values"] for line in lines]


@pytest.mark.parametrize("batch", [4, 8])
def test_every_ratio_is_exactly_1_on_policy_beside_that_of_the_text(
    tmp_path: Path, batch: int
) -> None:
    settings = (f"rollout_batch={batch}", f"replay_batch={batch}", "text.kind=dapo")
    for step in train(
        tmp_path, *settings, "image.kl_weights.reference=0.01", steps=(TEXT, TOKEN_IMAGE)
    ):
        for part in ("image", "text"):
            assert step[f"{part}/ratio/mean"] == 1.0
            assert step[f"{part}/clip_fraction"] == 0.0
            assert step[f"{part}/logprob_diff"] == 0.0
        assert step["image/kl"] >= 0.0
        assert step["image/entropy"] > 0.5
        assert step["forward_passes/train/token_images"] == 8.0
        assert step["forward_passes/train/texts"] == 8.0


@pytest.mark.parametrize("kind", TOKEN_ALGORITHMS)
def test_the_reward_rises_with_every_loss_of_image_tokens(tmp_path: Path, kind: str) -> None:
    settings = (f"image.kind={kind}", "steps=20", "optimiser.lr=0.05", "prompts_per_step=4")
    # In the end all images are of fives alone.
    made = train(tmp_path, *settings, "guards.flat_steps=99")
    rewards = [step["reward/fives/mean"] for step in made]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.5


def test_later_updates_of_a_step_are_off_policy(tmp_path: Path) -> None:
    settings = ("steps=1", "updates_per_step=2", "prompts_per_step=4", "optimiser.lr=0.05")
    sampled, replayed = (
        train(tmp_path / mode, *settings, f"old_log_probs={mode}")[0]
        for mode in ("sampled", "replayed")
    )
    assert sampled["image/ratio/mean"] != 1.0
    assert replayed["image/ratio/mean"] == pytest.approx(sampled["image/ratio/mean"], abs=1e-6)
    assert replayed["forward_passes/before/token_images"] > 0.0


def test_the_size_of_a_batch_changes_no_loss(tmp_path: Path) -> None:
    losses = [
        [step["loss"] for step in train(tmp_path / size, f"replay_batch={size}")]
        for size in ("4", "2", "1")
    ]
    for other in losses[1:]:
        assert other == pytest.approx(losses[0], abs=1e-6)


def test_a_gap_of_image_tokens_has_the_limit_of_tokens() -> None:
    settings = GuardSettings(image_mismatch=1e-3, text_mismatch=0.1)
    gaps = {"image": 0.05}
    assert choose_old_log_probs(gaps, settings, image_clip=0.2, image_tokens=True) == "replayed"
    assert choose_old_log_probs(gaps, settings, image_clip=0.9, image_tokens=True) == "sampled"
    with pytest.raises(TrainingStoppedError, match=r"0\.05 for the image part"):
        choose_old_log_probs(gaps, settings, image_clip=0.2)
    with pytest.raises(TrainingStoppedError) as error:
        choose_old_log_probs({"image": 0.2}, settings, image_clip=0.2, image_tokens=True)
    assert "guards.text_mismatch" in str(error.value.hint)


def test_a_distance_of_velocities_is_refused_for_image_tokens() -> None:
    with pytest.raises(ValueError, match="kl_estimator"):
        ImageLossSettings(kind="token_grpo", kl="x_mse")
    with pytest.raises(AlphaBenchError, match="token_grpo"):
        ImageLossSettings(kind="tokens_grpo")
    with pytest.raises(ValueError, match="guidance 1 or more"):
        GenerateImageTokens(width=4, height=4, guidance=0.5)


def test_a_folder_of_before_knows_no_estimator_and_still_resumes() -> None:
    parts = TrainerComponents(
        policy=ToyPolicy(), task=ToyTask(), rewards={"f": RewardUse(reward=Fives())}, prompts=[]
    )

    def image(**settings: Any) -> dict[str, Any]:
        training = TrainingSettings(
            steps=1, image=ImageLossSettings(**settings), text=TextLossSettings(kind="none")
        )
        found: dict[str, Any] = training_identity(parts, training, prompts_digest="")["settings"]
        return dict(found["image"])

    assert "kl_estimator" not in image()
    assert image(kl_estimator="k1")["kl_estimator"] == "k1"
