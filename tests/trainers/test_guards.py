"""Guards: each stops what it is there for, and nothing else."""

from __future__ import annotations

import math

import pytest

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphatrainers.guards import (
    Curve,
    choose_old_log_probs,
    count_zero_spread,
    moving_mean,
    paired,
    refuse_leak,
    refuse_unscored,
)
from alphatrainers.reward_scoring import TrajectoryScores
from alphatrainers.settings import GuardSettings
from tests.support.toy_policy import point


def test_a_prompt_that_is_trained_and_validated_is_refused_in_any_spelling() -> None:
    with pytest.raises(AlphaBenchError, match=r"1 prompts of 'geneval:mini'.*'A  Red dog\.'"):
        refuse_leak(["a red dog", "two cats"], {"geneval:mini": ["A  Red dog.", "a bird"]})
    refuse_leak(["a red dog"], {"geneval:mini": ["a red dogfish"]})


@pytest.mark.parametrize("gap", [0.01, math.inf, math.nan])
def test_a_replay_that_disagrees_with_the_sampler_stops_the_training(gap: float) -> None:
    with pytest.raises(TrainingStoppedError, match=r"mismatch: .* for the image part"):
        choose_old_log_probs({"image": gap}, GuardSettings(image_mismatch=1e-3), image_clip=1e-5)
    with pytest.raises(TrainingStoppedError, match=r"mismatch: .* for the text part"):
        choose_old_log_probs({"text": gap + 1.0}, GuardSettings(), image_clip=None)


@pytest.mark.parametrize(
    ("gap", "wanted"), [(0.0, "sampled"), (9e-7, "sampled"), (2e-6, "replayed")]
)
def test_old_log_probs_are_replayed_where_rounding_comes_near_the_clip(
    gap: float, wanted: str
) -> None:
    assert (
        choose_old_log_probs({"image": gap, "text": 1e-6}, GuardSettings(), image_clip=1e-5)
        == wanted
    )


@pytest.mark.parametrize(
    ("clip", "wanted"), [(None, "sampled"), (0.2, "sampled"), (0.01, "replayed")]
)
def test_rounded_log_probs_of_text_are_replayed_where_its_clip_would_see_the_rounding(
    clip: float | None, wanted: str
) -> None:
    gaps = {"image": 0.0, "text": 0.005}
    chosen = choose_old_log_probs(gaps, GuardSettings(), image_clip=1e-5, text_clip=clip)
    assert chosen == wanted


def rows(unscored: int, of: int) -> list[TrajectoryScores]:
    bad = TrajectoryScores(group="g", values={"b": None}, reasons={"b": "refused"})
    return [bad] * unscored + [TrajectoryScores(group="g", values={"b": 1.0})] * (of - unscored)


def test_too_many_unscored_trajectories_stop_the_training_with_the_most_frequent_reason() -> None:
    refuse_unscored(rows(5, 10), share=0.5)
    with pytest.raises(TrainingStoppedError, match=r"6 of 10 trajectories .* refused"):
        refuse_unscored(rows(6, 10), share=0.5)


def test_a_constant_reward_stops_the_training_after_some_steps_in_a_row() -> None:
    streak = count_zero_spread(0, "image", flat_groups=4, groups=4, limit=3)
    streak = count_zero_spread(streak, "image", flat_groups=4, groups=4, limit=3)
    assert streak == 2
    assert count_zero_spread(streak, "image", flat_groups=3, groups=4, limit=3) == 0
    with pytest.raises(TrainingStoppedError, match="equal in 3 steps in a row"):
        count_zero_spread(streak, "image", flat_groups=4, groups=4, limit=3)


def test_paired_differences_use_the_samples_that_both_points_scored() -> None:
    before, now = point(0.2, 0.4, 0.6, 0.9), point(0.3, 0.5, 0.7)
    found = paired(now, before)
    assert found is not None
    assert found.value == pytest.approx(0.1)
    assert found.pairs == 3
    assert found.low == pytest.approx(0.1)
    assert paired(point(1.0), before) is None


def test_hacking_is_a_sure_fall_below_the_best_while_the_reward_rises() -> None:
    curve = Curve()
    # Before the first rollout there is no reward; that one's was earned by these very weights.
    assert curve.add(0, point(0.5, 0.6, 0.7, 0.8), reward=math.nan)
    curve.backfill_reward(1.0)
    curve.backfill_reward(5.0)
    worse = point(0.3, 0.4, 0.5, 0.61)
    assert curve.hacked(worse, reward=2.0) is not None
    assert curve.hacked(worse, reward=0.5) is None
    assert curve.hacked(worse, reward=math.nan) is None
    assert curve.hacked(point(0.5, 0.59, 0.71, 0.7), reward=2.0) is None
    assert not curve.add(1, worse, reward=2.0)
    assert (curve.best_step, curve.best_reward) == (0, 1.0)


def test_one_lucky_step_hardly_moves_the_mean_of_recent_rewards() -> None:
    assert moving_mean(math.nan, 0.5) == 0.5
    assert moving_mean(0.5, 1.0) == pytest.approx(0.6)
    mean = 0.5
    for _ in range(30):
        mean = moving_mean(mean, 0.8)
    assert mean == pytest.approx(0.8, abs=1e-3)
