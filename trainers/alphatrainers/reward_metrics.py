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
    """Mean and spread of each reward and its parts, mean weighted sum, fraction unscored.

    Unscored trajectories are in no mean; without any scored one a mean is absent.
    """
    values: dict[str, float] = {}
    for name in uses:
        scored = [value for row in rows if (value := row.values[name]) is not None]
        if scored:
            values[f"reward/{name}"] = statistics.fmean(scored)
            values[f"reward/{name}_spread"] = statistics.pstdev(scored)
        for part in sorted({part for row in rows for part in row.parts.get(name, {})}):
            known = [row.parts[name][part] for row in rows if part in row.parts.get(name, {})]
            values[f"reward/{name}/{part}"] = statistics.fmean(known)
    totals = [total for row in rows if (total := _total(row, uses)) is not None]
    if totals:
        values["reward/total"] = statistics.fmean(totals)
    if rows:
        values["reward/unscored_share"] = 1.0 - len(totals) / len(rows)
    return values


def advantage_values(part: str, advantages: Advantages | None) -> dict[str, float]:
    """How many groups and trajectories carry any signal."""
    if advantages is None:
        return {}
    return {
        f"{part}/groups": float(advantages.n_groups),
        f"{part}/flat_groups": float(advantages.n_flat_groups),
        f"{part}/small_groups": float(advantages.n_small_groups),
        f"{part}/trained": float(advantages.trained_B.sum()),
        f"{part}/largest_advantage": float(advantages.value_B.abs().max()),
    }


def update_values(updated: UpdateReport, *, image_clip: float) -> dict[str, float]:
    """Losses, gradient norms, and how far replay and sampler are apart."""
    values = {f"gap/{part}": gap for part, gap in updated.gaps.items()}
    if "image" in updated.gaps:
        # Above 0.1 the clip acts on rounding: see `guards.choose_old_log_probs`.
        values["gap/image_over_clip"] = updated.gaps["image"] / image_clip
    if updated.losses:
        values["loss"] = statistics.fmean(updated.losses)
        values["gradient_norm"] = statistics.fmean(updated.gradient_norms)
    values["updates_skipped"] = float(updated.skipped)
    return values


def forward_values(counts: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """Passes and answers of the replays of all processes."""
    names = sorted({name for one in counts for name in one})
    return {f"forwards/{name}": float(sum(one.get(name, 0) for one in counts)) for name in names}


def _total(row: TrajectoryScores, uses: Mapping[str, RewardUse]) -> float | None:
    parts = [row.values[name] for name in uses]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return math.fsum(use.weight * part for use, part in zip(uses.values(), known, strict=True))
