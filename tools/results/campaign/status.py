"""How far a campaign is, as text: each training and each evaluation, and what is left to pay."""

from __future__ import annotations

import math

from tools.results.campaign.plan import Campaign
from tools.results.campaign.table import evaluations_of, table_cells

_IMAGES = "generated again for those that refine them, since its images"
_SHOWN = {"kept": "kept", "other": "kept of another recipe or plan", "absent": "not done"}


def status_text(campaign: Campaign) -> str:
    """One line for each training and evaluation, and the work that is left."""
    lines = []
    spent: dict[str, list[float]] = {}
    left: list[str] = []
    jobs = {job.name: job for job in campaign.jobs()}
    for cell in table_cells(campaign.table):
        parts = [] if cell.seed is None else ["training"]
        for part in (*parts, *evaluations_of(campaign.table, cell)):
            is_training = part == "training"
            job = jobs.get(cell.name if is_training else f"{cell.name}: {part}")
            state = (
                campaign.training_state(cell)
                if is_training
                else campaign.evaluation_state(cell, part)
            )
            kept = (
                campaign.evidence.training(cell)
                if is_training
                else campaign.evidence.evaluation(cell, part)
            )
            if kept is not None and math.isfinite(kept.processor_seconds):
                spent.setdefault(part, []).append(kept.processor_seconds)
            text = _SHOWN[state]
            if job is not None:
                left.append(part)
                if job.running:
                    text = "running"
                elif job.failure is not None:
                    text = f"failed: {job.failure} (log: {job.log})"
                elif state == "kept":
                    what = "trained again, since its weights" if is_training else _IMAGES
                    text = f"kept; to be {what} are gone"
            lines.append(f"{cell.name:<32} {part:<24} {text}")
    lines.append(_cost_left(spent, left))
    return "\n".join(lines)


def _cost_left(spent: dict[str, list[float]], left: list[str]) -> str:
    """By the mean of those of the same kind that are done."""
    done = math.fsum(seconds for each in spent.values() for seconds in each) / 60
    known = [part for part in left if part in spent]
    minutes = math.fsum(math.fsum(spent[part]) / len(spent[part]) for part in known) / 60
    unknown = len(left) - len(known)
    text = f"{done:.0f} minutes of processor spent"
    if left:
        text += f"; {len(left)} to do, about {minutes:.0f} minutes"
        text += f" and {unknown} of unknown cost" if unknown else ""
    return text
