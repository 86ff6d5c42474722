"""Words of synthetic scenes, which have no writing: objects and colours stand for them.

A judge is asked about each word with yes or no, and a word whose answer is yes counts as read. For
mini splits of benchmarks of text in images, whose facts list `text` and a question for each word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from alphabench.benchmarks.judged import needed_judge, own_yes_no_evaluator
from alphabench.benchmarks.text_accuracy import READ
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, evidence, verdict_from
from alphabench.questions import Answer, Judge
from alphabench.types import GeneratedImage, Verdict

Score = Callable[[GeneratedImage, Sequence[Answer]], list[Verdict]]


def wanted_text(facts: Mapping[str, Any]) -> str:
    """The text that should be in an image: its pieces, joined by a blank."""
    return " ".join(facts["text"])


def open_object_judge(judge: Judge | None, *, benchmark: str, score: Score) -> JudgeEvaluator:
    """The evaluator that asks about objects; AlphaBenchError without a judge.

    Args:
        judge: answers yes or no.
        benchmark: for the error.
        score: `named_words` with the verdict's id.
    """
    judge = needed_judge(judge, benchmark=benchmark)
    return own_yes_no_evaluator(judge, score, words="objects, asked one by one")


def named_words(
    image: GeneratedImage,
    answers: Sequence[Answer],
    *,
    question_id: str,
    text: str | None = None,
    compare: Callable[[str], Mapping[str, Any]] = lambda _: {},
) -> list[Verdict]:
    """One verdict from all answers about an image; without one of them it has no value.

    Args:
        image: the image.
        answers: about the words of the text, in order.
        question_id: of the verdict.
        text: None takes the sample's pieces.
        compare: what the verdict's detail has besides, from the words that were read.
    """
    text = wanted_text(image.request.sample.facts) if text is None else text
    for answer in answers:
        if answer.values is None:
            question = {"question": answer.question.id, "text": text}
            return [verdict_from(answer, question_id=question_id, detail=question)]
    pairs = zip(text.split(), answers, strict=True)
    words = [word for word, answer in pairs if answer.values and answer.values[0] == 1.0]
    detail = {**evidence(answers[-1]), "reply": " ".join(words), "text": text}
    detail |= {READ: " ".join(words), "matched": len(words), "expected": len(answers)}
    detail |= compare(detail[READ])
    return [
        Verdict(
            image_id=image.id,
            question_id=question_id,
            value=len(words) / len(answers),
            status="scored",
            detail=detail,
        )
    ]
