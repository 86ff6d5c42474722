"""Whether prompts carry what rewards and tasks read of them, found before anything is generated.

A reward is an evaluator of the harness on other prompts than its own benchmark's; what it looks up
in their facts and does not find would end a training after its first validation. Asks no judge and
opens no image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from alphabench.core.errors import AlphaBenchError
from alphabench.detections.geneval_rules import Rules
from alphabench.evaluators.detection.detection_evaluator import ObjectEvaluator
from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.interfaces import Evaluator, Selective
from alphabench.questions import Answer
from alphabench.types import GeneratedImage, ImageRequest, Sample
from alphagrpo.reward_functions import SOURCE, EvaluatorReward, WeightedSum, sample_of
from alphatrainers.protocols import RewardFunction
from alphatrainers.trajectory import TrainingPrompt


def refuse_unfit(name: str, reward: RewardFunction, prompts: Sequence[TrainingPrompt]) -> None:
    """Refuses a reward that cannot judge each of the prompts; parts of sums count.

    Raises:
        AlphaBenchError: naming the reward, a prompt and what it lacks.
    """
    if isinstance(reward, WeightedSum):
        for part, one in reward.rewards.items():
            refuse_unfit(f"{name}.{part}", one, prompts)
    if not isinstance(reward, EvaluatorReward):
        return
    for prompt in prompts:
        lacks = _lacks(reward.evaluator, sample_of(prompt))
        if lacks is not None:
            raise AlphaBenchError(
                f"the reward {name!r} cannot judge the prompt {prompt.text!r}: {lacks}",
                hint="take prompts with the facts of its benchmark (prompts.source=small: has "
                "GenEval's, a benchmark's name its own), or a reward that reads no facts, such as "
                "kind holistic",
            )


def _lacks(evaluator: Evaluator, sample: Sample) -> str | None:
    """What the evaluator would miss in a sample; None where it misses nothing."""
    request = ImageRequest(sample=sample, index=0, seed=0)
    try:
        if isinstance(evaluator, ObjectEvaluator):
            _read_rules(sample.facts)
        elif isinstance(evaluator, JudgeEvaluator):
            _ask_and_settle(evaluator, request)
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


def _ask_and_settle(evaluator: JudgeEvaluator, request: ImageRequest) -> None:
    """As for an image about which no question was answered."""
    image = GeneratedImage(
        request=request,
        path=request.sample.source_image or Path("none.png"),
        sha256=hashlib.sha256().hexdigest(),
        seconds=0.0,
    )
    questions = evaluator.ask(image)
    if not questions:
        raise ValueError("it asks nothing about such a prompt")
    evaluator.settle(image, [Answer(question=one, status="failed") for one in questions])


def refuse_sourceless(prompts: Sequence[TrainingPrompt]) -> None:
    """Refuses prompts that do not name the picture to be edited, or one that is not there.

    Raises:
        AlphaBenchError: naming the first.
    """
    for prompt in prompts:
        source = prompt.facts.get(SOURCE)
        if not isinstance(source, str):
            raise AlphaBenchError(
                f"the prompt {prompt.text!r} names no picture to edit",
                hint=f"give each row of the prompts its {SOURCE!r}, or train another task",
            )
        if not Path(source).is_file():
            raise AlphaBenchError(
                f"the picture {source!r} of the prompt {prompt.text!r} does not exist",
                hint="paths are relative to the file of prompts",
            )
