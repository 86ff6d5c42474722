"""The scores of exported weights as entries for the hub's leaderboards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from alphabench.reports.hub_entries import HubScore, write_hub_entries
from alphagrpo.publishing.trained_weights import ValidatedScore


def write_eval_results(
    out: Path, scores: Sequence[ValidatedScore], datasets: Mapping[str, str]
) -> list[str]:
    """Writes an entry for each score that the hub can place; see `write_hub_entries`.

    Args:
        out: the exported folder.
        scores: of the exported weights.
        datasets: benchmark -> owner/name or owner/name#task, beside those known to the hub.

    Returns:
        A clause for each score that was left out, with the reason.
    """
    left_out = []
    for score in scores:
        if score.point.value is not None and score.run is None:
            why = "its run folder cannot be read"
            left_out.append(f"no entry for a leaderboard from {score.point.name}: {why}")
        elif score.run is None:
            why = "it could not be measured"
            left_out.append(f"no entry for a leaderboard from {score.point.name}: {why}")
        else:
            left_out += write_hub_entries(out, [_hub_score(score)], datasets)
    return left_out


def _hub_score(score: ValidatedScore) -> HubScore:
    assert score.run is not None
    decided = "these weights were chosen by this score, so it is optimistic"
    return HubScore(
        name=score.point.name,
        value=score.point.value,
        low=score.point.low,
        high=score.point.high,
        manifest=score.run.manifest,
        report=score.run.report,
        identity=score.run.identity,
        remarks=(decided,) if score.decided else (),
    )
