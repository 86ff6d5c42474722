"""A judge's mind that knows what was drawn: the true answer for a scripted judge."""

from __future__ import annotations

from collections.abc import Iterable

from alphabench.checkpoints.scene import SceneCheckpoint
from alphabench.scenes.edits import Edit, edit_holds, source_scene, untouched
from alphabench.scenes.questions import check_holds
from alphabench.types import ImageRequest


def obeyed(checkpoint: SceneCheckpoint, requests: Iterable[ImageRequest]) -> dict[str, bool]:
    """Image id -> whether the drawn picture shows what its sample's own facts demand."""
    return {
        request.id: check_holds(request.sample.facts, checkpoint.draw(request).truth)
        for request in requests
    }


def edited_right(
    checkpoint: SceneCheckpoint, requests: Iterable[ImageRequest]
) -> dict[str, tuple[bool, bool]]:
    """Image id -> whether the edit that was asked for is to be seen, and all else as it was."""
    found = {}
    for request in requests:
        facts, scene = request.sample.facts, checkpoint.scene_of(request)
        truth = checkpoint.draw(request).truth
        done = all(edit_holds(check, scene, truth) for check in facts["check"])
        kept = untouched(source_scene(facts), scene, Edit.from_facts(facts))
        found[request.id] = (done, kept)
    return found
