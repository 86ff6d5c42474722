"""A judge behind an address without a host, one question about each image, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alphabench.evaluators.judge_evaluator import verdict_from
from alphabench.judges.yesno import YesNoText, yes_no_question
from alphabench.questions import Answer, Capabilities, ImagePart, JudgeUsage, Question, Reply
from alphabench.runs.run import Outcome
from alphabench.types import GeneratedImage, Verdict

SOON = 20.0
"""Seconds that a thread may take on a busy machine."""


@dataclass
class Remote:
    """A judge behind an address that answers by the image's name; misbehaves on request."""

    before: Callable[[Question], None] = lambda _: None
    """Called before each answer."""
    asked: list[str] = field(default_factory=list)
    address: str = "http://judge:8000/v1#m"

    @property
    def identity(self) -> Mapping[str, str]:
        return {"model": "m"}

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(images_per_question=1, logprobs=False)

    @property
    def usage(self) -> JudgeUsage:
        n = len(self.asked)
        return JudgeUsage(replies=n, tokens_in=100 * n, tokens_out=n, cost_usd=n / 1000)

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        for question in questions:
            self.before(question)
            self.asked.append(question.image_id)
            is_yes = sum(question.image_id.encode()) % 3 != 0
            text = "yes" if is_yes else "no"
            reply = Reply(text=text, model="m", tokens_in=100, tokens_out=1)
            yield Answer(question=question, status="scored", reply=reply, values=(float(is_yes),))


def about(image: GeneratedImage) -> list[Question]:
    part = ImagePart.of(image)
    return [
        yes_no_question(
            "Red?", [part], image_id=image.id, question_id="red", answer_format=YesNoText()
        )
    ]


def scored(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    del image
    return [verdict_from(answer) for answer in answers]


def rows(outcome: Outcome) -> list[Any]:
    verdicts = outcome.folder.verdicts(outcome.evaluation)
    return sorted((one.image_sha256, one.verdict.image_id, repr(one.verdict)) for one in verdicts)
