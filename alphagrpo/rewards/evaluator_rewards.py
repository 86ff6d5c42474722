"""Rewards by evaluators of the harness: DVReward, the holistic grade, or a benchmark's own.

The evaluator sees the last image of a trajectory as it would see a generated image, with the facts
of the prompt in the place of a sample's facts. What cannot be scored has no reward and a reason. A
batch of which no question was answered means that the judge is away. Knows no model that generates.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from alphabench.benchmarks import open_benchmark
from alphabench.core.errors import AlphaBenchError, JudgeUnavailableError
from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.interfaces import Evaluator
from alphabench.judges import open_judge
from alphabench.judges.repeated_judge import asked_again
from alphabench.questions import Judge, Question
from alphabench.runs import self_test
from alphabench.types import GeneratedImage, ImageRequest, Verdict
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.dvreward.evaluators import open_evaluator
from alphagrpo.prompt_facts import evaluator_sample
from alphagrpo.rewards.evaluator_facts import missing_of_sample
from alphagrpo.rewards.judge_costs import spent_usd, with_costs
from alphagrpo.rewards.reward_kinds import RewardKind
from alphatrainers.protocols import Score
from alphatrainers.trajectory import TrainingPrompt, Trajectory

_LOGGED: Final = ("semantic", "quality")
QUESTIONS: Final = "questions"
"""Key in `Score.parts`: how many questions the judge was asked about the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorReward:
    """The mean of an evaluator's verdicts on the last image."""

    evaluator: Evaluator

    @property
    def identity(self) -> Mapping[str, str]:
        return self.evaluator.identity

    def score(self, trajectories: Sequence[Trajectory]) -> list[Score]:
        """See `alphatrainers.protocols.Reward`.

        Raises:
            JudgeUnavailableError: every question of the batch failed, or the judge raised an error.
        """
        spent_before = spent_usd(self._judge)
        with tempfile.TemporaryDirectory(prefix="reward-") as folder:
            images = [
                _stored(trajectory, index, Path(folder))
                for index, trajectory in enumerate(trajectories)
            ]
            verdicts: dict[str, list[Verdict]] = {image.id: [] for image in images}
            for verdict in self._verdicts(images):
                verdicts[verdict.image_id].append(verdict)
        if isinstance(self.evaluator, JudgeEvaluator):
            _refuse_outage([one for some in verdicts.values() for one in some])
        scores = [_score(verdicts[image.id]) for image in images]
        return with_costs(scores, self._judge, spent_before)

    def score_repeat(self, trajectories: Sequence[Trajectory], repeat: int) -> list[Score]:
        """See `alphatrainers.protocols.RepeatableReward`."""
        judged = self.evaluator
        if not isinstance(judged, JudgeEvaluator):
            return self.score(trajectories)
        again = _AskedAgain(judged.questions_about, repeat)
        return replace(self, evaluator=replace(judged, questions_about=again)).score(trajectories)

    def missing_facts(self, prompt: TrainingPrompt) -> str | None:
        """See `FactReadingReward`."""
        return missing_of_sample(self.evaluator, evaluator_sample(prompt))

    def self_test(self) -> None:
        """See `SelfTestedReward`."""
        self_test.require_self_test(self.evaluator)

    @property
    def _judge(self) -> Judge | None:
        return self.evaluator.judge if isinstance(self.evaluator, JudgeEvaluator) else None

    def _verdicts(self, images: Sequence[GeneratedImage]) -> list[Verdict]:
        try:
            return list(self.evaluator.evaluate(images))
        except AlphaBenchError as error:
            if not isinstance(self.evaluator, JudgeEvaluator):
                raise
            raise JudgeUnavailableError(str(error)) from error


@dataclass(frozen=True, slots=True)
class _AskedAgain:
    questions_about: Callable[[GeneratedImage], Sequence[Question]]
    repeat: int

    def __call__(self, image: GeneratedImage) -> list[Question]:
        return [asked_again(question, self.repeat) for question in self.questions_about(image)]


def _stored(trajectory: Trajectory, index: int, folder: Path) -> GeneratedImage:
    sample = evaluator_sample(trajectory.program.prompt)
    path = folder / f"{index}.png"
    trajectory.final_images[-1].convert("RGB").save(path)
    return GeneratedImage(
        request=ImageRequest(sample=sample, index=index, seed=0),
        path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        seconds=0.0,
    )


def _refuse_outage(verdicts: Sequence[Verdict]) -> None:
    """One failure can be due to its image; when all of a batch fail, the judge is unavailable."""
    if verdicts and all(verdict.status == "failed" for verdict in verdicts):
        raise JudgeUnavailableError(_reason(verdicts[0]))


def _score(verdicts: Sequence[Verdict]) -> Score:
    values = [verdict.value for verdict in verdicts if verdict.value is not None]
    if not verdicts or len(values) < len(verdicts):
        unscored = next((one for one in verdicts if one.value is None), None)
        return Score(value=None, reason=_reason(unscored) if unscored else "no question was asked")
    detail = verdicts[0].detail
    parts = {key: float(detail[key]) for key in _LOGGED if isinstance(detail.get(key), int | float)}
    if isinstance(questions := detail.get("questions"), list):
        parts[QUESTIONS] = float(len(questions))
    return Score(value=math.fsum(values) / len(values), parts=parts)


def _reason(verdict: Verdict) -> str:
    detail = verdict.detail
    questions = detail.get("questions") or ()
    reasons = [str(detail["reason"])] if detail.get("reason") else []
    reasons += [str(one["reason"]) for one in questions if one.get("reason")][:1]
    return f"{verdict.status}: {': '.join(reasons) or 'no reason given'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedSettings:
    """Keys of kinds `dvreward` and `holistic`."""

    judge: str
    usd_per_million_tokens: float = 0.0
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorSettings:
    """Keys of kind `evaluator`."""

    benchmark: str
    evaluator: str | None = None
    judge: str | None = None
    usd_per_million_tokens: float = 0.0
    options: Mapping[str, object] = field(default_factory=dict)


def _build_dvreward(settings: JudgedSettings, context: AssemblyContext) -> EvaluatorReward:
    return _build_judged("dvreward", settings, context)


def _build_holistic(settings: JudgedSettings, context: AssemblyContext) -> EvaluatorReward:
    return _build_judged("holistic", settings, context)


def _build_judged(name: str, settings: JudgedSettings, context: AssemblyContext) -> EvaluatorReward:
    judge = open_judge(settings.judge, device=context.device)
    spec = f"{name}{_query(settings.options)}"
    return EvaluatorReward(evaluator=open_evaluator(spec, judge, protocol="official"))


def _build_evaluator(settings: EvaluatorSettings, context: AssemblyContext) -> EvaluatorReward:
    benchmark = open_benchmark(settings.benchmark, data=context.data)
    judge = None if settings.judge is None else open_judge(settings.judge, device=context.device)
    name = settings.evaluator or benchmark.card.evaluators[0]
    spec = f"{name}{_query(settings.options)}"
    return EvaluatorReward(evaluator=benchmark.evaluator(spec, judge=judge, device=context.device))


def _query(options: Mapping[str, object]) -> str:
    text = "&".join(f"{key}={value}" for key, value in options.items())
    return f"?{text}" if text else ""


DVREWARD: Final = RewardKind(
    settings=JudgedSettings,
    build=_build_dvreward,
    judges="image",
    needs_questions=True,
    judge_calls=20.0,
    judge_calls_small=5.0,
)
HOLISTIC: Final = RewardKind(
    settings=JudgedSettings, build=_build_holistic, judges="image", judge_calls=2.0
)
EVALUATOR: Final = RewardKind(settings=EvaluatorSettings, build=_build_evaluator, judges="image")
