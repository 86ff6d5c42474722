"""What stops a training before it trains on wrong values, or warns that it may be doing so.

Small decisions over numbers, without state beyond what a checkpoint holds. Knows no policy, judge
or file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphatrainers.protocols import ValidationPoint
from alphatrainers.reward_scoring import TrajectoryScores
from alphatrainers.settings import GuardSettings, TrainingSettings

OldLogProbs = Literal["sampled", "replayed"]


def refuse_leak(training: Iterable[str], validations: Mapping[str, Sequence[str]]) -> None:
    """Refuses prompts that are trained on and validated with.

    Raises:
        AlphaBenchError: naming the validation and one of the prompts.
    """
    known = {normalised(prompt) for prompt in training}
    for name, prompts in validations.items():
        leaked = [prompt for prompt in prompts if normalised(prompt) in known]
        if leaked:
            raise AlphaBenchError(
                f"{len(leaked)} prompts of {name!r} are in the training data, e.g. {leaked[0]!r}",
                hint="remove them from the training prompts, or set guards.leak=allow",
            )


def refuse_idle(settings: TrainingSettings, *, processes: int, splits: bool) -> None:
    """Refuses more processes than can share the work of a step.

    Args:
        settings: with the prompts of a step, its updates and the size of a group.
        processes: all that train together.
        splits: whether the task makes parts of groups (`SplitsGroups`).

    Raises:
        AlphaBenchError: some processes would have nothing to do.
    """
    prompts = settings.prompts_per_step
    if processes > prompts and not splits:
        raise AlphaBenchError(
            f"a step has {prompts} prompts, too few for {processes} processes: "
            f"{processes - prompts} would have nothing to do",
            hint=f"start at most {prompts} processes, or set training.prompts_per_step={processes} "
            "or more; all images of a prompt stay in one process, since this task makes some of "
            "them from others",
        )
    trajectories = prompts // settings.updates_per_step * settings.group_size
    if processes > max(prompts, trajectories):
        raise AlphaBenchError(
            f"an update has {trajectories} trajectories, too few for {processes} processes: "
            f"{processes - trajectories} would have nothing to do",
            hint=f"start at most {trajectories} processes, or raise training.prompts_per_step or "
            "training.group_size",
        )


def normalised(prompt: str) -> str:
    """A prompt without case, repeated spaces and closing punctuation, for comparison."""
    return " ".join(prompt.casefold().split()).rstrip(".!? ")


def choose_old_log_probs(
    gaps: Mapping[str, float],
    settings: GuardSettings,
    *,
    image_clip: float | None,
    text_clip: float | None = None,
    image_tokens: bool = False,
) -> OldLogProbs:
    """What old log-probabilities to train with, given how far a replay is from the sampler.

    Before the first update both are the same policy, so that every ratio ought to be 1.

    Args:
        gaps: largest gap of image steps, mean gap of tokens, by `image` and `text`.
        settings: the limits.
        image_clip: narrower side of the ratio's clip; None if neither stored steps nor image tokens
            are trained.
        text_clip: the same of tokens; None if no text is trained.
        image_tokens: the gap of images is that of tokens, and has their limit.

    Raises:
        TrainingStoppedError: if they differ by more than rounding explains.
    """
    guards = {"image": "text" if image_tokens else "image", "text": "text"}
    limits = {"image": settings.image_mismatch, "text": settings.text_mismatch}
    for part, gap in gaps.items():
        limit = limits[guards[part]]
        if not gap <= limit:
            raise TrainingStoppedError(
                f"rollout/training log-probability mismatch: {gap:.3g} for the {part} part, and at"
                f" most {limit:g} is allowed",
                hint="compare noise levels, guidance, dtype and batch sizes of sampling and"
                f" training, or raise guards.{guards[part]}_mismatch",
            )
    for part, clip in (("image", image_clip), ("text", text_clip)):
        if clip is not None and gaps.get(part, 0.0) > clip / 10.0:
            return "replayed"
    return "sampled"


def refuse_unscored(rows: Sequence[TrajectoryScores], *, share: float) -> None:
    """Stops when too many trajectories could not be scored, or when there are none at all.

    Raises:
        TrainingStoppedError: with the most frequent reason.
    """
    if not rows:
        raise TrainingStoppedError(
            "a step has no trajectory to train on",
            hint="no initial image was scored: repair the reward, then resume",
        )
    unscored = [row for row in rows if any(value is None for value in row.values.values())]
    if len(unscored) <= share * len(rows):
        return
    reasons = [reason for row in unscored for reason in row.reasons.values()]
    usual = max(set(reasons), key=reasons.count) if reasons else "no reason given"
    raise TrainingStoppedError(
        f"{len(unscored)} of {len(rows)} trajectories could not be scored: {usual}",
        hint="repair it or raise training.guards.unscored_share, then continue with --resume",
    )


def count_zero_spread(
    streak: int,
    part: str,
    *,
    flat_groups: int,
    groups: int,
    limit: int,
    floor: float | None = None,
) -> int:
    """Training steps in a row without any spread of one part's rewards, this one counted.

    Args:
        streak: such steps before this one.
        part: image or text.
        flat_groups: groups of this step without any spread.
        groups: all groups that have one.
        limit: steps in a row that stop the training.
        floor: spread up to which a group counts as flat, if there is one.

    Raises:
        TrainingStoppedError: when there are `limit` of them: a constant reward teaches nothing.
    """
    if flat_groups < groups or not groups:
        return 0
    if streak + 1 >= limit:
        within = "" if floor is None else f", or within the noise ({floor:.3g}),"
        raise TrainingStoppedError(
            f"all {part} rewards of each group were equal{within} in {streak + 1} steps in a row",
            hint="the reward is constant, or the policy's samples are all alike: look at both",
        )
    return streak + 1


def moving_mean(before: float, reward: float, *, share: float = 0.2) -> float:
    """The moving mean of training rewards: a single step's is too noisy to tell a trend.

    Args:
        before: the mean so far; NaN if there was none.
        reward: mean over the step's trajectories.
        share: what the step counts, 0..1.
    """
    return reward if math.isnan(before) else (1.0 - share) * before + share * reward


class Difference(NamedTuple):
    """A paired difference of two points of one curve, with its 95% interval."""

    value: float
    low: float
    high: float
    pairs: int


def paired(now: ValidationPoint, before: ValidationPoint) -> Difference | None:
    """Mean difference over the samples that both points scored; None below two of them.

    The interval is the normal one for a mean of paired differences.
    """
    shared = sorted(now.items.keys() & before.items.keys())
    if len(shared) < 2:
        return None
    differences = [now.items[key] - before.items[key] for key in shared]
    mean = math.fsum(differences) / len(differences)
    square = math.fsum((d - mean) ** 2 for d in differences) / (len(differences) - 1)
    half = 1.96 * math.sqrt(square / len(differences))
    return Difference(mean, mean - half, mean + half, len(shared))


@dataclass(slots=True, kw_only=True)
class Curve:
    """A validation curve as far as decisions need it; survives restarts."""

    best: ValidationPoint | None = None
    best_step: int = -1
    best_reward: float = math.nan
    """Mean training reward when the best point was measured; NaN until there is any."""
    first: ValidationPoint | None = field(default=None)

    def add(self, step: int, point: ValidationPoint, *, reward: float) -> bool:
        """Whether it is the best so far."""
        if self.first is None:
            self.first = point
        if self.best is not None and point.value <= self.best.value:
            return False
        self.best, self.best_step, self.best_reward = point, step, reward
        return True

    def backfill_reward(self, reward: float) -> None:
        """Fills in the first rollout's reward where the best point was measured before it."""
        if math.isnan(self.best_reward):
            self.best_reward = reward

    def hacked(self, point: ValidationPoint, *, reward: float) -> Difference | None:
        """The fall below the best point, if it is sure and the training reward rose meanwhile."""
        if self.best is None or not reward > self.best_reward:
            return None
        fall = paired(point, self.best)
        return fall if fall is not None and fall.high < 0.0 else None
