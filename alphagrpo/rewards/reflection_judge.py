"""A language model judges whether the text is a reflection. It sees the text alone, no image."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from alphabench.core.errors import AlphaBenchError, JudgeUnavailableError
from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.judges import open_judge
from alphabench.judges.repeated_judge import asked_again
from alphabench.questions import Judge, Question, Reply, ReplySampling
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.rewards.judge_costs import spent_usd, with_costs
from alphagrpo.rewards.reward_kinds import RewardKind
from alphatrainers.protocols import Score
from alphatrainers.trajectory import Trajectory

_JUDGING: Final = """\
Somebody was asked for a picture of: {prompt}
They looked at their picture and wrote:
{text}

Does the writing (1) say again what was wished for, (2) name a definite fault of the picture, and \
(3) end with an instruction that mends it? Answer {{"reflects": 1}} if it does all three, else \
{{"reflects": 0}}, and nothing more. Writing that only describes a new picture does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflects:
    """A reply that states 1 or 0 as JSON."""

    @property
    def identity(self) -> Mapping[str, str]:
        digest = hashlib.sha256(_JUDGING.encode()).hexdigest()
        return {"contract": "reflection", "version": "1", "wording": f"own:{digest[:16]}"}

    @property
    def sampling(self) -> ReplySampling:
        return ReplySampling(max_tokens=64, temperature=0.0)

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        found = re.findall(r"\{[^{}]*\}", reply.text)
        try:
            objects = [parse_json(one) for one in found]
        except UnreadableFileError:
            return None
        # Objects that contradict each other state nothing; `true` is no number.
        stated = [one["reflects"] for one in objects if "reflects" in one]
        value = stated[0] if len(set(map(repr, stated))) == 1 else None
        return (float(value),) if value in (0, 1) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectionJudge:
    """The three demands of `ReflectionRule`, judged by a language model from the text alone."""

    judge: Judge
    answer_format: Reflects = field(default_factory=Reflects)

    @property
    def identity(self) -> Mapping[str, str]:
        judge = {f"judge.{key}": value for key, value in self.judge.identity.items()}
        return {"kind": "reflection_judge", **self.answer_format.identity, **judge}

    def score(self, trajectories: Sequence[Trajectory]) -> list[Score]:
        """See `alphatrainers.protocols.Reward`.

        Raises:
            JudgeUnavailableError: every question failed, or the judge itself gave up.
        """
        return self.score_repeat(trajectories, 0)

    def score_repeat(self, trajectories: Sequence[Trajectory], repeat: int) -> list[Score]:
        """See `alphatrainers.protocols.RepeatableReward`."""
        with_text = [n for n, one in enumerate(trajectories) if one.texts]
        spent_before = spent_usd(self.judge)
        try:
            questions = (self._question(trajectories[n], n) for n in with_text)
            answers = list(self.judge.ask(asked_again(one, repeat) for one in questions))
        except AlphaBenchError as error:
            raise JudgeUnavailableError(str(error)) from error
        if answers and all(answer.status == "failed" for answer in answers):
            raise JudgeUnavailableError(answers[0].reason)
        scores = [Score(value=0.0)] * len(trajectories)
        for number, answer in zip(with_text, answers, strict=True):
            scores[number] = (
                Score(value=None, reason=f"{answer.status}: {answer.reason or 'no reason given'}")
                if answer.values is None
                else Score(value=answer.values[0])
            )
        return with_costs(scores, self.judge, spent_before)

    def _question(self, trajectory: Trajectory, number: int) -> Question:
        prompt, text = trajectory.program.prompt.text, trajectory.texts[-1].text
        return Question(
            image_id=f"text/{number}",
            id="reflection",
            parts=(_JUDGING.format(prompt=json.dumps(prompt), text=json.dumps(text)),),
            sampling=self.answer_format.sampling,
            answer_format=self.answer_format,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectionJudgeSettings:
    """Keys of kind `reflection_judge`."""

    judge: str
    usd_per_million_tokens: float = 0.0


def _build(settings: ReflectionJudgeSettings, context: AssemblyContext) -> ReflectionJudge:
    return ReflectionJudge(judge=open_judge(settings.judge, device=context.device))


REFLECTION_JUDGE: Final = RewardKind(
    settings=ReflectionJudgeSettings, build=_build, judges="text", judge_calls=1.0
)
