"""The project's own question about an edit: VIEScore's first, which the judge `nano` knows.

Two marks from 0 to 10 and a reason, as scores on another benchmark's scale, so that its `:mini`
split says something offline. Knows no benchmark but the one whose template it shares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from alphabench.benchmarks.gedit import viescore
from alphabench.benchmarks.gedit.viescore_parser import HIGHEST, LowestScore
from alphabench.questions import ImagePart, Reply
from alphabench.types import Sample

OWN_EDIT_TEMPLATE: Final = viescore.OWN.semantics
OWN_EDIT_PLACE: Final = "<instruction>"
"""Stands for the editing instruction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditMarks:
    """Two marks from 0 to 10 as VIEScore's reply states them, as two scores on a scale.

    The first is how fully the edit was made, the second how much else was left alone. The second
    score is never higher than the first: an image to which nothing was done has the lowest twice.
    """

    lowest: float
    highest: float

    @property
    def identity(self) -> Mapping[str, str]:
        scale = f"edit marks 2 as {self.lowest:g} to {self.highest:g}"
        return {"contract": scale, "reading": "strict", "version": "1"}

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        """Mean and both scores; None unless exactly two marks from 0 to 10 are stated."""
        marks = LowestScore(strict=True).parse(reply)
        if marks is None:
            return None
        _, done, kept = marks
        step = (self.highest - self.lowest) / HIGHEST
        scores = [self.lowest + step * mark for mark in (done, min(done, kept))]
        return (sum(scores) / len(scores), *scores)


def stored_source(sample: Sample) -> ImagePart:
    """The image before the edit, sent as it is stored.

    Raises:
        AlphaBenchError: there is none, or it cannot be read.
    """
    return replace(viescore.source_image_part(sample), size=None, exif_rotated=False)
