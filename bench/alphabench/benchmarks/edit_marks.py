"""The project's own questions about an edit: VIEScore's, which the judge `nano` knows.

Two marks from 0 to 10 and a reason, as scores on another benchmark's scale, so that its `:mini`
split says something offline. Knows no benchmark but the one whose template it shares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from alphabench.benchmarks.gedit import viescore
from alphabench.benchmarks.gedit.viescore_parser import HIGHEST, LowestScore
from alphabench.questions import (
    AnswerFormat,
    Capabilities,
    ImagePart,
    Part,
    Question,
    Reply,
    ReplySampling,
)
from alphabench.types import GeneratedImage, Sample

OWN_EDIT_TEMPLATE: Final = viescore.OWN.semantics
OWN_LOOK_TEMPLATE: Final = viescore.OWN.quality
"""VIEScore's second question, about the edited image alone."""
OWN_EDIT_PLACE: Final = "<instruction>"
"""Stands for the editing instruction."""
_SAMPLING: Final = ReplySampling(max_tokens=1024)
BEFORE_AND_AFTER: Final = Capabilities(images_per_question=2, logprobs=False)
"""What a judge of edits must be able to do."""


def edit_identity(
    answer_format: AnswerFormat,
    wording: Literal["official", "own"],
    texts: Mapping[str, str],
    sampling: ReplySampling,
) -> dict[str, str]:
    """What decides the verdicts of a judge of edits.

    Args:
        answer_format: of its questions.
        wording: whose the templates are.
        texts: the templates by name.
        sampling: of its replies.
    """
    digest = hashlib.sha256(json.dumps(dict(texts), sort_keys=True).encode()).hexdigest()
    temperature = sampling.temperature
    return {
        **answer_format.identity,
        "wording": f"{wording}:{digest[:16]}",
        "max_tokens": str(sampling.max_tokens),
        "temperature": "the judge's own" if temperature is None else str(temperature),
    }


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


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEditQuestions:
    """The two questions about an edited image: the edit, and the look of the result.

    The edit is a sample's `reference` among its facts where it has one, else its prompt.
    """

    marks: EditMarks
    names: tuple[str, str, str]
    """Of the scores: how fully the edit was made, how much else was left alone, and the look; of
    the questions: the first and the last."""
    only_edit: str = ""
    """A group whose images are not asked about their look."""

    @property
    def identity(self) -> Mapping[str, str]:
        texts = {"edit": OWN_EDIT_TEMPLATE, "look": OWN_LOOK_TEMPLATE}
        return edit_identity(self.marks, "own", texts, _SAMPLING)

    def __call__(self, image: GeneratedImage) -> list[Question]:
        sample, edited = image.request.sample, ImagePart.of(image)
        instruction = str(sample.facts.get("reference", sample.prompt))
        text = OWN_EDIT_TEMPLATE.replace(OWN_EDIT_PLACE, instruction)
        edit, _, look = self.names
        asked: dict[str, tuple[Part, ...]] = {edit: (text, stored_source(sample), edited)}
        if sample.group != self.only_edit:
            asked[look] = (OWN_LOOK_TEMPLATE, edited)
        return [
            Question(
                image_id=image.id,
                id=name,
                parts=parts,
                sampling=_SAMPLING,
                answer_format=self.marks,
            )
            for name, parts in asked.items()
        ]

    def scores(self, values: Mapping[str, Sequence[float]]) -> dict[str, float]:
        """Two scores from the values about the edit; of those about the look, the lower mark's."""
        edit, rest, look = self.names
        _, done, kept = values[edit]
        scores = {rest: kept, edit: done}
        if look in values:
            scores[look] = values[look][-1]
        return scores


def stored_source(sample: Sample) -> ImagePart:
    """The image before the edit, sent as it is stored.

    Raises:
        AlphaBenchError: there is none, or it cannot be read.
    """
    return replace(viescore.source_image_part(sample), size=None, exif_rotated=False)
