"""The numbers of one step: means over what was scored, and nothing where nothing was."""

from __future__ import annotations

import pytest

from alphatrainers.reward_metrics import refinement_values, reward_values
from alphatrainers.reward_scoring import RewardUse, TrajectoryScores
from tests.support.toy_policy import Brightness, Threes

USES = {
    "b": RewardUse(reward=Brightness(), weight=2.0),
    "t": RewardUse(reward=Threes(), weight=0.5),
}


def test_unscored_trajectories_are_in_no_mean_and_are_counted() -> None:
    rows = [
        TrajectoryScores(group="g", values={"b": 1.0, "t": 4.0}),
        TrajectoryScores(group="g", values={"b": None, "t": 0.0}),
    ]
    found = reward_values(rows, USES)
    assert found["reward/b/mean"] == 1.0
    assert found["reward/t/mean"] == 2.0
    assert found["reward/t/std"] == 2.0
    assert found["reward/mean"] == 4.0
    assert found["reward/std"] == 0.0, "one trajectory has both"
    assert found["reward/unscored_share"] == 0.5


def test_the_finer_numbers_of_a_reward_are_averaged_over_those_that_have_them() -> None:
    rows = [
        TrajectoryScores(
            group="g", values={"b": 1.0, "t": 0.0}, parts={"b": {"questions": 4.0, "quality": 1}}
        ),
        TrajectoryScores(group="g", values={"b": 1.0, "t": 0.0}, parts={"b": {"questions": 7.0}}),
        TrajectoryScores(group="g", values={"b": None, "t": 0.0}),
    ]
    found = reward_values(rows, USES)
    assert found["reward/b/questions/mean"] == pytest.approx(5.5)
    assert found["reward/b/quality/mean"] == 1.0
    assert not any(name.startswith("reward/t/questions") for name in found)


def test_refined_images_are_told_from_those_that_they_started_from_by_the_image_rewards() -> None:
    uses = {**USES, "t": RewardUse(reward=Threes(), weight=0.5, applies_to="text")}

    def row(refined: float | None, initial: float | None) -> TrajectoryScores:
        known = {"unrectified": refined, "initial": initial}
        parts = {key: value for key, value in known.items() if value is not None}
        # Rectified: at least what the initial image earned.
        return TrajectoryScores(group="g", values={"b": 0.6, "t": 1.0}, parts={"b": parts})

    found = refinement_values([row(0.2, 0.6), row(0.8, 0.6), row(None, 0.6)], uses)
    assert found == {
        "refinement/refined/mean": pytest.approx(1.0),  # weight 2
        "refinement/initial/mean": pytest.approx(1.2),
        "refinement/improved_share": 0.5,
    }
    one_pass = [TrajectoryScores(group="g", values={"b": 1.0, "t": 0.0})]
    assert refinement_values(one_pass, uses) == {}


def test_without_anything_scored_there_is_no_mean() -> None:
    found = reward_values([TrajectoryScores(group="g", values={"b": None, "t": None})], USES)
    assert found == {"reward/unscored_share": 1.0}


def test_a_training_of_several_tasks_has_the_reward_of_each() -> None:
    rows = [
        TrajectoryScores(group="g", values={"b": 1.0, "t": 0.0}, task="rt2i"),
        TrajectoryScores(group="g", values={"b": 2.0, "t": 0.0}, task="rt2i"),
        TrajectoryScores(group="h", values={"b": None, "t": 0.0}, task="srr"),
    ]
    found = reward_values(rows, USES)
    assert found["task/rt2i/reward/mean"] == 3.0
    assert (found["task/rt2i/groups"], found["task/srr/groups"]) == (1.0, 1.0)
    assert "task/srr/reward/mean" not in found
