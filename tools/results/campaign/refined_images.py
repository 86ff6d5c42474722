"""What run folders note about refined images: how many were generated, and what a judge gave them.

Reads notes that `alphabench.runs.refinement` leaves with each image. Knows no table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from alphabench.runs.stored_run import StoredRun
from alphabench.types import Sample, image_id
from tools.results.campaign.evidence import Judged


def images_generated(run: StoredRun) -> int:
    """All images of a run: each with those that it replaced or that were not taken for it."""
    return sum(1 + len(_history(one.notes)) for one in run.images.values())


def judged_samples(run: StoredRun, samples: Sequence[Sample]) -> list[Judged]:
    """By sample, in order; empty where no judge scored an image before and after, or one chose."""
    if not run.manifest.pixels.get("checkpoint.refine", "").startswith("always"):
        return []
    rows = [_judged(run, sample) for sample in samples]
    return rows if any(one.images for one in rows) else []


def _judged(run: StoredRun, sample: Sample) -> Judged:
    pairs = []
    for index in range(run.images_per_sample):
        record = run.images.get(image_id(sample.id, index))
        history = [] if record is None else _history(record.notes)
        if history:
            first, last = history[0]["before"], history[-1]["after"]
            if first is not None and last is not None:
                pairs.append((float(first), float(last)))
    return Judged(
        images=len(pairs),
        first=math.fsum(first for first, _ in pairs),
        last=math.fsum(last for _, last in pairs),
        worse=sum(last < first for first, last in pairs),
    )


def _history(notes: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = notes.get("refinement", [])
    return found
