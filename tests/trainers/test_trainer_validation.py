"""A complete training of the toy policy and its validations: curves, best weights, panels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphatrainers import strict_yaml
from alphatrainers.checkpoint import TrainingFolder
from alphatrainers.protocols import (
    StepInfo,
    ValidationPoint,
)
from alphatrainers.reward_scoring import RewardUse
from alphatrainers.settings import TrainingSettings
from alphatrainers.trainer import Trainer, TrainingOutcome
from alphatrainers.trainer_components import RuntimeContext, TrainerComponents
from tests.support.toy_policy import (
    IMAGE,
    PLAIN_IMAGE,
    PROMPTS,
    Brightness,
    Scripted,
    ToyPolicy,
    ToyTask,
    point,
    program_of,
)
from tests.support.toy_trainer import SMALL, build, lines


def test_a_training_prompt_among_the_validation_prompts_is_refused(tmp_path: Path) -> None:
    leaky = Scripted([point(0.5)], prompts=("AB",))
    settings = strict_yaml.build_settings(TrainingSettings, SMALL)
    rewards = {"b": RewardUse(reward=Brightness())}
    with pytest.raises(AlphaBenchError, match="'held out' are in the training data"):
        Trainer(
            TrainerComponents(
                policy=ToyPolicy(),
                task=ToyTask(),
                rewards=rewards,
                prompts=PROMPTS,
                validations=[leaky],
            ),
            settings,
            tmp_path,
        )


def train(
    folder: Path, *assignments: str, points: Sequence[ValidationPoint | None]
) -> TrainingOutcome:
    messages: list[str] = []
    context = RuntimeContext(report=messages.append)
    try:
        return build(
            folder, "validate_every=1", *assignments, points=points, context=context
        ).train()
    finally:
        (folder / "messages").write_text("\n".join(messages))


def test_validation_runs_before_during_and_after_and_saves_the_best_weights(tmp_path: Path) -> None:
    points = [point(0.1, 0.3), point(0.5, 0.7), point(0.4, 0.6)]
    outcome = train(tmp_path, points=points)
    found = lines(tmp_path, "validation.jsonl")
    assert [(line["step"], line["best"]) for line in found] == [(0, True), (1, True), (2, False)]
    assert found[1]["from_start"]["value"] == pytest.approx(0.4)
    assert (outcome.best_step, outcome.best) == (1, tmp_path / "best")
    assert (tmp_path / "best" / "model.safetensors").exists()


def test_a_point_that_could_not_be_measured_is_a_gap(tmp_path: Path) -> None:
    train(tmp_path, points=[point(0.1, 0.2), None, point(0.3, 0.4)])
    assert [line["value"] for line in lines(tmp_path, "validation.jsonl")] == [
        pytest.approx(0.15),
        None,
        pytest.approx(0.35),
    ]


FALLING = [point(0.1, 0.2, 0.3), point(0.7, 0.8, 0.91), point(0.2, 0.3, 0.4), point(0.1, 0.2, 0.2)]
QUICK = ("steps=6", "optimiser.lr=0.05", "image.clip_low=0.2", "image.clip_high=0.2")


def test_a_held_out_fall_under_a_rising_reward_is_reported_and_can_stop_the_training(
    tmp_path: Path,
) -> None:
    train(tmp_path / "report", *QUICK, points=FALLING)
    assert "this looks like reward hacking" in (tmp_path / "report" / "messages").read_text()
    with pytest.raises(TrainingStoppedError, match="looks like reward hacking"):
        train(tmp_path / "stop", *QUICK, "guards.stop_when_hacked=true", points=FALLING)


def test_a_curve_that_only_falls_under_a_rising_reward_is_reported_too(tmp_path: Path) -> None:
    train(tmp_path, *QUICK, points=[point(0.7, 0.8, 0.91), *FALLING[2:]])
    assert "below step 0 while the training reward rose" in (tmp_path / "messages").read_text()


def test_the_panel_shows_the_same_programs_at_every_validation(tmp_path: Path) -> None:
    step_info = StepInfo(step=0, seed=0, group_size=4)
    panel = [program_of(PROMPTS[row], 9, step_info, (PLAIN_IMAGE,)) for row in range(3)]
    build(tmp_path, "validate_every=1", "optimiser.lr=0.0001", panel=panel).train()
    assert sorted(path.name for path in (tmp_path / "panels").glob("*.png")) == [
        f"step-00000{step}.png" for step in range(3)
    ]
    prompts = json.loads((tmp_path / "panels" / "prompts.json").read_text())
    assert prompts == [prompt.text for prompt in PROMPTS[:3]]


def test_the_views_that_are_validated_are_put_in_force(tmp_path: Path) -> None:
    script = Scripted([point(0.5)])
    settings = ("validate_every=1", "validate_views=[ema, train]", "ema.decay=0.5", "steps=1")
    run = Trainer(
        TrainerComponents(
            policy=ToyPolicy(),
            task=ToyTask(steps=(IMAGE,)),
            rewards={"b": RewardUse(reward=Brightness())},
            prompts=PROMPTS,
            validations=[script],
        ),
        strict_yaml.build_settings(TrainingSettings, strict_yaml.override(SMALL, settings)),
        tmp_path,
    )
    run.train()
    assert script.measured == [(0, "ema"), (0, "train"), (1, "ema"), (1, "train")]


def test_best_holds_the_weights_of_the_view_that_is_named_and_says_so(tmp_path: Path) -> None:
    views = ("validate_every=1", "validate_views=[train, ema]", "ema.decay=0.5", "steps=1")
    for settings, view in (((), "train"), (("best_view=ema",), "ema")):
        folder = tmp_path / view
        # Only the last point of each view is better than its first.
        points = [point(0.5), point(0.5), point(0.7), point(0.7)]
        build(folder, *views, *settings, points=points).train()
        assert TrainingFolder(folder).best_view() == view
        measured = [line["view"] for line in lines(folder, "validation.jsonl")]
        assert measured == ["train", "ema"] * 2, "the order of the views is as before"
        best = load_file(folder / "best" / "model.safetensors")
        kept = load_file(folder / "checkpoints" / "step-000001" / view / "model.safetensors")
        assert all(torch.equal(best[name], kept[name]) for name in kept)
    with pytest.raises(AlphaBenchError, match="best_view=old is not validated"):
        build(tmp_path / "other", *views, "best_view=old")
