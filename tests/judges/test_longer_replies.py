"""A judge that is asked again with a longer bound, where it has not answered yet."""

from __future__ import annotations

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.longer_replies import LongerRepliesJudge, holds_no_answer
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.judges.yesno import YesNoText
from alphabench.questions import Question, Reply, ReplySampling


def asked(name: str) -> Question:
    return Question(
        image_id="0/0",
        id=name,
        parts=("Is it?",),
        sampling=ReplySampling(max_tokens=4),
        answer_format=YesNoText(),
    )


def test_only_what_holds_no_answer_is_asked_again_with_the_next_bound() -> None:
    def script(question: Question) -> ScriptedReply:
        enough = {"now": 0, "later": 16, "last": 64, "never": 10**9, "maybe": 0, "broken": 0}
        if question.id == "broken":
            return Mishap(kind="server_error")
        if question.sampling.max_tokens < enough[question.id]:
            return Reply(text="<think>hm", model="m", finish_reason="length")
        return "perhaps" if question.id == "maybe" else "yes"

    scripted = ScriptedJudge(script)
    judge = LongerRepliesJudge(judge=scripted, bounds=(16, 64), thinks=True)
    names = ["now", "later", "last", "never", "maybe", "broken"]
    answers = list(judge.ask(map(asked, names)))
    assert [answer.question.id for answer in answers] == names
    assert [answer.status for answer in answers] == [
        "scored", "scored", "scored", "unparsed", "unparsed", "failed",
    ]  # fmt: skip
    counts = [scripted.asked.count(("0/0", name)) for name in names]
    assert counts == [1, 2, 3, 3, 1, 1]
    assert [answer.question.sampling.max_tokens for answer in answers] == [4, 16, 64, 64, 4, 4]
    assert judge.identity == scripted.identity
    assert judge.capabilities == scripted.capabilities


@pytest.mark.parametrize(
    ("reply", "plain", "thinking"),
    [
        (Reply(text="yes", model="m"), False, False),
        (Reply(text="", model="m"), True, True),
        (Reply(text="", model="m", finish_reason="length", thought="hm"), True, True),
        (Reply(text="<think>hm", model="m"), True, True),
        (Reply(text="hm yes no", model="m", finish_reason="length"), False, True),
        (Reply(text="hm</think>\n\nno", model="m"), False, False),
    ],
)
def test_an_empty_reply_and_a_thought_without_an_end_hold_no_answer(
    reply: Reply, plain: bool, thinking: bool
) -> None:
    assert holds_no_answer(reply, thinks=False) == plain
    assert holds_no_answer(reply, thinks=True) == thinking


def test_answers_before_an_error_that_stops_the_judge_are_kept() -> None:
    def script(question: Question) -> ScriptedReply:
        if question.sampling.max_tokens > 4:
            return Mishap(kind="wrong_model")
        return "yes" if question.id == "a" else Reply(text="", model="m", finish_reason="length")

    answers = LongerRepliesJudge(judge=ScriptedJudge(script), bounds=(8,), thinks=False).ask(
        map(asked, "ab")
    )
    assert next(answers).values == (1.0,)
    assert next(answers).status == "unparsed"
    with pytest.raises(AlphaBenchError, match="another-model"):
        next(answers)
