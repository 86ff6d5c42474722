"""The floor under a group's spread: measured by scoring images again, or set."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphatrainers import strict_yaml
from alphatrainers.distributed import Processes
from alphatrainers.judge_noise import JudgeNoise, spread_floor
from alphatrainers.protocols import RewardFunction, Score, StepInfo
from alphatrainers.reward_scoring import RewardUse, Scorer, TrajectoryScores, advantages_of
from alphatrainers.settings import AdvantageSettings, TrainingSettings
from alphatrainers.step_scores import measure_noise, share_scores
from alphatrainers.trainer import Trainer
from alphatrainers.trainer_components import TrainerComponents
from alphatrainers.trajectory import Trajectory
from tests.support.thread_ranks import at_once
from tests.support.toy_policy import IMAGE, PROMPTS, Brightness, ToyPolicy, ToyTask

SETTINGS: dict[str, Any] = {
    "steps": 2,
    "prompts_per_step": 2,
    "group_size": 4,
    "rollout_batch": 4,
    "replay_batch": 4,
    "lora": None,
    "image": {"clip_low": 0.001, "clip_high": 0.001},
    "text": {"kind": "none"},
    "logging": {"tensorboard": False},
    "save_every": 1,
    "advantage": {"std": "group", "noise_images": 6},
}


@dataclass
class NoisyJudge:
    """Constant, but for noise that only another repeat or image changes, as a cached answer."""

    size: float = 1e-4
    repeats: list[int] = field(default_factory=list)
    unscored: bool = False

    @property
    def identity(self) -> Mapping[str, str]:
        return {"reward": "noise"}

    def score(self, trajectories: Sequence[Trajectory]) -> Sequence[Score]:
        return self.score_repeat(trajectories, 0)

    def score_repeat(self, trajectories: Sequence[Trajectory], repeat: int) -> Sequence[Score]:
        self.repeats += [repeat] * len(trajectories)
        return [self._one(one.program.id, repeat) for one in trajectories]

    def _one(self, name: str, repeat: int) -> Score:
        if repeat and self.unscored:
            return Score(value=None, reason="no answer")
        chance = random.Random(f"{name} {repeat}")
        return Score(value=0.5 + self.size * chance.gauss())


def train(folder: Path, reward: RewardFunction, *changes: str) -> None:
    settings = strict_yaml.build_settings(TrainingSettings, strict_yaml.override(SETTINGS, changes))
    components = TrainerComponents(
        policy=ToyPolicy(),
        task=ToyTask((IMAGE,)),
        rewards={"judge": RewardUse(reward=reward)},
        prompts=PROMPTS,
    )
    Trainer(components, settings, folder).train()


def values(folder: Path) -> list[dict[str, float]]:
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line)["values"] for line in text.splitlines()]


def test_what_a_judge_says_of_the_same_image_twice_is_no_signal(tmp_path: Path) -> None:
    judge = NoisyJudge()
    train(tmp_path, judge)
    first, second = values(tmp_path)
    assert first["image/zero_std_share"] == second["image/zero_std_share"] == 1.0
    assert first["image/advantage/abs_max"] == 0.0
    assert 0.5e-4 < first["image/zero_std_floor"] < 4e-4, "twice a noise of 1e-4, by six images"
    assert [judge.repeats.count(number) for number in (0, 1, 2)] == [16, 6, 6]


def test_without_a_floor_noise_is_trained_at_full_size(tmp_path: Path) -> None:
    train(tmp_path, NoisyJudge(), "advantage.noise_images=0")
    for line in values(tmp_path):
        assert line["image/advantage/abs_max"] > 0.5
        assert not {"image/zero_std_share", "image/zero_std_floor"} & line.keys()


def test_a_judge_without_noise_changes_nothing(tmp_path: Path) -> None:
    train(tmp_path / "measured", Brightness())
    train(tmp_path / "plain", Brightness(), "advantage.noise_images=0")
    for one, other in zip(values(tmp_path / "measured"), values(tmp_path / "plain"), strict=True):
        assert one["image/zero_std_floor"] == 0.0
        assert {name: one[name] for name in other} == other


def test_a_set_floor_holds_where_the_measured_one_is_lower(tmp_path: Path) -> None:
    train(tmp_path, NoisyJudge(), "advantage.flat_below=0.25")
    assert [line["image/zero_std_floor"] for line in values(tmp_path)] == [0.25, 0.25]


def test_a_training_within_the_noise_stops_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingStoppedError, match=r"equal, or within the noise \(.*\), in 3 st"):
        train(tmp_path, NoisyJudge(), "steps=4")


def test_a_resumed_training_keeps_the_noise_that_was_measured(tmp_path: Path) -> None:
    train(tmp_path, NoisyJudge(), "steps=1")
    judge = NoisyJudge(size=1.0)
    train(tmp_path, judge)
    one, other = (line["image/zero_std_floor"] for line in values(tmp_path))
    assert one == other
    assert set(judge.repeats) == {0}


def noise_of_each(processes: int) -> list[JudgeNoise]:
    def measured(together: Processes) -> JudgeNoise:
        step_info = StepInfo(step=0, seed=0, group_size=3)
        programs = ToyTask((IMAGE,)).programs(together.share(PROMPTS[:4]), step_info)
        uses = {"judge": RewardUse(reward=NoisyJudge())}
        with Scorer(uses, patience_seconds=1.0) as scorer:
            scored = scorer.submit(ToyPolicy().rollout(programs)).result()
            scores = share_scores(scored, PROMPTS[:4], together)
            return measure_noise(scored, scores, scorer, together, images=6)[0]

    return at_once(processes, measured)


def test_two_processes_measure_the_noise_of_one() -> None:
    (alone,) = noise_of_each(1)
    assert len(alone.differences) == 6
    assert noise_of_each(2) == [alone, alone]


def test_a_judge_that_does_not_answer_again_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(TrainingStoppedError, match="0 of 6 images could be scored twice more"):
        train(tmp_path, NoisyJudge(unscored=True))


def test_the_noise_is_that_of_one_score_of_the_weighted_sum() -> None:
    noise = JudgeNoise(differences=({"a": 0.2, "b": -0.1}, {"a": -0.2, "b": 0.1}))
    assert noise.deviation({"a": 1.0}) == pytest.approx(0.2 / math.sqrt(2.0))
    assert noise.deviation({"a": 1.0, "b": 2.0}) == 0.0
    settings = AdvantageSettings(flat_below=0.1)
    assert spread_floor(settings, noise, {"a": 1.0}) == pytest.approx(0.4 / math.sqrt(2.0))
    assert spread_floor(settings, None, {"a": 1.0}) == 0.1


def test_each_reward_has_a_floor_of_its_own_where_each_is_normalised() -> None:
    noise = JudgeNoise(differences=({"a": 0.01, "b": 0.0},) * 2)
    uses = {name: RewardUse(reward=Brightness()) for name in ("a", "b")}
    rows = [
        TrajectoryScores(group="g", values={"a": a, "b": b})
        for a, b in ((0.5, 0.0), (0.501, 0.0), (0.5, 0.001))
    ]
    found = advantages_of(rows, uses, AdvantageSettings(combine="separate"), noise)
    assert found.value_B[0] == found.value_B[1] < found.value_B[2]


def test_one_image_is_refused() -> None:
    with pytest.raises(AlphaBenchError, match="one image has no spread"):
        strict_yaml.build_settings(AdvantageSettings, {"noise_images": 1})
