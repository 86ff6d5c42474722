"""Laws of advantages: order, exact zeros, missing rewards, and the groups' own counts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alphatrainers.algorithms.advantages import (
    DANCE_GRPO,
    DR_GRPO,
    FLOW_GRPO,
    GDPO,
    TRL,
    AdvantageScaling,
    group_advantages,
    separate_advantages,
)

SCALINGS = st.sampled_from([FLOW_GRPO, TRL, DANCE_GRPO, DR_GRPO, GDPO])
MEMBERS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.one_of(st.just(float("nan")), st.integers(0, 20).map(lambda n: n / 20)),
    ),
    min_size=1,
    max_size=16,
)
NAN = float("nan")


@settings(deadline=None)
@given(MEMBERS, SCALINGS)
def test_order_changes_no_advantage(
    members: list[tuple[int, float]], scaling: AdvantageScaling
) -> None:
    group_B, reward_B = (torch.tensor(column) for column in zip(*members, strict=True))
    forward = group_advantages(reward_B.double(), group_B, scaling=scaling)
    backward = group_advantages(reward_B.double().flip(0), group_B.flip(0), scaling=scaling)
    torch.testing.assert_close(backward.value_B.flip(0), forward.value_B, atol=1e-9, rtol=1e-9)
    assert torch.equal(backward.trained_B.flip(0), forward.trained_B)


@settings(deadline=None)
@given(MEMBERS, SCALINGS)
def test_only_scored_members_of_a_group_with_differences_are_trained(
    members: list[tuple[int, float]], scaling: AdvantageScaling
) -> None:
    group_B, reward_B = (torch.tensor(column) for column in zip(*members, strict=True))
    found = group_advantages(reward_B.float(), group_B, scaling=scaling)
    scored: dict[int, list[float]] = {group: [] for group, _ in members}
    for group, reward in members:
        if not math.isnan(reward):
            scored[group].append(reward)
    expected = [not math.isnan(reward) and len(set(scored[group])) > 1 for group, reward in members]
    assert found.trained_B.tolist() == expected
    assert found.value_B.isfinite().all()
    assert (found.value_B[~found.trained_B] == 0.0).all()
    assert int(found.n_groups) == len(scored)
    assert int(found.n_small_groups) == sum(len(rewards) < 2 for rewards in scored.values())
    flat = [len(rewards) > 1 and len(set(rewards)) == 1 for rewards in scored.values()]
    assert int(found.n_flat_groups) == sum(flat)


@settings(deadline=None)
@given(st.floats(-10.0, 10.0, width=32), st.integers(2, 40), SCALINGS)
def test_equal_rewards_are_exactly_zero_in_float32(
    reward: float, size: int, scaling: AdvantageScaling
) -> None:
    reward_B = torch.full((size,), reward, dtype=torch.float32)
    found = group_advantages(reward_B, torch.zeros(size, dtype=torch.int64), scaling=scaling)
    assert torch.equal(found.value_B, torch.zeros(size))
    assert not found.trained_B.any()


@pytest.mark.parametrize(("ddof", "spread"), [(0, statistics.pstdev), (1, statistics.stdev)])
def test_a_group_is_standardised_as_the_standard_library_would(
    ddof: int, spread: Callable[[list[float]], float]
) -> None:
    rewards = [0.1, 0.4, 0.35, 0.9]
    scaling = AdvantageScaling(std="group", ddof=ddof, eps=0.0)  # type: ignore[arg-type]
    group_B = torch.full((4,), 7)
    found = group_advantages(torch.tensor(rewards, dtype=torch.float64), group_B, scaling=scaling)
    expected = [(reward - statistics.mean(rewards)) / spread(rewards) for reward in rewards]
    assert found.value_B.tolist() == pytest.approx(expected, abs=1e-12)


def test_a_floor_keeps_differences_below_it_from_becoming_a_signal() -> None:
    reward_B = torch.tensor([0.5, 0.5 + 2e-9], dtype=torch.float64)
    group_B = torch.zeros(2, dtype=torch.int64)
    found = group_advantages(
        reward_B, group_B, scaling=AdvantageScaling(std="group", eps=0.0, floor=1e-6)
    )
    assert found.value_B.tolist() == pytest.approx([-1e-3, 1e-3], abs=1e-8)


def test_leaving_one_out_compares_with_the_mean_of_the_others() -> None:
    rewards = [0.1, 0.4, NAN, 0.9]
    reward_B = torch.tensor(rewards, dtype=torch.float64)
    found = group_advantages(
        reward_B, torch.zeros(4, dtype=torch.int64), scaling=DR_GRPO, baseline="leave_one_out"
    )
    expected = [0.1 - 0.65, 0.4 - 0.5, 0.0, 0.9 - 0.25]
    assert found.value_B.tolist() == pytest.approx(expected, abs=1e-12)


def test_a_missing_reward_leaves_the_others_as_if_the_sample_had_never_been() -> None:
    group_B = torch.tensor([0, 0, 0, 1, 1])
    reward_B = torch.tensor([0.1, NAN, 0.4, 0.2, 0.9], dtype=torch.float64)
    kept = torch.tensor([0, 2, 3, 4])
    for scaling in (FLOW_GRPO, TRL, DR_GRPO):
        with_gap = group_advantages(reward_B, group_B, scaling=scaling)
        without = group_advantages(reward_B[kept], group_B[kept], scaling=scaling)
        assert torch.equal(with_gap.value_B[kept], without.value_B)


def test_an_infinite_reward_counts_as_unscored() -> None:
    reward_B = torch.tensor([0.1, 0.5, float("inf")])
    found = group_advantages(reward_B, torch.zeros(3, dtype=torch.int64))
    assert found.scored_B.tolist() == [True, True, False]
    assert found.value_B.isfinite().all()


def test_separate_normalisation_makes_the_scale_of_a_reward_irrelevant() -> None:
    group_B = torch.tensor([0, 0, 0, 1, 1, 1])
    reward_BR = torch.rand(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight_R = torch.tensor([1.0, 1.0])
    found = separate_advantages(reward_BR, group_B, weight_R=weight_R)
    wider_BR = reward_BR * torch.tensor([1.0, 100.0])
    wider = separate_advantages(wider_BR, group_B, weight_R=weight_R)
    torch.testing.assert_close(wider.value_B, found.value_B, atol=1e-9, rtol=1e-9)


def test_a_sample_that_misses_one_of_its_rewards_is_left_out_of_all() -> None:
    group_B = torch.zeros(4, dtype=torch.int64)
    reward_BR = torch.tensor([[0.1, 1.0], [0.5, NAN], [0.9, 0.0], [0.3, 1.0]], dtype=torch.float64)
    weight_R = torch.tensor([1.0, 0.5])
    found = separate_advantages(reward_BR, group_B, weight_R=weight_R)
    kept = torch.tensor([0, 2, 3])
    without = separate_advantages(reward_BR[kept], group_B[kept], weight_R=weight_R)
    assert found.trained_B.tolist() == [True, False, True, True]
    torch.testing.assert_close(found.value_B[kept], without.value_B)


def test_groups_flat_in_all_rewards_stay_exactly_zero_beside_others() -> None:
    group_B = torch.tensor([0, 0, 1, 1])
    reward_BR = torch.tensor([[0.97, 0.1], [0.97, 0.1], [0.2, 0.3], [0.4, 0.9]])
    found = separate_advantages(reward_BR, group_B, weight_R=torch.tensor([1.0, 1.0]))
    assert found.value_B[:2].tolist() == [0.0, 0.0]
    assert (int(found.n_groups), int(found.n_flat_groups)) == (2, 1)


@pytest.mark.parametrize(
    "options", [{"std": "all"}, {"ddof": 2}, {"eps": -1.0}, {"floor": float("inf")}]
)
def test_a_scaling_that_cannot_be_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"none of|not negative|finite"):
        AdvantageScaling(**options)  # type: ignore[arg-type]


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(ValueError, match="neither mean"):
        group_advantages(torch.zeros(2), torch.zeros(2), baseline="median")  # type: ignore[arg-type]


def test_a_group_within_the_judges_noise_is_flat_and_no_longer_trained_at_full_size() -> None:
    noise = [0.8, 0.8002, 0.8004, 0.8002]
    signal = [0.2, 0.4, 0.6, 0.8]
    reward_B = torch.tensor([*noise, *signal], dtype=torch.float64)
    group_B = torch.tensor([0] * 4 + [1] * 4)
    without = group_advantages(reward_B, group_B, scaling=DANCE_GRPO)
    assert without.value_B[:4].abs().max() > 1.2, "as large as that of a real difference"
    found = group_advantages(reward_B, group_B, scaling=DANCE_GRPO, flat_below=0.0002)
    assert found.value_B[:4].tolist() == [0.0] * 4
    assert found.trained_B.tolist() == [False] * 4 + [True] * 4
    assert int(found.n_flat_groups) == 1
    assert torch.equal(found.value_B[4:], without.value_B[4:])


def test_a_reward_within_its_noise_is_left_out_of_a_group_that_another_one_divides() -> None:
    reward_BR = torch.tensor([[0.8, 0.0], [0.8001, 0.0], [0.8, 1.0]], dtype=torch.float64)
    weight_R, group_B = torch.tensor([1.0, 1.0]), torch.zeros(3, dtype=torch.int64)
    found = separate_advantages(reward_BR, group_B, weight_R=weight_R, flat_below_R=[0.01, 0.01])
    assert found.value_B[0] == found.value_B[1] < found.value_B[2]
