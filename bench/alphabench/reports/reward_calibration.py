"""Which reward to train with, and how large a group its noise needs: measured without a training.

Asks a judge for each reward of the same images, several times over, and compares: with a truth, how
often the reward orders two images of a prompt right; with or without one, how much of its
differences is noise. The metrics are those of `reward_fidelity`. Knows no benchmark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Evaluator
from alphabench.judges.repeated_judge import RepeatedJudge
from alphabench.questions import Judge
from alphabench.reports.reward_fidelity import (
    ALL_TASKS,
    RewardMetrics,
    measure_reward,
    pair_accuracy_difference,
)
from alphabench.reports.reward_groups import RewardGroup, averaged_share, needed_group
from alphabench.reports.reward_images import RewardImages
from alphabench.runs.self_test import require_self_test
from alphabench.statistics import DEFAULT, Bootstrap
from alphabench.types import Estimate, Verdict

OpenReward = Callable[[str, Judge], Evaluator]
"""Opens the evaluator of a reward's name for a judge."""
EXACT: Final = 0.999
"""Reliability from which on a reward counts as free of noise."""
_ITS_OWN: Final = ("protocol",)
"""Keys of an evaluation's identity that its evaluator does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardScores:
    """One reward of the same groups of images."""

    name: str
    calls: float
    """Of the judge for an image, on average."""
    groups: tuple[RewardGroup, ...]
    reasons: Mapping[str, int]
    """Why rewards are missing -> how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardRow:
    """A reward, or the mean of several calls for it, and what it was measured to be."""

    name: str
    calls: float
    metrics: Mapping[str, RewardMetrics]
    """`all`, then each task."""
    share: float | None
    """Reliability; None where it is not known."""
    group: int | None
    """Images of a prompt that it needs; None where no number is enough, or none is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardCalibration:
    """Rewards of one judge, compared."""

    judge: Mapping[str, str]
    benchmark: str
    truth: str | None
    n_prompts: int
    n_images: int
    repeats: int
    reference: int
    """Group that would do without noise."""
    rows: tuple[RewardRow, ...]
    differences: Mapping[str, Estimate]
    """`A - B` -> by how much A orders pairs right more often, for the best A and every other B."""
    reasons: Mapping[str, int]
    """Why rewards are missing -> how many."""

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            **{name: getattr(self, name) for name in ("benchmark", "truth", "n_prompts")},
            "n_images": self.n_images,
            "repeats": self.repeats,
            "reference_group": self.reference,
            "judge": dict(self.judge),
            "rewards": [
                {
                    "name": row.name,
                    "calls_per_image": row.calls,
                    "reliability": row.share,
                    "group": row.group,
                    "tasks": {task: one.to_json() for task, one in row.metrics.items()},
                }
                for row in self.rows
            ],
            "differences": {name: asdict(one) for name, one in self.differences.items()},
            "unscored": dict(self.reasons),
        }


def score_reward(
    name: str, judge: Judge, images: RewardImages, *, open_reward: OpenReward, repeats: int
) -> RewardScores:
    """One reward of all images, asked for so many times.

    Raises:
        AlphaBenchError: the reward cannot be opened, is the truth itself, or scores no image.
    """
    columns: list[dict[str, float]] = []
    reasons: dict[str, int] = {}
    n_questions = 0
    for repeat in range(repeats):
        evaluator = open_reward(name, RepeatedJudge(judge=judge, repeat=repeat))
        if repeat == 0:
            _refuse_truth(name, evaluator, images)
            require_self_test(evaluator)
        values: dict[str, float] = {}
        every = [image for prompt in images.prompts for image in prompt.images]
        for verdict in evaluator.evaluate(every):
            n_questions += _n_questions(verdict)
            if verdict.value is None:
                reason = f"{verdict.status}: {verdict.detail.get('reason') or 'no reason given'}"
                reasons[reason] = reasons.get(reason, 0) + 1
            else:
                values[verdict.image_id] = verdict.value
        columns.append(values)
    if not any(columns):
        raise AlphaBenchError(
            f"the reward {name!r} scored none of {images.n_images} images: "
            f"{next(iter(reasons), 'the judge gave no answer')}",
            hint="try the judge first: `alphabench calibrate --judge JUDGE --scenes 5`",
        )
    return RewardScores(
        name=name,
        calls=n_questions / (repeats * images.n_images),
        groups=tuple(
            RewardGroup(
                prompt=prompt.sample.id,
                task=prompt.sample.group,
                reward_IR=np.array(
                    [
                        [column.get(image.id, math.nan) for column in columns]
                        for image in prompt.images
                    ],
                    dtype=np.float64,
                ),
                truth_I=prompt.truth_I,
            )
            for prompt in images.prompts
        ),
        reasons=reasons,
    )


def calibrate_rewards(
    scores: Sequence[RewardScores],
    images: RewardImages,
    judge: Mapping[str, str],
    *,
    reference: int,
    settings: Bootstrap = DEFAULT,
) -> RewardCalibration:
    """Compares rewards that were scored.

    Args:
        scores: of each reward, with equally many repeats.
        images: that they were scored on.
        judge: its identity.
        reference: images of a prompt that would do without noise.
        settings: of the bootstrap.
    """
    repeats = scores[0].groups[0].reward_IR.shape[1]
    rows = [row for one in scores for row in _rows(one, repeats, reference, settings)]
    reasons: dict[str, int] = {}
    for one in scores:
        for reason, number in one.reasons.items():
            reasons[f"{one.name}: {reason}"] = number
    return RewardCalibration(
        judge=judge,
        benchmark=images.benchmark,
        truth=images.truth,
        n_prompts=len(images.prompts),
        n_images=images.n_images,
        repeats=repeats,
        reference=reference,
        rows=tuple(rows),
        differences=_differences(scores, settings),
        reasons=reasons,
    )


def _rows(
    scores: RewardScores, repeats: int, reference: int, settings: Bootstrap
) -> list[RewardRow]:
    """One call, and the mean of all where calls differ."""
    metrics = measure_reward(scores.groups, settings=settings)
    parts = metrics[ALL_TASKS].reliability
    share = None if parts is None else parts.share.value

    def row(name: str, calls: int, measured: Mapping[str, RewardMetrics]) -> RewardRow:
        of_mean = None if share is None else averaged_share(share, calls)
        return RewardRow(
            name=name,
            calls=scores.calls * calls,
            metrics=measured,
            share=of_mean,
            group=None if of_mean is None else needed_group(reference, of_mean),
        )

    rows = [row(scores.name, 1, metrics)]
    if share is not None and share < EXACT:
        averaged = measure_reward(
            [one.averaged(repeats) for one in scores.groups], settings=settings
        )
        rows.append(row(f"{scores.name}, mean of {repeats} calls", repeats, averaged))
    return rows


def _differences(scores: Sequence[RewardScores], settings: Bootstrap) -> dict[str, Estimate]:
    known = {
        one.name: value
        for one in scores
        if (value := measure_reward(one.groups, settings=settings)[ALL_TASKS].pair_accuracy.value)
        is not None
    }
    if len(known) < 2:
        return {}
    best = max(known, key=lambda name: known[name])
    groups = {one.name: one.groups for one in scores}
    return {
        f"{best} - {other}": pair_accuracy_difference(groups[best], groups[other], settings)
        for other in known
        if other != best
    }


def _refuse_truth(name: str, evaluator: Evaluator, images: RewardImages) -> None:
    own = {key: value for key, value in images.truth_identity.items() if key not in _ITS_OWN}
    if own and own == dict(evaluator.identity):
        raise AlphaBenchError(
            f"the truth {images.truth!r} is the reward {name!r} itself",
            hint="name another evaluation or a file of labels with --truth",
        )


def _n_questions(verdict: Verdict) -> int:
    asked = verdict.detail.get("questions")
    return len(asked) if isinstance(asked, list) else 1
