"""The result of a training in one sentence. Knows points of a curve and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from alphatrainers.reporting.history import CurvePoint, deciding_curve


def outcome_sentence(points: Sequence[CurvePoint], view: str | None = None) -> str:
    """Whether the deciding curve's held-out score differs from the one before training.

    The difference is paired by sample; its 95% interval decides. The last measured point counts,
    not the best one, which is chosen for being high.

    Args:
        points: of all curves.
        view: whose weights `best` holds; see `deciding_curve`.
    """
    curve = deciding_curve(points, view)
    known = [point for point in curve if point.value is not None]
    if not known:
        return "No held-out score was measured."
    first, last = known[0], known[-1]
    if last.step == first.step:
        return f"Held-out score before training: {first.value:.3f} ({first.name})."
    change = f"{first.value:.3f} → {last.value:.3f} after step {last.step} ({first.name})"
    rise = last.from_start
    if rise is None:
        return f"Held-out score {change}."
    difference = f"{rise.value:+.3f} [{rise.low:+.3f}, {rise.high:+.3f}]"
    if rise.low > 0.0:
        verdict = "higher than before training"
    elif rise.high < 0.0:
        verdict = "lower than before training"
    else:
        verdict = "no clear difference from before training"
    return f"Held-out score {change}: {verdict}, paired difference {difference}."
