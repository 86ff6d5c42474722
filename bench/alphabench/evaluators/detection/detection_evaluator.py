"""Scores images for GenEval with an object detector and a colour classifier.

One `correct` verdict per image. Images are processed in batches, and all colours of a batch are
classified in one call; neither changes a verdict. Knows no particular model.
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
    """Most objects of one category."""
    max_overlap: float = 1.0
    """Below 1, objects that overlap a better one this much are dropped."""
    batch_size: int = 8
    """Images per call; changes no verdict."""

    def __post_init__(self) -> None:
        if self.cap < 1 or self.batch_size < 1:
            raise ValueError("cap and batch_size are 1 at least")
        if not 0 <= self.max_overlap <= 1:
            raise ValueError(f"max_overlap lies between 0 and 1, not at {self.max_overlap!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectEvaluator:
    """GenEval's evaluator; can be pickled if its detector and colour reader can."""

    detector: Detector
    colours: ColourReader
    selection: Selection = Selection()

    @property
    def identity(self) -> Mapping[str, str]:
        thresholds = self.detector.thresholds
        found_by = dict(self.detector.identity)
        # Whether a build was checked does not change a score: readers look for this very key.
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
        """Of the models that state one."""
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
            AlphaBenchError: a model reports what the user must fix.
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
        """The categories and colours of a prompt that the models do not know; empty if none.

        Such a prompt gets no verdict at all, even where another clause certainly fails: if only
        failing images had verdicts, its score would be too low.
        """
        detector: object = self.detector
        known = frozenset(GENEVAL_NAMES)
        if isinstance(detector, LimitedVocabulary):
            known = detector.categories
        rules = Rules.published(facts)
        clauses = (*rules.include, *rules.exclude)
        unknown = {clause.category for clause in clauses} - known
        colours = {clause.colour for clause in clauses} - {None, *COLOURS}
        names = ", ".join(map(repr, sorted([*unknown, *map(str, colours)])))
        return f"the detector does not know {names}" if names else ""

    def _batch(self, images: Sequence[GeneratedImage]) -> list[Verdict]:
        decoded: list[tuple[GeneratedImage, Image.Image]] = []
        verdicts: dict[str, Verdict] = {}
        for image in images:
            if unknown := self._unknown(image.request.sample.facts):
                verdicts[image.id] = _failed(image, unknown)
                continue
            try:
                decoded.append((image, open_rgb(image.path)))
            except UnreadableImageError as error:
                verdicts[image.id] = _failed(image, _describe(error))
        for verdict in self._evaluate_or_fail(decoded):
            verdicts[verdict.image_id] = verdict
        return [verdicts[image.id] for image in images]

    def _evaluate_or_fail(
        self, decoded: Sequence[tuple[GeneratedImage, Image.Image]]
    ) -> list[Verdict]:
        """Evaluates together; after an error each alone, so that one image fails no other."""
        if not decoded:
            return []
        try:
            return self._evaluate(decoded)
        except AlphaBenchError:
            raise
        except Exception as error:  # noqa: BLE001  (the boundary to the models)
            if len(decoded) == 1:
                return [_failed(decoded[0][0], _describe(error))]
        return [verdict for one in decoded for verdict in self._evaluate_or_fail([one])]

    def _evaluate(self, decoded: Sequence[tuple[GeneratedImage, Image.Image]]) -> list[Verdict]:
        detected = self.detector.detect([pixels for _, pixels in decoded])
        selections: list[Selected] = []
        queries: list[ColourQuery] = []
        for (image, pixels), objects in zip(decoded, detected, strict=True):
            facts = image.request.sample.facts
            selections.append(
                select(
                    objects,
                    tag=str(facts["tag"]),
                    thresholds=self.detector.thresholds,
                    cap=self.selection.cap,
                    max_overlap=self.selection.max_overlap,
                )
            )
            objects_in_question = colour_questions(facts, selections[-1])
            queries.extend(ColourQuery(image=pixels, found=one) for one in objects_in_question)
        answers = self.colours.read(queries) if queries else []
        colour_of = {q.found: colour for q, colour in zip(queries, answers, strict=True)}
        return [
            _verdict(
                image, decide(image.request.sample.facts, selected, colour_of.__getitem__), selected
            )
            for (image, _), selected in zip(decoded, selections, strict=True)
        ]


def boxes_by_category(selected: Selected) -> dict[str, list[list[float]]]:
    """Category -> [x1, y1, x2, y2, score] of its objects: the `details` of a result line."""
    return {
        category: [[*map(float, one.box), float(one.score)] for one in objects]
        for category, objects in selected.items()
    }


def _verdict(image: GeneratedImage, decision: Decision, selected: Selected) -> Verdict:
    detail: dict[str, Any] = {"reason": decision.reason, "objects": boxes_by_category(selected)}
    value = 1.0 if decision.correct else 0.0
    return Verdict(
        image_id=image.id, question_id=QUESTION, value=value, status="scored", detail=detail
    )


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _failed(image: GeneratedImage, reason: str) -> Verdict:
    return Verdict(
        image_id=image.id,
        question_id=QUESTION,
        value=None,
        status="failed",
        detail={"reason": reason},
    )
