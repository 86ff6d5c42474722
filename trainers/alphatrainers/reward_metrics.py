"""The numbers of one training step, for the log. What was not measured is absent, never 0.

Knows no process and no file.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from alphatrainers.algorithms.advantages import Advantages
from alphatrainers.reward_scoring import RewardUse, TrajectoryScores
from alphatrainers.update import UpdateReport


def reward_values(
    rows: Sequence[TrajectoryScores], uses: Mapping[str, RewardUse]
) -> dict[str, float]:
    """Mean and standard deviation of the weighted sum and of each reward, means of its parts.

    Unscored trajectories are in no mean; without any scored one a mean is absent. The standard
    deviations are those of a population.
    """
    values: dict[str, float] = {}
    for name in uses:
        scored = [value for row in rows if (value := row.values[name]) is not None]
        if scored:
            values[f"reward/{name}/mean"] = statistics.fmean(scored)
            values[f"reward/{name}/std"] = statistics.pstdev(scored)
        for part in sorted({part for row in rows for part in row.parts.get(name, {})}):
            known = [row.parts[name][part] for row in rows if part in row.parts.get(name, {})]
            values[f"reward/{name}/{part}/mean"] = statistics.fmean(known)
    values |= _by_task(rows, uses)
    totals = [total for row in rows if (total := _total(row, uses)) is not None]
    if totals:
        values["reward/mean"] = statistics.fmean(totals)
        values["reward/std"] = statistics.pstdev(totals)
    if rows:
        values["reward/unscored_share"] = 1.0 - len(totals) / len(rows)
    return values


def refinement_values(
    rows: Sequence[TrajectoryScores], uses: Mapping[str, RewardUse]
) -> dict[str, float]:
    """What the images of refinements earned themselves, against those that they started from.

    The weighted sum of the image rewards, before `rectification` and without rewards of text alone,
    over refinements both of whose images were scored; empty without any.

    Args:
        rows: of the step; those that refine have the parts `unrectified` and `initial`.
        uses: the rewards by name.
    """
    pairs: list[tuple[float, float]] = []
    for row in rows:
        parts = {
            name: row.parts[name]
            for name in uses
            if {"unrectified", "initial"} <= row.parts.get(name, {}).keys()
        }
        images = {name for name, use in uses.items() if use.applies_to != "text"}
        if parts and parts.keys() == images:
            refined, initial = (
                math.fsum(uses[name].weight * one[key] for name, one in parts.items())
                for key in ("unrectified", "initial")
            )
            pairs.append((refined, initial))
    if not pairs:
        return {}
    return {
        "refinement/refined/mean": statistics.fmean(refined for refined, _ in pairs),
        "refinement/initial/mean": statistics.fmean(initial for _, initial in pairs),
        "refinement/improved_share": statistics.fmean(float(a > b) for a, b in pairs),
    }


def _by_task(rows: Sequence[TrajectoryScores], uses: Mapping[str, RewardUse]) -> dict[str, float]:
    """Groups and mean reward of each task of a training that has several."""
    values: dict[str, float] = {}
    for task in sorted({row.task for row in rows} - {""}):
        own = [row for row in rows if row.task == task]
        values[f"task/{task}/groups"] = float(len({row.group for row in own}))
        totals = [total for row in own if (total := _total(row, uses)) is not None]
        if totals:
            values[f"task/{task}/reward/mean"] = statistics.fmean(totals)
    return values


def advantage_values(
    part: str, advantages: Advantages | None, floor: float | None = None
) -> dict[str, float]:
    """How many groups and trajectories carry any signal.

    Args:
        part: image or text.
        advantages: None where the part is not trained.
        floor: spread up to which a group counts as flat, if there is one.
    """
    if advantages is None:
        return {}
    values = _advantage_counts(part, advantages)
    compared = float(advantages.n_groups - advantages.n_small_groups)
    if floor is not None:
        values[f"{part}/zero_std_floor"] = floor
    if floor is not None and compared:
        values[f"{part}/zero_std_share"] = float(advantages.n_flat_groups) / compared
    return values


def _advantage_counts(part: str, advantages: Advantages) -> dict[str, float]:
    return {
        f"{part}/groups": float(advantages.n_groups),
        f"{part}/zero_std_groups": float(advantages.n_flat_groups),
        f"{part}/small_groups": float(advantages.n_small_groups),
        f"{part}/trained_trajectories": float(advantages.trained_B.sum()),
        f"{part}/advantage/abs_max": float(advantages.value_B.abs().max()),
    }


def update_values(updated: UpdateReport, *, image_clip: float) -> dict[str, float]:
    """Losses, gradient norms, learning rates, and how far replay and sampler are apart."""
    values = {f"{part}/logprob_diff": gap for part, gap in updated.gaps.items()}
    if "image" in updated.gaps:
        # Above 0.1 the clip acts on rounding: see `guards.choose_old_log_probs`.
        values["image/logprob_diff_over_clip"] = updated.gaps["image"] / image_clip
    if updated.losses:
        values["loss"] = statistics.fmean(updated.losses)
        values["grad_norm"] = statistics.fmean(updated.gradient_norms)
    rates = updated.learning_rates
    if rates:
        values["learning_rate"] = max(rates.values())
    if len(set(rates.values())) > 1:
        values |= {f"learning_rate/{expert}": rate for expert, rate in rates.items()}
    values["updates_skipped"] = float(updated.skipped)
    return values


def forward_values(counts: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """Passes and answers of the replays of all processes."""
    names = sorted({name for one in counts for name in one})
    return {
        f"forward_passes/{name}": float(sum(one.get(name, 0) for one in counts)) for name in names
    }


def _total(row: TrajectoryScores, uses: Mapping[str, RewardUse]) -> float | None:
    parts = [row.values[name] for name in uses]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return math.fsum(use.weight * part for use, part in zip(uses.values(), known, strict=True))
