"""Rewards of refinements, given the rewards of the images that they started from.

False-positive rectification: a refinement that does not improve on its initial image must not be
praised for being the best of a poor group. Two readings of it are in circulation:

    init        max(refined, initial), as AlphaGRPO's released code does (arXiv 2605.12495); ties
                all failures, so a group that only fails has no signal
    group_min   whatever did not improve gets the lowest refined reward of its group, as in the
                paper's wording; a group that only fails has no signal either
    none        the reward of the refined image

Runs before advantages are made. An unscored reward is None and stays None. Knows no tensor, no
judge and no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Literal, TypeVar, get_args

from alphabench.core.errors import unknown_name

Rectification = Literal["init", "group_min", "none"]
T = TypeVar("T")
RECTIFICATIONS: Final[tuple[Rectification, ...]] = get_args(Rectification)


def improved(refined: float | None, initial: float | None) -> bool | None:
    """Whether a refinement is strictly better; None where either was not scored."""
    return None if refined is None or initial is None else refined > initial


def any_improved(refined: Sequence[float | None], initial: Sequence[float | None]) -> bool:
    """Whether at least one refinement is known to be better; else a rollout teaches nothing."""
    return any(improved(*pair) for pair in zip(refined, initial, strict=True))


def rectify(
    refined: Sequence[T],
    initial: Sequence[T],
    groups: Sequence[Hashable],
    *,
    mode: Rectification,
    total: Callable[[T], float | None],
) -> tuple[T | None, ...]:
    """The rewards to train on, in the order given.

    With `init` and `group_min`, a refinement whose initial image was not scored has no reward:
    whether it improved is not known. It still counts for its group's minimum.

    Args:
        refined: rewards of each refined image.
        initial: rewards of the image that each one started from.
        groups: which refinements are compared with each other.
        mode: one of `RECTIFICATIONS`.
        total: all rewards of an image as the one that decides; None where one is unscored.

    Raises:
        AlphaBenchError: for an unknown mode.
        ValueError: for lists of different lengths.
    """
    if mode not in RECTIFICATIONS:
        raise unknown_name("rectification of refinements", mode, RECTIFICATIONS)
    least: dict[Hashable, float] = {}
    lowest: dict[Hashable, T] = {}
    for rewards, group in zip(refined, groups, strict=True):
        known = total(rewards)
        if known is not None and known < least.get(group, math.inf):
            least[group], lowest[group] = known, rewards
    rectified: list[T | None] = []
    for after, before, group in zip(refined, initial, groups, strict=True):
        better = improved(total(after), total(before))
        if mode == "none" or better:
            rectified.append(after)
        elif better is None:
            rectified.append(None)
        else:
            rectified.append(before if mode == "init" else lowest[group])
    return tuple(rectified)


def text_reward(
    image_reward: float | None, *, thinks: bool, reflects: bool, weight: float = 0.5
) -> float | None:
    """Reward of the text alone: image_reward + weight * (thinks + (reflects - 1)) / 2.

    As AlphaGRPO's release has it when image and text are rewarded apart. `thinks` adds and a
    missing reflection subtracts; text that has both earns weight / 2 more than text that has one.

    Args:
        image_reward: reward of the image that followed; None stays None.
        thinks: the text is framed as a thought.
        reflects: it restates the wish, names a mismatch and ends with an instruction.
        weight: share of the format.
    """
    if image_reward is None:
        return None
    return image_reward + weight * (float(thinks) + (float(reflects) - 1.0)) / 2.0
