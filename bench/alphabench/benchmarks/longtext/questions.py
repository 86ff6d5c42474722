"""LongText-Bench's question to a judge: what text is in the image?

Upstream's wording is read at run time from its pinned script; the project's own is another
measurement. The synthetic scenes of `mini` have no writing: their objects and colours stand for
the words, and the judge is asked about each of them with yes or no.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from alphabench.benchmarks.judged import needed_judge
from alphabench.benchmarks.object_words import wanted_text
from alphabench.benchmarks.text_accuracy import transcription_verdict
from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.judges.transcription import (
    OWN_INSTRUCTION,
    TextMatch,
    Transcription,
    Unit,
    transcribed,
)
from alphabench.questions import Answer, ImagePart, Judge, Question, ReplySampling
from alphabench.types import GeneratedImage, ProtocolName, Verdict
from alphabench.upstream import UpstreamData, templates

QUESTION: Final = "text"
"""The id of the one verdict on an image: the share of its text that is there."""
SCRIPT: Final = "textbench/evaluate_text_reward.py"
_CONSTANT: Final = "ImageEvaluator.__init__.self.qwen_prompt"
_SAMPLING: Final = ReplySampling(max_tokens=1024, temperature=None)
"""As upstream's `generate`: with the checkpoint's own generation settings."""


def official_wording(data: UpstreamData) -> str:
    """Upstream's instruction; AlphaBenchError where its script is not fetched."""
    return parse_wording(templates.read_script(data, "longtext-judge", SCRIPT))


def parse_wording(source: bytes) -> str:
    """The instruction in `evaluate_text_reward.py`; AlphaBenchError where there is none."""
    found = templates.constants_of(source).get(_CONSTANT)
    if not found:
        raise templates.changed(SCRIPT, f"it has no {_CONSTANT.rpartition('.')[2]}")
    return found


def open_longtext_judge(
    judge: Judge | None, wording: str | None, unit: Unit, protocol: ProtocolName
) -> JudgeEvaluator:
    """The evaluator with the official instruction, or ours for None; AlphaBenchError: no judge."""
    judge = needed_judge(judge, benchmark="longtext")
    text = OWN_INSTRUCTION if wording is None else wording
    name = "own" if wording is None else "official"
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    ask = _Ask(text=text, unit=unit, strict=protocol == "strict")
    return JudgeEvaluator(
        judge=judge,
        questions_about=ask,
        score=_read_text,
        identity={**ask.format_for("a").identity, "wording": f"{name}:{digest}"},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    text: str
    unit: Unit
    strict: bool

    def format_for(self, target: str) -> Transcription:
        return Transcription(text=target, unit=self.unit, strict=self.strict)

    def __call__(self, image: GeneratedImage) -> list[Question]:
        return [
            Question(
                image_id=image.id,
                id=QUESTION,
                parts=(ImagePart.of(image), self.text),
                sampling=_SAMPLING,
                answer_format=self.format_for(wanted_text(image.request.sample.facts)),
            )
        ]


def _read_text(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    """The one verdict, with the transcription as upstream's files have it."""
    return [
        transcription_verdict(
            answer,
            text=wanted_text(image.request.sample.facts),
            read=lambda reply: transcribed(reply.text),
            counts=TextMatch._fields,
        )
        for answer in answers
    ]
