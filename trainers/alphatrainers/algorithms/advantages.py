"""Rewards to advantages: how much better a sample did than the others of its group.

Three laws. A reward that is not finite could not be scored: it stays out of every mean and spread,
and its sample is marked as not trained, which is not the same as advantage 0. A group with equal
rewards gives exactly 0, in float32 too: rounding over a tiny spread is no signal; nor is a judge's
noise, if the caller says how far it goes (`flat_below`). Order and batch layout change nothing
beyond rounding. Computed in float64. Knows no judge.

Conventions (ddof, added to the spread): flow_grpo, AlphaGRPO, DiffusionNFT, AWM 0 and 1e-4, TRL and
verl-omni 1 and 1e-4, DanceGRPO and MixGRPO 1 and 1e-8; Flow-Factory 0 with a floor of 1e-6.

Shapes: B samples, G groups, R kinds of reward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvantageScaling:
    """By what the distance to the group's mean is divided."""

    std: Literal["none", "group", "batch"] = "batch"
    """none (Dr.GRPO), the group's own spread, or that of all scored rewards of the batch."""
    ddof: Literal[0, 1] = 0
    """0: population spread; 1: sample spread."""
    eps: float = 1e-4
    """Added to the spread."""
    floor: float = 0.0
    """Least spread, before `eps` is added."""

    def __post_init__(self) -> None:
        if self.std not in {"none", "group", "batch"}:
            raise ValueError(f"std={self.std!r} is none of none, group, batch")
        if self.ddof not in {0, 1} or self.eps < 0.0 or self.floor < 0.0:
            raise ValueError(f"{self!r}: ddof is 0 or 1, eps and floor are not negative")
        if not (math.isfinite(self.eps) and math.isfinite(self.floor)):
            raise ValueError(f"{self!r}: eps and floor are finite")


FLOW_GRPO: Final = AdvantageScaling()
TRL: Final = AdvantageScaling(std="group", ddof=1)
DANCE_GRPO: Final = AdvantageScaling(std="group", ddof=1, eps=1e-8)
DR_GRPO: Final = AdvantageScaling(std="none")
GDPO: Final = AdvantageScaling(std="group", eps=0.0, floor=1e-6)


class Advantages(NamedTuple):
    """One number a sample, and which samples carry any signal."""

    value_B: Tensor
    """In the rewards' dtype, float32 at least; exactly 0 wherever `trained_B` is False."""
    trained_B: Tensor
    """bool: scored, in a group with two scored members at least whose rewards differ, by more than
    noise if that is known."""
    scored_B: Tensor
    """bool: the reward is finite."""
    n_groups: Tensor
    n_flat_groups: Tensor
    """Groups whose scored rewards are all equal or within the noise, at least two of them."""
    n_small_groups: Tensor
    """Groups with fewer than two scored members: nothing to compare with."""


class _Group(NamedTuple):
    """Statistics of each sample's own group over its scored members (shape B, float64)."""

    count_B: Tensor
    mean_B: Tensor
    square_B: Tensor
    """Sum of squared distances to the mean."""
    differs_B: Tensor


def group_advantages(
    reward_B: Tensor,
    group_B: Tensor,
    *,
    scaling: AdvantageScaling = FLOW_GRPO,
    baseline: Literal["mean", "leave_one_out"] = "mean",
    flat_below: float = 0.0,
) -> Advantages:
    """Distance to the group's baseline, divided as `scaling` says.

    GRPO, arXiv 2402.03300, section 4.1; leave-one-out: RLOO, arXiv 2402.14740.

    Args:
        reward_B: rewards; NaN where a sample could not be scored (an infinity counts as that).
        group_B: integer name of each sample's group, in any order.
        scaling: what divides; FLOW_GRPO, TRL, DANCE_GRPO and DR_GRPO name published conventions.
        baseline: the group's mean, or the mean of the others (RLOO, with `DR_GRPO`).
        flat_below: a group whose sample standard deviation is at most this counts as flat; it stays
            in the spread of the batch.
    """
    if baseline not in {"mean", "leave_one_out"}:
        raise ValueError(f"baseline={baseline!r} is neither mean nor leave_one_out")
    reward64_B = reward_B.to(torch.float64)
    scored_B = reward64_B.isfinite()
    group = _statistics(reward64_B, group_B, scored_B)
    distance_B = torch.where(scored_B, reward64_B - group.mean_B, 0.0)
    if baseline == "leave_one_out":
        distance_B = distance_B * group.count_B / (group.count_B - 1.0).clamp(min=1.0)
    trained_B = scored_B & group.differs_B
    if flat_below > 0.0:
        trained_B = trained_B & (_sample_deviation(group) > flat_below)
    value_B = distance_B / _spread(reward64_B, scored_B, group, scaling)
    return _result(value_B, trained_B, scored_B, group_B, like=reward_B)


def separate_advantages(
    reward_BR: Tensor,
    group_B: Tensor,
    *,
    weight_R: Tensor,
    scaling: AdvantageScaling = GDPO,
    flat_below_R: Sequence[float] | None = None,
) -> Advantages:
    """Several rewards, each normalised in its group; their weighted sum whitened over the batch.

    GDPO as in Flow-Factory `AdvantageProcessor`, commit b0a2bc5. Otherwise the reward with the
    widest range would decide alone. A sample that misses any of its rewards is left out of all:
    sums over different rewards do not compare.

    Args:
        reward_BR: rewards; NaN where a sample could not be scored.
        group_B: integer name of each sample's group.
        weight_R: weight of each reward.
        scaling: used in the groups and again over the batch.
        flat_below_R: a reward whose sample standard deviation in a group is at most its number
            counts as equal in that group.
    """
    scored_B = reward_BR.isfinite().all(1)
    sum_B = torch.zeros_like(reward_BR[:, 0], dtype=torch.float64)
    differs_B = torch.zeros_like(scored_B)
    weight64_R = weight_R.to(torch.float64)
    for index in range(reward_BR.shape[1]):
        column_B = torch.where(scored_B, reward_BR[:, index].to(torch.float64), torch.nan)
        flat_below = 0.0 if flat_below_R is None else flat_below_R[index]
        part = group_advantages(column_B, group_B, scaling=scaling, flat_below=flat_below)
        sum_B = sum_B + weight64_R[index] * part.value_B
        differs_B = differs_B | (part.trained_B & (weight64_R[index] != 0.0))
    batch_B = torch.zeros_like(group_B)
    kept_B = torch.where(scored_B, sum_B, torch.nan)
    whitened_B = group_advantages(kept_B, batch_B, scaling=scaling).value_B
    return _result(whitened_B, differs_B, scored_B, group_B, like=reward_BR)


def _statistics(reward_B: Tensor, group_B: Tensor, scored_B: Tensor) -> _Group:
    index_B = torch.unique(group_B, return_inverse=True)[1]
    # As many slots as samples: enough for any number of groups, and no value leaves the device.
    zero_G = torch.zeros_like(reward_B)
    known_B = torch.where(scored_B, reward_B, 0.0)
    count_G = zero_G.index_add(0, index_B, scored_B.to(reward_B.dtype))
    mean_G = zero_G.index_add(0, index_B, known_B) / count_G.clamp(min=1.0)
    mean_B = mean_G[index_B]
    square_B = torch.where(scored_B, (reward_B - mean_B) ** 2, 0.0)
    square_G = zero_G.index_add(0, index_B, square_B)
    low_B = torch.where(scored_B, reward_B, torch.inf)
    high_B = torch.where(scored_B, reward_B, -torch.inf)
    low_G = (zero_G + torch.inf).scatter_reduce(0, index_B, low_B, "amin")
    high_G = (zero_G - torch.inf).scatter_reduce(0, index_B, high_B, "amax")
    differs_G = high_G > low_G
    return _Group(count_G[index_B], mean_B, square_G[index_B], differs_G[index_B])


def _sample_deviation(group: _Group) -> Tensor:
    return (group.square_B / (group.count_B - 1.0).clamp(min=1.0)).sqrt()


def _spread(reward_B: Tensor, scored_B: Tensor, group: _Group, scaling: AdvantageScaling) -> Tensor:
    if scaling.std == "none":
        return torch.ones_like(reward_B)
    if scaling.std == "group":
        count_B, square_B = group.count_B, group.square_B
    else:
        batch = _statistics(reward_B, torch.zeros_like(reward_B, dtype=torch.int64), scored_B)
        count_B, square_B = batch.count_B, batch.square_B
    variance_B = square_B / (count_B - scaling.ddof).clamp(min=1.0)
    return variance_B.sqrt().clamp(min=scaling.floor) + scaling.eps


def _result(
    value_B: Tensor,
    trained_B: Tensor,
    scored_B: Tensor,
    group_B: Tensor,
    *,
    like: Tensor,
) -> Advantages:
    index_B = torch.unique(group_B, return_inverse=True)[1]
    zero_G = torch.zeros_like(value_B)
    one_B = torch.ones_like(value_B)
    size_G = zero_G.index_add(0, index_B, one_B)
    scored_G = zero_G.index_add(0, index_B, scored_B.to(value_B.dtype))
    trained_G = zero_G.index_add(0, index_B, trained_B.to(value_B.dtype))
    dtype = like.dtype if like.dtype == torch.float64 else torch.float32
    return Advantages(
        value_B=torch.where(trained_B, value_B, 0.0).to(dtype),
        trained_B=trained_B,
        scored_B=scored_B,
        n_groups=(size_G > 0).sum(),
        n_flat_groups=((scored_G >= 2) & (trained_G == 0)).sum(),
        n_small_groups=((size_G > 0) & (scored_G < 2)).sum(),
    )
