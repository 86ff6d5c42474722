"""A judge's mind that knows what was drawn: the true answer for a scripted judge."""

from __future__ import annotations

from collections.abc import Iterable

from alphabench.checkpoints.scene import SceneCheckpoint
from alphabench.scenes.questions import check_holds
from alphabench.types import ImageRequest


def obeyed(checkpoint: SceneCheckpoint, requests: Iterable[ImageRequest]) -> dict[str, bool]:
    """Image id -> whether the drawn picture shows what its sample's own facts demand."""
    return {
        request.id: check_holds(request.sample.facts, checkpoint.draw(request).truth)
        for request in requests
    }
