"""Rewards of the text alone: tags, reflections, and a judge that reads them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from alphabench.core.errors import JudgeUnavailableError
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import Question
from alphagrpo.rewards.reflection_judge import ReflectionJudge
from alphagrpo.rewards.text_rewards import ReflectionRule, ThinkTags, reflects, tagged
from alphatrainers.protocols import Score
from tests.support.made_recipes import about_a_dog, wrote


def values(scores: Sequence[Score]) -> list[float | None]:
    return [score.value for score in scores]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("<think>a plan</think>", True),
        ("  <think>a plan</think>\n", True),
        ("<think>a plan", False),
        ("a plan</think>", False),
        ("<think>a</think> and more", False),
        ("<think>a</think><think>b</think>", False),
        ("", False),
    ],
)
def test_a_thought_stands_between_its_tags_alone(text: str, right: bool) -> None:
    assert tagged(text) is right
    assert values(ThinkTags().score([wrote(text)])) == [float(right)]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("<think>the dog is blue, not red. Make the dog red.</think>", True),
        ("The dog is missing; add a red dog", True),
        ("Make the dog red.", False),
        ("The dog is blue, not red.", False),
        ("A sunny beach with palms. Add a boat.", False),
        ("", False),
    ],
)
def test_a_reflection_names_wish_fault_and_remedy(text: str, right: bool) -> None:
    assert reflects(text, "a photo of a red dog") is right
    assert values(ReflectionRule().score([wrote(text)])) == [float(right)]


def test_a_judge_of_reflections_reads_the_words_and_no_image() -> None:
    seen: list[Question] = []

    def said(question: Question) -> ScriptedReply:
        seen.append(question)
        text = str(question.parts[0])
        return (
            '{"reflects": 1}'
            if "good" in text
            else "no idea"
            if "odd" in text
            else '{"reflects": 0}'
        )

    reward = ReflectionJudge(judge=ScriptedJudge(said))
    scores = reward.score([wrote("good"), wrote("bad"), wrote("odd")])
    assert values(scores) == [1.0, 0.0, None]
    assert "unparsed" in scores[2].reason
    assert all(len(question.parts) == 1 for question in seen)
    with pytest.raises(JudgeUnavailableError):
        ReflectionJudge(judge=ScriptedJudge(lambda _: Mishap(kind="server_error"))).score(
            [wrote("good")]
        )


def test_where_nothing_was_to_be_written_a_format_earns_nothing() -> None:
    silent = about_a_dog(1)
    judge = ReflectionJudge(judge=ScriptedJudge('{"reflects": 1}'))
    for reward in (ThinkTags(), ReflectionRule(), judge):
        assert values(reward.score(silent)) == [0.0]
