"""The baseline for DVReward: a judge grades the image as a whole from 0 to 10.

Two calls an image, as in VIEScore (Ku et al., 2024, arXiv 2312.14867): how far it shows what was
asked for (SC), and how well it is made, as naturalness and freedom from artefacts (PQ). The value
is sqrt(SC * min(PQ)) / 10, in [0, 1]. The templates are AlphaBench's own, so the grades compare
with no published ones. A reply that does not state its grades clearly is unparsed, never guessed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.evaluators.judge_evaluator import evidence
from alphabench.questions import Answer, ImagePart, Question, Reply, ReplySampling
from alphabench.types import Status, Verdict

HIGHEST: Final = 10.0
SYSTEM: Final = (
    "You grade computer-made pictures. You look closely, use the whole scale, and answer with one "
    "JSON object and nothing else."
)
_CONSISTENCY: Final = """\
This picture was made from the text: {prompt}

How far does it show what the text asks for? Consider every thing, number, property, relation and
deed that the text names. 10: all of it, unmistakably. 5: about half. 0: nothing of it.

Answer {{"why": "one short sentence", "grades": [consistency]}}, with a number from 0 to 10."""
_QUALITY: Final = """\
How well is this picture made, whatever it shows? Give two grades.

Naturalness. 10: light, shadow, distance and proportion could hardly be better for a picture of its
kind. 0: nothing looks as it could.
Cleanness. 10: no distorted or fused shapes, no malformed bodies or lettering, no noise. 0: spoilt
all over.

Answer {"why": "one short sentence", "grades": [naturalness, cleanness]}, numbers from 0 to 10."""
_NAMES: Final = {"consistency": 1, "quality": 2}
"""Question id -> how many grades its reply states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grades:
    """A reply that states so many grades from 0 to 10, as JSON."""

    name: Literal["consistency", "quality"]
    max_tokens: int = 512

    @property
    def n_grades(self) -> int:
        return _NAMES[self.name]

    @property
    def identity(self) -> Mapping[str, str]:
        digest = hashlib.sha256("\n".join((SYSTEM, _CONSISTENCY, _QUALITY)).encode()).hexdigest()
        return {
            "contract": f"holistic-{self.name}",
            "version": "1",
            "wording": f"own:{digest[:16]}",
        }

    @property
    def sampling(self) -> ReplySampling:
        return ReplySampling(max_tokens=self.max_tokens, temperature=0.0)

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        text = reply.text
        start, end = text.find("{"), text.rfind("}")
        if start < 0 or end < start:
            return None
        try:
            value = parse_json(text[start : end + 1])
        except UnreadableFileError:
            return None
        grades = value.get("grades") if isinstance(value, dict) else None
        if not isinstance(grades, list) or len(grades) != self.n_grades:
            return None
        return tuple(map(float, grades)) if all(map(_is_grade, grades)) else None


def holistic_questions(image_id: str, image: ImagePart, prompt: str) -> list[Question]:
    """The two calls about one image."""
    texts = {
        "consistency": _CONSISTENCY.format(prompt=json.dumps(prompt, ensure_ascii=False)),
        "quality": _QUALITY,
    }
    answer_formats = (Grades(name="consistency"), Grades(name="quality"))
    return [
        Question(
            image_id=image_id,
            id=answer_format.name,
            parts=(image, texts[answer_format.name]),
            sampling=answer_format.sampling,
            answer_format=answer_format,
            system=SYSTEM,
        )
        for answer_format in answer_formats
    ]


def score_holistic(image_id: str, answers: Sequence[Answer], *, question_id: str) -> Verdict:
    """The verdict of an image from both answers, 0 to 1; unscored unless both have grades."""
    consistency, quality = answers
    value = (
        None
        if consistency.values is None or quality.values is None
        else math.sqrt(min(consistency.values) * min(quality.values)) / HIGHEST
    )
    status: Status = next((a.status for a in answers if a.status != "scored"), "scored")
    log = [
        {
            "id": answer.question.id,
            "grades": None if answer.values is None else list(answer.values),
            "status": answer.status,
            **evidence(answer),
        }
        for answer in answers
    ]
    reasons = [f"{a.question.id}: {a.reason}" for a in answers if a.values is None]
    return Verdict(
        image_id=image_id,
        question_id=question_id,
        value=value,
        status=status,
        detail={"reason": "; ".join(reasons), "questions": log},
    )


def _is_grade(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and 0.0 <= value <= HIGHEST
