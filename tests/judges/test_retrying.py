"""Asking again what could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.retrying import RetryingJudge
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.judges.yesno import YesNoText, yes_no_question
from alphabench.questions import Answer, ImagePart, Question


def questions(n: int) -> list[Question]:
    picture = ImagePart(path=Path("a.png"), sha256="0" * 64)
    return [
        yes_no_question(
            "Is it?", [picture], image_id=f"{i}/0", question_id="q", answer_format=YesNoText()
        )
        for i in range(n)
    ]


def test_only_what_could_not_be_read_is_asked_again_and_the_order_stays() -> None:
    def said(question: Question) -> ScriptedReply:
        return "hm" if question.image_id == "1/0" and question.repeat < 2 else "yes"

    judge = ScriptedJudge(said)
    answers = list(RetryingJudge(judge=judge, tries=5).ask(iter(questions(3))))
    assert [a.question.image_id for a in answers] == ["0/0", "1/0", "2/0"]
    assert [a.status for a in answers] == ["scored"] * 3
    assert [image for image, _ in judge.asked] == ["0/0", "1/0", "2/0", "1/0", "1/0"]


@pytest.mark.parametrize("kind", ["refusal", "filtered", "server_error"])
def test_what_the_host_refuses_or_fails_is_left_alone(kind: str) -> None:
    judge = ScriptedJudge(lambda _: Mishap(kind=kind))  # type: ignore[arg-type]
    (answer,) = RetryingJudge(judge=judge, tries=3).ask(questions(1))
    assert answer.status in ("refused", "failed")
    assert len(judge.asked) == 1


def test_a_refusal_in_prose_is_asked_again_as_official_scripts_do() -> None:
    said = ["I can't help with that.", "", "no."]
    judge = ScriptedJudge(lambda question: said[question.repeat])
    (answer,) = RetryingJudge(judge=judge, tries=3).ask(questions(1))
    assert answer.values == (0.0,)
    (answer,) = RetryingJudge(judge=judge, tries=2).ask(questions(1))
    assert answer.status == "unparsed"


def test_it_is_the_judge_that_it_asks() -> None:
    judge = ScriptedJudge("yes", name="j", images_per_question=3)
    persistent = RetryingJudge(judge=judge, tries=2)
    assert persistent.identity == judge.identity
    assert persistent.capabilities == judge.capabilities
    persistent.shake_hands(judge.capabilities)
    with pytest.raises(ValueError, match="1 or more"):
        RetryingJudge(judge=judge, tries=0)


def test_what_was_answered_comes_before_the_error_that_stopped_the_judge() -> None:
    class Stopped(ScriptedJudge):
        def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
            asked = list(questions)
            if asked[0].repeat == 0:
                yield from super().ask(asked)
                return
            yield from super().ask(asked[:1])
            raise AlphaBenchError("out of credit", hint="add some")

    judge = Stopped(lambda asked: Mishap(kind="garbage") if asked.repeat == 0 else "yes")
    answers: list[Answer] = []
    with pytest.raises(AlphaBenchError, match="out of credit"):
        answers.extend(answer for answer in RetryingJudge(judge=judge, tries=3).ask(questions(3)))
    assert [a.status for a in answers] == ["scored", "unparsed", "unparsed"]
