"""Translates metrics of version 1 to today's names, so that older trainings are read and continued.

Files stay as they were written; `history` translates what it reads. Knows no file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_NAMES: Final = {
    "reward/total": "reward/mean",
    "reward/unscored_share": "reward/unscored_share",
    "gradient_norm": "grad_norm",
    "text/tokens": "text/completion_length",
    "gap/text": "text/logprob_diff",
    "gap/image": "image/logprob_diff",
    "gap/image_over_clip": "image/logprob_diff_over_clip",
}
_OF_A_PART: Final = {
    "ratio": "ratio/mean",
    "clipped_above": "clip_fraction_high",
    "clipped_below": "clip_fraction_low",
    "kl_reference": "kl",
    "flat_groups": "zero_std_groups",
    "trained": "trained_trajectories",
    "largest_advantage": "advantage/abs_max",
    "positive": "nft_positive",
    "negative": "nft_negative",
}
_SECONDS: Final = {"waiting": "reward_wait", "judge_away": "judge_unavailable", "processor": "cpu"}
_SPREAD: Final = "_spread"


def values_of_version_1(values: Mapping[str, float]) -> dict[str, float]:
    """The values of one line under today's names; unknown names stay.

    `text/log_prob` becomes `text/entropy`, which is its negative, and the two clip fractions also
    give their sum.
    """
    found: dict[str, float] = {}
    for name, value in values.items():
        if name == "text/log_prob":
            found["text/entropy"] = -value
        else:
            found[_current(name, values)] = value
    for part in ("text", "image"):
        ends = [f"{part}/clip_fraction_{end}" for end in ("high", "low")]
        if all(end in found for end in ends):
            found[f"{part}/clip_fraction"] = sum(found[end] for end in ends)
    return found


def seconds_of_version_1(seconds: Mapping[str, float]) -> dict[str, float]:
    """The durations of one line, of a step or of a validation, under today's names."""
    return {_SECONDS.get(name, name): value for name, value in seconds.items()}


def _current(name: str, values: Mapping[str, float]) -> str:
    if name in _NAMES:
        return _NAMES[name]
    first, _, rest = name.partition("/")
    match first:
        case "reward":
            return f"reward/{_of_reward(rest, values)}"
        case "pictures":
            return f"image/{rest}"
        case "forwards":
            return f"forward_passes/{re.sub('/walks$', '/trajectories', rest)}"
        case "text" | "image":
            return f"{first}/{_OF_A_PART.get(rest, rest)}"
    return name


def _of_reward(rest: str, values: Mapping[str, float]) -> str:
    of = rest.removesuffix(_SPREAD)
    if of != rest and f"reward/{of}" in values:
        return f"{of}/std"
    return f"{rest}/mean"
