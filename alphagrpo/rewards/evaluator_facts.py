"""Which facts of a sample an evaluator would miss. Asks no judge and opens no image."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from alphabench.core.errors import AlphaBenchError
from alphabench.detections.geneval_rules import Rules
from alphabench.evaluators.detection.detection_evaluator import ObjectEvaluator
from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.interfaces import Evaluator, Selective
from alphabench.questions import Answer
from alphabench.types import GeneratedImage, ImageRequest, Sample


def missing_of_sample(evaluator: Evaluator, sample: Sample) -> str | None:
    """What the evaluator would miss in a sample; None where it misses nothing."""
    request = ImageRequest(sample=sample, index=0, seed=0)
    try:
        if isinstance(evaluator, ObjectEvaluator):
            _read_rules(sample.facts)
        elif isinstance(evaluator, JudgeEvaluator):
            _ask_and_score(evaluator, request)
        if isinstance(evaluator, Selective):
            return next(iter(evaluator.refusals([request]).values()), None)
    except KeyError as error:
        return f"it has no fact {error.args[0]!r}"
    except AlphaBenchError as error:
        return error.message
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        return f"its facts are of another kind ({error})"
    return None


def _read_rules(facts: Mapping[str, object]) -> None:
    facts["tag"]
    Rules.from_facts(dict(facts))


def _ask_and_score(evaluator: JudgeEvaluator, request: ImageRequest) -> None:
    """As for an image about which no question was answered."""
    image = GeneratedImage(
        request=request,
        path=request.sample.source_image or Path("none.png"),
        sha256=hashlib.sha256().hexdigest(),
        seconds=0.0,
    )
    questions = evaluator.questions_about(image)
    if not questions:
        raise ValueError("it asks nothing about such a prompt")
    evaluator.score(image, [Answer(question=one, status="failed") for one in questions])
