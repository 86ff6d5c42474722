"""How well a reward orders the images of one prompt, and how much of its order is noise.

A trainer compares images of one prompt only, so everything here is within such groups: rank
correlation with the truth, the chance to order two images right, the truth of the best of N, and
the reliability of a score when it is asked for again. Pure functions over numbers: knows no judge.

Where a quantity does not exist it is NaN, never 0: a group whose truth is the same for all images
has no order that could be right. A reward that is the same for all images of a group whose truth
differs does exist, and orders nothing.

Shapes: I images of a group, R repeats of the reward, P pairs of images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphabench.statistics import Bootstrap, estimate_of, resampled_counts
from alphabench.types import Estimate

Floats = NDArray[np.float64]
_ROUNDING = 0.02
"""Of an image: a reliability of 0.9999 needs no further one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardGroup:
    """The images of one prompt under one reward."""

    prompt: str
    """Id of the prompt."""
    task: str
    reward_IR: Floats
    """Rewards of the images in each repeat; NaN where an image was not scored."""
    truth_I: Floats
    """What is true of them, the higher the better; NaN where it is not known."""

    def __post_init__(self) -> None:
        if self.reward_IR.ndim != 2 or self.truth_I.shape != self.reward_IR.shape[:1]:
            raise ValueError("a group has one row of rewards and one truth for each image")

    @property
    def is_ordered(self) -> bool:
        """Whether the truth of its images differs, so that an order can be right or wrong."""
        known_I = self.truth_I[np.isfinite(self.truth_I)]
        return bool(len(known_I)) and bool(known_I.min() < known_I.max())

    def repeats(self) -> list[tuple[Floats, Floats]]:
        """Rewards and truths of the images that have both, for each repeat."""
        pairs = []
        for reward_I in self.reward_IR.T:
            both_I = np.isfinite(reward_I) & np.isfinite(self.truth_I)
            pairs.append((reward_I[both_I], self.truth_I[both_I]))
        return pairs

    def averaged(self, calls: int) -> RewardGroup:
        """The group under the mean of so many calls; repeats that are left over are dropped.

        An image has no mean where one of its calls was not scored.
        """
        n_images, n_repeats = self.reward_IR.shape
        whole = n_repeats // calls
        shaped = self.reward_IR[:, : whole * calls].reshape(n_images, whole, calls)
        return RewardGroup(
            prompt=self.prompt, task=self.task, reward_IR=shaped.mean(axis=2), truth_I=self.truth_I
        )


def kendall_tau_b(reward_I: Floats, truth_I: Floats) -> float:
    """Kendall's rank correlation, corrected for ties on either side; -1 to 1.

    (concordant - discordant pairs) / sqrt(pairs that differ in reward * pairs that differ in truth)
    (Kendall, Biometrika 33, 1945). With a truth of two values it is 1 only for a reward of two
    values: one without ties reaches sqrt(pairs that differ in truth / all pairs). 0 for a reward
    that is the same for all, NaN for a truth that is.
    """
    reward_P, truth_P = _signs(reward_I), _signs(truth_I)
    n_reward, n_truth = float(np.abs(reward_P).sum()), float(np.abs(truth_P).sum())
    if not n_truth:
        return math.nan
    balance = float((reward_P * truth_P).sum())
    return balance / math.sqrt(n_reward * n_truth) if n_reward else 0.0


def pair_accuracy(reward_I: Floats, truth_I: Floats) -> float:
    """The chance that of two images whose truth differs the better one has the higher reward.

    Ties of the reward count half. With a truth of two values this is the area under the ROC curve
    (Hanley and McNeil, Radiology 143, 1982). 0.5 is guessing.
    """
    reward_P, truth_P = _signs(reward_I), _signs(truth_I)
    n_differ = float(np.abs(truth_P).sum())
    return 0.5 + 0.5 * float((reward_P * truth_P).sum()) / n_differ if n_differ else math.nan


def best_of_n(reward_I: Floats, truth_I: Floats, n: int) -> float:
    """The expected truth of the image with the highest reward among `n` of these at random.

    Exact, over all choices without replacement; equal rewards are chosen between by lot. NaN where
    there are fewer images.
    """
    total = len(reward_I)
    if n > total:
        return math.nan
    expected, below = 0.0, 0
    for value in np.unique(reward_I):
        tied_I = reward_I == value
        upto = below + int(tied_I.sum())
        chance = (math.comb(upto, n) - math.comb(below, n)) / math.comb(total, n)
        expected += chance * float(truth_I[tied_I].mean())
        below = upto
    return expected


def _signs(value_I: Floats) -> Floats:
    """(P,): -1, 0 or 1 for each pair of images."""
    first, second = np.triu_indices(len(value_I), 1)
    signs_P: Floats = np.sign(value_I[first] - value_I[second])
    return signs_P


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How far images of one prompt differ in a reward, and how far one image does, asked again."""

    signal: Estimate
    """Standard deviation between the images of a prompt, of what many calls would agree on."""
    noise: Estimate
    """Standard deviation of one image's reward from call to call."""
    share: Estimate
    """signal^2 / (signal^2 + noise^2): the reliability of one call, 0 to 1. None where the reward
    gives all images of a prompt the same."""


def reliability(groups: Sequence[RewardGroup], settings: Bootstrap) -> Reliability | None:
    """Variance components within groups, and the share that is not noise; None for one repeat.

    A reward is r_ij = m + s_i + e_ij for image i and call j of one prompt (one-way random effects;
    Shrout and Fleiss, Psychological Bulletin 86, 1979, ICC(1,1)). Over all groups,

        noise^2  = sum of (r_ij - mean of i)^2 / sum of (R - 1)
        signal^2 = sum of (mean of i - mean)^2 / sum of (I - 1)  -  noise^2 / R, and at least 0

    Images that were not scored in every repeat are left out. Intervals resample prompts.
    """
    parts = [part for group in groups if (part := _squares(group)) is not None]
    if not parts:
        return None
    squares_G4 = np.array(parts)
    n_repeats = groups[0].reward_IR.shape[1]
    weights_RG = resampled_counts(len(parts), settings)
    sums_R4 = weights_RG @ squares_G4
    noise_R = np.maximum(_ratio(sums_R4[:, 0], sums_R4[:, 1]), 0.0)
    spread_R = _ratio(sums_R4[:, 2], sums_R4[:, 3])
    signal_R = np.maximum(spread_R - noise_R / n_repeats, 0.0)
    counts = {
        "n_samples": len(parts),
        "n_scored": sum(_n_complete(group) for group in groups),
        "n_expected": sum(len(group.truth_I) for group in groups),
    }
    share_R = _ratio(signal_R, signal_R + noise_R)
    values_R = (np.sqrt(signal_R), np.sqrt(noise_R), share_R)
    signal, noise, share = (estimate_of(value_R, counts, settings) for value_R in values_R)
    return Reliability(signal=signal, noise=noise, share=share)


def needed_group(reference: int, share: float) -> int | None:
    """Images of a prompt whose noisy rewards teach as much as `reference` without noise.

    A prompt's gradient is the mean over its G images of advantage times score function. A judge's
    noise adds to the advantage a part that is independent of the image, so that the variance of
    that mean is (signal^2 + noise^2) / signal^2 = 1 / share times what it would be without noise,
    for the same expected direction; dividing by the group's own standard deviation scales both
    alike. The variance falls as 1 / G, so G = reference / share gives the precision of `reference`.
    What a larger group cannot do: make the order within it right, or a reward right that is wrong
    each time.

    Returns:
        None where nothing but noise is left: no group is large enough.
    """
    return math.ceil(reference / share - _ROUNDING) if share > 0.0 else None


def averaged_share(share: float, calls: int) -> float:
    """The reliability of the mean of so many calls (Spearman 1910, Brown 1910)."""
    return calls * share / (1.0 + (calls - 1) * share)


def _squares(group: RewardGroup) -> tuple[float, float, float, float] | None:
    """Sums of squares and degrees of freedom: within images, and between their means."""
    complete_IR = group.reward_IR[np.isfinite(group.reward_IR).all(axis=1)]
    n_images, n_repeats = complete_IR.shape
    if n_images < 2 or n_repeats < 2:
        return None
    mean_I = complete_IR.mean(axis=1)
    within = float(((complete_IR - mean_I[:, None]) ** 2).sum())
    between = float(((mean_I - mean_I.mean()) ** 2).sum())
    return within, n_images * (n_repeats - 1.0), between, n_images - 1.0


def _n_complete(group: RewardGroup) -> int:
    return int(np.isfinite(group.reward_IR).all(axis=1).sum())


def _ratio(above: Floats, below: Floats) -> Floats:
    """NaN where there is nothing to divide by."""
    empty = below <= 0.0
    ratio: Floats = np.where(empty, math.nan, above / np.where(empty, 1.0, below))
    return ratio
