"""Rewards by evaluators: what a judge says of an image; a failure is never a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from alphabench.core.errors import JudgeUnavailableError, TrainingStoppedError
from alphabench.judges import open_judge
from alphabench.judges.answer_cache import AnswerCache
from alphabench.judges.cached_judge import CachedJudge
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import Question
from alphagrpo.dvreward.evaluators import dvreward_evaluator, holistic_evaluator
from alphagrpo.rewards.evaluator_rewards import EvaluatorReward
from alphagrpo.rewards.weighted_sum import WeightedSum
from alphatrainers.protocols import Score
from alphatrainers.reward_scoring import RewardUse, Scorer, ScoringClock
from tests.support.dvreward_judges import brightness_of
from tests.support.judge_server import JudgeServer, Say, serving
from tests.support.made_recipes import about_a_dog, wrote


def values(scores: Sequence[Score]) -> list[float | None]:
    return [score.value for score in scores]


def test_dvreward_sees_the_image_and_the_questions_of_its_prompt() -> None:
    judge = ScriptedJudge(brightness_of)
    reward = EvaluatorReward(evaluator=dvreward_evaluator(judge))
    scores = reward.score(about_a_dog(0, 51, 255))
    assert values(scores) == pytest.approx([0.0, 0.2, 1.0])
    assert scores[1].parts == pytest.approx({"semantic": 0.2, "quality": 0.2, "questions": 4})
    # Is there a dog, is it red, and two about how it is generated.
    assert len(judge.asked) == 3 * 4


def test_the_holistic_grade_needs_no_questions() -> None:
    judge = ScriptedJudge({"consistency": '{"grades": [4]}', "quality": '{"grades": [9, 10]}'})
    reward = EvaluatorReward(evaluator=holistic_evaluator(judge))
    assert values(reward.score([wrote("x")])) == pytest.approx([0.6])


def test_one_image_that_cannot_be_judged_costs_no_other_and_is_no_zero() -> None:
    def moody(question: Question) -> ScriptedReply:
        bright = brightness_of(question)
        return Mishap(kind="refusal") if bright < 0.1 else bright

    reward = EvaluatorReward(evaluator=dvreward_evaluator(ScriptedJudge(moody)))
    scores = reward.score(about_a_dog(0, 255))
    assert scores[0].value is None
    assert "refused" in scores[0].reason
    assert scores[1].value == 1.0


def test_what_a_judge_charged_is_shared_among_its_scores_and_unknown_prices_are_no_zero() -> None:
    yes = Say(logprobs=[("Yes", -0.1), ("No", -2.4)])  # and books 100 tokens a question
    with serving(JudgeServer(lambda _: yes)) as server:
        costs = []
        for prices in ("&price_in=10", ""):
            judge = open_judge(f"{server.spec}?handshake=off{prices}")
            reward = EvaluatorReward(evaluator=dvreward_evaluator(judge))
            costs.append([score.cost_usd for score in reward.score(about_a_dog(0, 51))])
    assert costs == [[pytest.approx(4 * 100 * 10 / 1e6)] * 2, [None, None]]


def test_a_judge_that_is_down_is_waited_for_and_then_stops_the_run() -> None:
    times = iter(range(100))
    broken = [True, True, False]

    def flaky(question: Question) -> ScriptedReply:
        del question
        return Mishap(kind="server_error") if broken[0] else 1.0

    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        broken.pop(0)

    reward = EvaluatorReward(evaluator=dvreward_evaluator(ScriptedJudge(flaky)))
    clock = ScoringClock(now=lambda: float(next(times)), sleep=sleep)
    uses = {"dv": RewardUse(reward=reward)}
    with Scorer(uses, patience_seconds=1000.0, clock=clock) as scorer:
        (scored,) = scorer.submit(about_a_dog(9)).result()
    assert scored.scores["dv"].value == 1.0
    assert len(slept) == 2
    broken[:] = [True] * 50
    with (
        pytest.raises(TrainingStoppedError, match="could not be reached"),
        Scorer(uses, patience_seconds=5.0, clock=clock) as scorer,
    ):
        scorer.submit(about_a_dog(9)).result()
    with pytest.raises(JudgeUnavailableError, match="500"):
        reward.score(about_a_dog(9, 10))


def test_a_constant_reward_gives_no_advantage_at_all() -> None:
    from alphatrainers.reward_scoring import advantages_of, row_of
    from alphatrainers.settings import AdvantageSettings

    reward = EvaluatorReward(evaluator=dvreward_evaluator(ScriptedJudge(math.sqrt(0.3))))
    uses = {"dv": RewardUse(reward=reward)}
    with Scorer(uses, patience_seconds=1.0) as scorer:
        rows = [row_of(one) for one in scorer.submit(about_a_dog(1, 2, 3)).result()]
    found = advantages_of(rows, uses, AdvantageSettings())
    assert found.value_B.tolist() == [0.0, 0.0, 0.0]
    assert int(found.n_flat_groups) == 1


def test_a_repeat_is_not_answered_from_the_cache_and_no_attempt_at_it_either(
    tmp_path: Path,
) -> None:
    asked: list[int] = []

    def remembered(question: Question) -> float:
        asked.append(question.repeat)
        return 0.5 + len(asked) / 100.0

    judge = CachedJudge(judge=ScriptedJudge(remembered), cache=AnswerCache(tmp_path))
    reward = EvaluatorReward(evaluator=dvreward_evaluator(judge))
    total = WeightedSum(rewards={"dv": reward}, weights={"dv": 1.0})
    first = reward.score(about_a_dog(9))
    assert reward.score(about_a_dog(9)) == first, "from the cache"
    again, other = (total.score_repeat(about_a_dog(9), repeat) for repeat in (1, 2))
    assert len({first[0].value, again[0].value, other[0].value}) == 3
    assert set(asked) == {0, 1000, 2000}
