"""Rewards of trajectories: evaluators of the harness, text formats, and weighted sums of these.

An evaluator sees the last picture of a trajectory as it would see a generated image, with what is
known of the prompt (`TrainingPrompt.facts`) in the place of a sample's facts. What cannot be scored
has no reward and says why; a batch of which nobody answered anything is a judge that is away. Knows
no model that draws.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from alphabench.core.errors import AlphaBenchError, JudgeUnavailableError
from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.interfaces import Evaluator
from alphabench.judges.handshake import VettedJudge
from alphabench.judges.openai.budget import Account, Prices
from alphabench.questions import Judge, Question, Reply, ReplySampling
from alphabench.types import GeneratedImage, ImageRequest, Sample, Verdict
from alphatrainers.protocols import RewardFunction, Score
from alphatrainers.trajectory import TrainingPrompt, Trajectory

OPEN_TAG, CLOSE_TAG = "<think>", "</think>"
SOURCE: Final = "source_image"
"""The key in `TrainingPrompt.facts` of the path of a picture that is to be edited."""
GROUP: Final = "group"
_LOGGED: Final = ("semantic", "quality")
QUESTIONS: Final = "questions"
"""Part of a score: how many questions about the picture its judge was asked."""


def sample_of(prompt: TrainingPrompt) -> Sample:
    """The prompt as evaluators know it."""
    facts = {key: value for key, value in prompt.facts.items() if key not in (SOURCE, GROUP)}
    source = prompt.facts.get(SOURCE)
    return Sample(
        id=hashlib.sha256(prompt.id.encode()).hexdigest()[:16],
        prompt=prompt.text,
        group=str(prompt.facts.get(GROUP, "all")),
        facts=facts,
        source_image=Path(str(source)) if source is not None else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorReward:
    """What an evaluator of the harness says of the last picture, as the mean of its verdicts."""

    evaluator: Evaluator

    @property
    def identity(self) -> Mapping[str, str]:
        return self.evaluator.identity

    def score(self, trajectories: Sequence[Trajectory]) -> list[Score]:
        """See `alphatrainers.protocols.Reward`.

        Raises:
            JudgeUnavailableError: every question of the batch failed, by no fault of a picture, or
                the judge itself gave up.
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
            _refuse_outage([one for of in verdicts.values() for one in of])
        scores = [_score(verdicts[image.id]) for image in images]
        return _priced(scores, self._judge, spent_before)

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


@runtime_checkable
class KeepsAccount(Protocol):
    """A judge that books what its answers cost."""

    account: Account


def spent_usd(judge: object) -> float | None:
    """What a judge has cost since it was opened; None where nobody tells its prices."""
    if isinstance(judge, VettedJudge):
        return spent_usd(judge.tested)
    if not isinstance(judge, KeepsAccount) or judge.account.prices == Prices():
        return None
    return judge.account.spent_usd


def _priced(scores: list[Score], judge: Judge | None, spent_before: float | None) -> list[Score]:
    """The scores, each with an equal share of what was spent on them together."""
    spent = spent_usd(judge)
    if spent is None or spent_before is None or not scores:
        return scores
    return [replace(one, cost_usd=(spent - spent_before) / len(scores)) for one in scores]


def _stored(trajectory: Trajectory, index: int, folder: Path) -> GeneratedImage:
    sample = sample_of(trajectory.program.prompt)
    path = folder / f"{index}.png"
    trajectory.images[-1].image.convert("RGB").save(path)
    return GeneratedImage(
        request=ImageRequest(sample=sample, index=index, seed=0),
        path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        seconds=0.0,
    )


def _refuse_outage(verdicts: Sequence[Verdict]) -> None:
    """One picture can be at fault for one failure; for all of a batch the judge is."""
    if verdicts and all(verdict.status == "failed" for verdict in verdicts):
        raise JudgeUnavailableError(_reason(verdicts[0]))


def _score(verdicts: Sequence[Verdict]) -> Score:
    values = [verdict.value for verdict in verdicts if verdict.value is not None]
    if not verdicts or len(values) < len(verdicts):
        unscored = next((one for one in verdicts if one.value is None), None)
        return Score(value=None, reason=_reason(unscored) if unscored else "nothing was asked")
    detail = verdicts[0].detail
    parts = {key: float(detail[key]) for key in _LOGGED if isinstance(detail.get(key), int | float)}
    if isinstance(asked := detail.get("questions"), list):
        parts[QUESTIONS] = float(len(asked))
    return Score(value=math.fsum(values) / len(values), parts=parts)


def _reason(verdict: Verdict) -> str:
    detail = verdict.detail
    asked = detail.get("questions") or ()
    said = [str(detail["reason"])] if detail.get("reason") else []
    said += [str(one["reason"]) for one in asked if one.get("reason")][:1]
    return f"{verdict.status}: {': '.join(said) or 'no reason given'}"


@dataclass(frozen=True, slots=True)
class ThinkTags:
    """1 where the thought stands between its tags and nothing beside it, else 0 (AlphaGRPO).

    A trajectory in which nothing was to be written gets 0 too, as does its whole group.
    """

    @property
    def identity(self) -> Mapping[str, str]:
        return {"kind": "think_tags", "version": "1"}

    def score(self, trajectories: Sequence[Trajectory]) -> list[Score]:
        """See `alphatrainers.protocols.Reward`."""
        return [Score(value=float(tagged(one.texts[-1].text) if one.texts else False))
                for one in trajectories]  # fmt: skip


def tagged(text: str) -> bool:
    """Whether the whole text stands between the tags of a thought, and they occur only there."""
    words = text.strip()
    framed = words.startswith(OPEN_TAG) and words.endswith(CLOSE_TAG)
    return framed and words.count(OPEN_TAG) == words.count(CLOSE_TAG) == 1


_ORDERS: Final = (
    "add adjust alter change correct cut darken delete draw enlarge erase fix give increase insert"
    " keep let lighten make mend modify move paint place put recolor recolour reduce remove render"
    " replace resize rotate shift shrink swap take turn"
)
"""Verbs that an order begins with."""
_FAULTS: Final = re.compile(
    r"\b(not|no|missing|lacks?|lacking|wrong|instead|should|should be|extra|exchanged|too many|"
    r"too few|incorrect|however|but|without|fails?)\b",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"[^\W\d_]+")
_COMMON: Final = (
    "a an the of and on in to at is are with photo picture image drawing draw show me by"
)


@dataclass(frozen=True, slots=True)
class ReflectionRule:
    """1 where the text names what was wished, what is wrong, and ends with an order; else 0.

    By words alone: a cheap stand-in for a judge, in English only.
    """

    @property
    def identity(self) -> Mapping[str, str]:
        words = hashlib.sha256(f"{_ORDERS} {_FAULTS.pattern}".encode()).hexdigest()
        return {"kind": "reflection_rule", "version": "1", "words": words[:16]}

    def score(self, trajectories: Sequence[Trajectory]) -> list[Score]:
        """See `alphatrainers.protocols.Reward`."""
        return [
            Score(value=float(reflects(one.texts[-1].text, one.program.prompt.text)))
            if one.texts
            else Score(value=0.0)
            for one in trajectories
        ]


def reflects(text: str, prompt: str) -> bool:
    """Whether a text restates the wish, names a fault and ends with an order."""
    words = text.replace(OPEN_TAG, " ").replace(CLOSE_TAG, " ").strip()
    wished = _content(prompt)
    sentences = [one for one in re.split(r"[.!?;\n]+", words) if one.strip()]
    if not sentences:
        return False
    last = _WORD.findall(sentences[-1].casefold())
    names_wish = bool(wished & _content(words))
    return names_wish and bool(_FAULTS.search(words)) and bool(last) and last[0] in _ORDERS.split()


def _content(text: str) -> set[str]:
    return {word.removesuffix("s") for word in _WORD.findall(text.casefold())} - {*_COMMON.split()}


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
        wording = hashlib.sha256(_JUDGING.encode()).hexdigest()
        return {"contract": "reflection", "version": "1", "wording": f"own:{wording[:16]}"}

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
        said = [one["reflects"] for one in objects if "reflects" in one]
        value = said[0] if len(set(map(repr, said))) == 1 else None
        return (float(value),) if value in (0, 1) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectionJudge:
    """The same three demands, judged by a language model from the words alone."""

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
        asked = [n for n, one in enumerate(trajectories) if one.texts]
        spent_before = spent_usd(self.judge)
        try:
            answers = list(self.judge.ask(self._question(trajectories[n], n) for n in asked))
        except AlphaBenchError as error:
            raise JudgeUnavailableError(str(error)) from error
        if answers and all(answer.status == "failed" for answer in answers):
            raise JudgeUnavailableError(answers[0].reason)
        scores = [Score(value=0.0)] * len(trajectories)
        for number, answer in zip(asked, answers, strict=True):
            scores[number] = (
                Score(value=None, reason=f"{answer.status}: {answer.reason or 'no reason given'}")
                if answer.values is None
                else Score(value=answer.values[0])
            )
        return _priced(scores, self.judge, spent_before)

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
class WeightedSum:
    """Several rewards as one; unscored where any of them is."""

    rewards: Mapping[str, RewardFunction]
    weights: Mapping[str, float]

    @property
    def identity(self) -> Mapping[str, str]:
        found = {"kind": "sum"}
        for name, reward in self.rewards.items():
            found[f"{name}.weight"] = repr(self.weights[name])
            found |= {f"{name}.{key}": value for key, value in reward.identity.items()}
        return found

    def score(self, trajectories: Sequence[Trajectory]) -> list[Score]:
        """See `alphatrainers.protocols.Reward`."""
        columns = {name: reward.score(trajectories) for name, reward in self.rewards.items()}
        return [
            self._added({name: column[row] for name, column in columns.items()})
            for row in range(len(trajectories))
        ]

    def _added(self, scores: Mapping[str, Score]) -> Score:
        lacking = [f"{name}: {one.reason}" for name, one in scores.items() if one.value is None]
        costs = [one.cost_usd for one in scores.values() if one.cost_usd is not None]
        cost = math.fsum(costs) if costs else None
        if lacking:
            return Score(value=None, reason="; ".join(lacking), cost_usd=cost)
        values = {name: one.value for name, one in scores.items() if one.value is not None}
        total = math.fsum(self.weights[name] * value for name, value in values.items())
        return Score(value=total, parts=values, cost_usd=cost)
