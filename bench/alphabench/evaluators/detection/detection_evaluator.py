"""Answers GenEval's question about an image with an object detector and a reader of colours.

One `correct` verdict for each image. Images are detected in batches, and all colours of a batch are
read in one call; neither changes a verdict. Knows no particular model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.detections.geneval_rules import (
    CAP,
    QUESTION,
    Decision,
    Rules,
    Selected,
    colour_questions,
    decide,
    select,
)
from alphabench.detections.objects import COLOURS
from alphabench.evaluators.detection.coco import GENEVAL_NAMES
from alphabench.evaluators.detection.detector import (
    ColourQuery,
    ColourReader,
    Detector,
    LimitedVocabulary,
)
from alphabench.images import UnreadableImageError, open_rgb
from alphabench.interfaces import Licensed
from alphabench.types import GeneratedImage, ImageRequest, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which of a detector's objects count; the defaults are GenEval's."""

    cap: int = CAP
    """Objects kept of one category."""
    max_overlap: float = 1.0
    """Below 1, objects that overlap a better one this much are dropped."""
    batch_size: int = 8
    """Images examined in one call; changes no verdict."""

    def __post_init__(self) -> None:
        if self.cap < 1 or self.batch_size < 1:
            raise ValueError("cap and batch_size are 1 at least")
        if not 0 <= self.max_overlap <= 1:
            raise ValueError(f"max_overlap lies between 0 and 1, not at {self.max_overlap!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectEvaluator:
    """GenEval's evaluator; can be pickled as long as its detector and colour reader can."""

    detector: Detector
    colours: ColourReader
    selection: Selection = Selection()

    @property
    def identity(self) -> Mapping[str, str]:
        thresholds = self.detector.thresholds
        found_by = dict(self.detector.identity)
        # Whether a build was checked is no part of how it measures: readers look for this name.
        checked = {key: found_by.pop(key) for key in ("self_test",) if key in found_by}
        return {
            **checked,
            **{f"detector.{key}": value for key, value in found_by.items()},
            **{f"colours.{key}": value for key, value in self.colours.identity.items()},
            "threshold.score": repr(thresholds.score),
            "threshold.counting": repr(thresholds.counting),
            "cap": repr(self.selection.cap),
            "max_overlap": repr(self.selection.max_overlap),
        }

    @property
    def licences(self) -> Mapping[str, str]:
        """Of the models, as far as they tell."""
        parts = (self.detector, self.colours)
        return {
            model: licence
            for part in parts
            if isinstance(part, Licensed)
            for model, licence in part.licences.items()
        }

    @property
    def batch_size(self) -> int:
        return self.selection.batch_size

    def self_test(self) -> None:
        self.detector.self_test(self.colours)

    def evaluate(self, images: Sequence[GeneratedImage]) -> Iterator[Verdict]:
        """One `correct` verdict for each image, in order.

        An image that cannot be opened, or on which the models raise an error even when it is
        alone, is `failed`; so is every image of a prompt that names what the models do not know.

        Raises:
            AlphaBenchError: a model says what the user must mend.
        """
        for start in range(0, len(images), self.batch_size):
            yield from self._batch(images[start : start + self.batch_size])

    def refusals(self, requests: Sequence[ImageRequest]) -> Mapping[str, str]:
        """Image id -> why it could not be scored, for each such request; see `Selective`."""
        return {
            request.id: reason
            for request in requests
            if (reason := self._unknown(request.sample.facts))
        }

    def _unknown(self, facts: Mapping[str, Any]) -> str:
        """What of a prompt's demands the models do not know, in words; empty if they know all.

        Had only the failing images of such a prompt a verdict, its score would be too low: it has
        none, even where another clause fails beyond doubt.
        """
        detector: object = self.detector
        known = frozenset(GENEVAL_NAMES)
        if isinstance(detector, LimitedVocabulary):
            known = detector.categories
        rules = Rules.published(facts)
        clauses = (*rules.include, *rules.exclude)
        strange = {clause.category for clause in clauses} - known
        colours = {clause.colour for clause in clauses} - {None, *COLOURS}
        words = ", ".join(map(repr, sorted([*strange, *map(str, colours)])))
        return f"the detector does not know {words}" if words else ""

    def _batch(self, images: Sequence[GeneratedImage]) -> list[Verdict]:
        pictures: list[tuple[GeneratedImage, Image.Image]] = []
        verdicts: dict[str, Verdict] = {}
        for image in images:
            if unknown := self._unknown(image.request.sample.facts):
                verdicts[image.id] = _failed(image, unknown)
                continue
            try:
                pictures.append((image, open_rgb(image.path)))
            except UnreadableImageError as error:
                verdicts[image.id] = _failed(image, _words(error))
        for verdict in self._examine_or_fail(pictures):
            verdicts[verdict.image_id] = verdict
        return [verdicts[image.id] for image in images]

    def _examine_or_fail(
        self, pictures: Sequence[tuple[GeneratedImage, Image.Image]]
    ) -> list[Verdict]:
        """Examine together; after an error each alone, so that one image costs no other."""
        if not pictures:
            return []
        try:
            return self._examine(pictures)
        except AlphaBenchError:
            raise
        except Exception as error:  # noqa: BLE001  (the boundary to the models)
            if len(pictures) == 1:
                return [_failed(pictures[0][0], _words(error))]
        return [verdict for one in pictures for verdict in self._examine_or_fail([one])]

    def _examine(self, pictures: Sequence[tuple[GeneratedImage, Image.Image]]) -> list[Verdict]:
        detected = self.detector.detect([picture for _, picture in pictures])
        chosen: list[Selected] = []
        queries: list[ColourQuery] = []
        for (image, picture), objects in zip(pictures, detected, strict=True):
            facts = image.request.sample.facts
            chosen.append(
                select(
                    objects,
                    tag=str(facts["tag"]),
                    thresholds=self.detector.thresholds,
                    cap=self.selection.cap,
                    max_overlap=self.selection.max_overlap,
                )
            )
            asked = colour_questions(facts, chosen[-1])
            queries.extend(ColourQuery(image=picture, found=found) for found in asked)
        answers = self.colours.read(queries) if queries else []
        colour_of = {q.found: colour for q, colour in zip(queries, answers, strict=True)}
        return [
            _verdict(image, decide(image.request.sample.facts, of, colour_of.__getitem__), of)
            for (image, _), of in zip(pictures, chosen, strict=True)
        ]


def boxes(selected: Selected) -> dict[str, list[list[float]]]:
    """Category -> [x1, y1, x2, y2, score] of its objects: the `details` of a result line."""
    return {
        category: [[*map(float, found.box), float(found.score)] for found in of]
        for category, of in selected.items()
    }


def _verdict(image: GeneratedImage, decision: Decision, selected: Selected) -> Verdict:
    detail: dict[str, Any] = {"reason": decision.reason, "objects": boxes(selected)}
    value = 1.0 if decision.correct else 0.0
    return Verdict(
        image_id=image.id, question_id=QUESTION, value=value, status="scored", detail=detail
    )


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _failed(image: GeneratedImage, reason: str) -> Verdict:
    return Verdict(
        image_id=image.id,
        question_id=QUESTION,
        value=None,
        status="failed",
        detail={"reason": reason},
    )
