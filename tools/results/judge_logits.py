"""What the nano judge answers about images, as log-odds: asked once and kept.

A yes/no question keeps the log-odds of yes. The nano judge writes a graded reply as a reason and a
grade, each one token: kept are the logits of its three reasons, and after each reason those of the
eleven grades, 0 to 10. Of the two grades for quality, which this judge was trained to give alike,
the first is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

from alphabench.judges.nano_judge import NanoProcessor, open_nano_judge, weights_folder
from alphabench.questions import ImagePart, Judge, Question
from alphabench.reports.reward_images import RewardImages
from alphabench.types import GeneratedImage, Sample
from alphagrpo.dvreward.prompt_sources import questions_from_facts
from alphagrpo.dvreward.verification import AS_RELEASED, questions_about
from alphagrpo.holistic import holistic_questions
from tools.nano_judge import templates

GRADES: Final = tuple(range(11))
REASONS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "consistency": tuple(templates.REASONS[name] for name in ("all", "part", "none")),
    "quality": tuple(templates.REASONS[name] for name in ("clean", "marred", "spoilt")),
}
"""Holistic question -> the reasons that the judge knows."""
FRAMES_OF: Final[Mapping[str, tuple[str, str]]] = {
    "consistency": (
        templates.CONSISTENCY_ANSWER.pieces[0],
        templates.CONSISTENCY_ANSWER.pieces[1],
    ),
    "quality": (templates.QUALITY_ANSWER.pieces[0], templates.QUALITY_ANSWER.pieces[1]),
}
"""Holistic question -> what a reply has before its reason, and between reason and grade."""
MOST_LOG_ODDS: Final = 14.0
"""What a probability of 0 or 1 counts as."""
_BATCH: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeLogits:
    """How the judge decides on a grade; logits are shifted so that the largest of a row is 0."""

    reasons: tuple[float, ...]
    """Of `REASONS_OF` this question."""
    grades: tuple[tuple[float, ...], ...]
    """Of `GRADES`, after each reason."""

    @property
    def reason(self) -> int:
        """The position of the reason that the judge gives."""
        return int(np.argmax(self.reasons))

    @property
    def grade(self) -> int:
        """What the judge answers."""
        return int(np.argmax(self.grades[self.reason]))

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> GradeLogits:
        """What `asdict` gave."""
        return cls(reasons=tuple(row["reasons"]), grades=tuple(map(tuple, row["grades"])))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswers:
    """Everything that the judge was asked about one image, and the image's truth."""

    prompt: str
    task: str
    truth: float
    semantic: tuple[float | None, ...]
    """Log-odds of yes to DVReward's questions about the prompt; None where unscored."""
    quality: tuple[float | None, ...]
    """The same for those about how well the image is made."""
    consistency: GradeLogits
    made: GradeLogits
    """How well the image is made."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> KeptAnswers:
        """What `to_json` gave."""
        return cls(
            prompt=row["prompt"],
            task=row["task"],
            truth=row["truth"],
            semantic=tuple(row["semantic"]),
            quality=tuple(row["quality"]),
            consistency=GradeLogits.from_json(row["consistency"]),
            made=GradeLogits.from_json(row["made"]),
        )


def ask_all(images: RewardImages, report: Callable[[str], None]) -> list[KeptAnswers]:
    """All answers about all images, in order."""
    judge = open_nano_judge("", options={}, device="cpu")
    grader = Grader()
    kept = []
    for number, prompt in enumerate(images.prompts, start=1):
        consistency = grader.logits(prompt.images, "consistency")
        made = grader.logits(prompt.images, "quality")
        for index, image in enumerate(prompt.images):
            semantic, well_made = _log_odds(judge, prompt.sample, image)
            kept.append(
                KeptAnswers(
                    prompt=prompt.sample.id,
                    task=prompt.sample.group,
                    truth=float(prompt.truth_I[index]),
                    semantic=semantic,
                    quality=well_made,
                    consistency=consistency[index],
                    made=made[index],
                )
            )
        report(f"asked about {number} of {len(images.prompts)} prompts")
    return kept


def _log_odds(
    judge: Judge, sample: Sample, image: GeneratedImage
) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
    """Of DVReward's questions in the released wording."""
    questions = questions_from_facts(0, sample)
    asked = questions_about(image.id, ImagePart.of(image), questions, AS_RELEASED)
    answers = list(judge.ask(asked))
    found = {
        answer.question.id: None if answer.values is None else log_odds(answer.values[0])
        for answer in answers
    }
    parts = [tuple(v for name, v in found.items() if name.startswith(aspect)) for aspect in "sq"]
    return parts[0], parts[1]


def log_odds(probability: float) -> float:
    """Of a probability, at most `MOST_LOG_ODDS` either way, to three decimals."""
    if probability <= 0.0 or probability >= 1.0:
        return math.copysign(MOST_LOG_ODDS, probability - 0.5)
    value = math.log(probability) - math.log1p(-probability)
    return round(min(max(value, -MOST_LOG_ODDS), MOST_LOG_ODDS), 3)


class Grader:
    """The nano judge with its logits in view."""

    def __init__(self) -> None:
        folder = weights_folder()
        self.processor = NanoProcessor.load(folder)
        self.tokenizer = self.processor.tokenizer
        self.tokenizer.padding_side = "left"
        load: Any = AutoModelForImageTextToText.from_pretrained
        self.network = load(folder, dtype=torch.float32).eval()
        self.tokens = [self._token(str(grade)) for grade in GRADES]

    def logits(self, images: Sequence[GeneratedImage], name: str) -> list[GradeLogits]:
        """For each image, those of the holistic question `consistency` or `quality`."""
        return self.logits_about([_holistic(image, name) for image in images], name)

    def logits_about(self, questions: Sequence[Question], name: str) -> list[GradeLogits]:
        """For each question; all of them are the holistic question of this name."""
        of_reason = self.reasons_about(questions, name)
        of_grade = [
            self.grades_after(questions, name, [place] * len(questions))
            for place in range(len(REASONS_OF[name]))
        ]
        return [
            GradeLogits(reasons=row, grades=tuple(grades[index] for grades in of_grade))
            for index, row in enumerate(of_reason)
        ]

    def reasons_about(self, questions: Sequence[Question], name: str) -> list[tuple[float, ...]]:
        """Logits of `REASONS_OF` it, for each question."""
        opening, _ = FRAMES_OF[name]
        tokens = [self._token(one) for one in REASONS_OF[name]]
        return self._in_batches(questions, [opening] * len(questions), tokens)

    def grades_after(
        self, questions: Sequence[Question], name: str, reasons: Sequence[int]
    ) -> list[tuple[float, ...]]:
        """Logits of `GRADES` after the reason at this position, one for each question."""
        opening, middle = FRAMES_OF[name]
        begun = [f"{opening}{REASONS_OF[name][place]}{middle}" for place in reasons]
        return self._in_batches(questions, begun, self.tokens)

    def _in_batches(
        self, questions: Sequence[Question], begun: Sequence[str], tokens: Sequence[int]
    ) -> list[tuple[float, ...]]:
        found = []
        for start in range(0, len(questions), _BATCH):
            part = slice(start, start + _BATCH)
            found += self._next(questions[part], begun[part], tokens)
        return found

    @torch.inference_mode()
    def _next(
        self, questions: Sequence[Question], begun: Sequence[str], tokens: Sequence[int]
    ) -> list[tuple[float, ...]]:
        """Logits of the next token, among these, of replies that have begun so."""
        inputs = self.processor(
            text=[
                self._prompt(question) + text
                for question, text in zip(questions, begun, strict=True)
            ],
            images=[[_opened(question)] for question in questions],
            padding=True,
            return_tensors="pt",
            add_special_tokens=False,
        )
        logits = self.network(**inputs, logits_to_keep=1).logits[:, -1, list(tokens)].float()
        shifted = logits - logits.amax(dim=1, keepdim=True)
        return [tuple(round(float(one), 2) for one in row) for row in shifted]

    def _prompt(self, question: Question) -> str:
        parts = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
            for part in question.parts
        ]
        system = [{"type": "text", "text": question.system}]
        messages = [{"role": "system", "content": system}, {"role": "user", "content": parts}]
        text: str = self.processor.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return text

    def _token(self, text: str) -> int:
        tokens = self.tokenizer.encode(text, add_special_tokens=False)
        if len(tokens) != 1:
            raise ValueError(f"{text!r} is {len(tokens)} tokens of this judge")
        return int(tokens[0])


def _holistic(image: GeneratedImage, name: str) -> Question:
    questions = holistic_questions(image.id, ImagePart.of(image), image.request.sample.prompt)
    (one,) = [question for question in questions if question.id == name]
    return one


def _opened(question: Question) -> Image.Image:
    (part,) = [part for part in question.parts if isinstance(part, ImagePart)]
    return Image.open(part.path).convert("RGB")
