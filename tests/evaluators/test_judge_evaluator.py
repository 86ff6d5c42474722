"""An evaluator made of a judge and a benchmark's questions."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.judge_evaluator import (
    LONGEST_TEXT,
    JudgeEvaluator,
    evidence,
    joint_verdict,
    verdict_from,
)
from alphabench.judges.handshake import VettedJudge
from alphabench.judges.parsing import RULES
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.judges.yesno import YesNoProbability, yes_no_question
from alphabench.questions import Answer, Capabilities, ImagePart, Question
from alphabench.types import GeneratedImage, ImageRequest, Sample, Verdict


def image(number: int, n_questions: int) -> GeneratedImage:
    sample = Sample(id=str(number), prompt="p", group="g", facts={"n": n_questions})
    request = ImageRequest(sample=sample, index=0, seed=0)
    return GeneratedImage(request=request, path=Path("x.png"), sha256="ab", seconds=0.0)


def questions_about(image: GeneratedImage) -> list[Question]:
    shown = ImagePart.of(image)
    return [
        yes_no_question(
            f"{n}?",
            [shown],
            image_id=image.id,
            question_id=str(n),
            answer_format=YesNoProbability(),
        )
        for n in range(image.request.sample.facts["n"])
    ]


def verdicts_on(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    """One verdict an answer, and one for images without any."""
    if not answers:
        return [Verdict(image_id=image.id, question_id="none", value=1.0, status="scored")]
    return [verdict_from(answer) for answer in answers]


def by_number(question: Question) -> ScriptedReply:
    return 0.75 if question.id == "0" else 0.25


def evaluator(judge: ScriptedJudge) -> JudgeEvaluator:
    return JudgeEvaluator(
        judge=judge,
        questions_about=questions_about,
        score=verdicts_on,
        identity={"wording": "own:1"},
    )


def test_every_image_gets_its_verdicts_in_order_also_those_without_questions() -> None:
    images = [image(n, count) for n, count in enumerate((0, 2, 0, 0, 1, 3, 0))]
    verdicts = list(evaluator(ScriptedJudge(by_number)).evaluate(images))
    assert [(v.image_id, v.question_id) for v in verdicts] == [
        ("0/0", "none"), ("1/0", "0"), ("1/0", "1"), ("2/0", "none"), ("3/0", "none"),
        ("4/0", "0"), ("5/0", "0"), ("5/0", "1"), ("5/0", "2"), ("6/0", "none"),
    ]  # fmt: skip
    assert verdicts[1].value == pytest.approx(0.75)
    assert list(evaluator(ScriptedJudge("yes")).evaluate([])) == []


def test_one_images_questions_are_asked_back_to_back() -> None:
    judge = ScriptedJudge(by_number)
    list(evaluator(judge).evaluate([image(n, 3) for n in range(4)]))
    assert judge.asked == [(f"{n}/0", str(q)) for n in range(4) for q in range(3)]


def test_what_was_not_answered_keeps_its_status_and_says_why() -> None:
    kinds = {"0": "server_error", "1": "garbage", "2": "filtered"}
    judge = ScriptedJudge(lambda q: Mishap(kind=kinds[q.id]))  # type: ignore[arg-type]
    verdicts = list(evaluator(judge).evaluate([image(0, 3)]))
    assert [v.status for v in verdicts] == ["failed", "unparsed", "refused"]
    assert all(v.value is None and v.detail["reason"] for v in verdicts)


def test_a_verdict_keeps_the_reply_but_not_all_of_a_long_one() -> None:
    (verdict,) = evaluator(ScriptedJudge("y" * 100_000)).evaluate([image(0, 1)])
    assert verdict.detail["reply"] == "y" * LONGEST_TEXT
    assert verdict.detail["model"] == "scripted"


def test_a_verdict_tells_the_thought_apart_from_the_reply() -> None:
    (verdict,) = evaluator(ScriptedJudge("<think>Hm.</think>\n\nMaybe")).evaluate([image(0, 1)])
    assert (verdict.detail["reply"], verdict.detail["thought"]) == ("Maybe", "Hm.")
    (verdict,) = evaluator(ScriptedJudge("half \ud83d")).evaluate([image(0, 1)])
    assert verdict.detail["reply"] == "half \ufffd"


def test_a_benchmark_may_name_the_verdict_and_set_its_value() -> None:
    (answer,) = ScriptedJudge("yes").ask(questions_about(image(0, 1)))
    verdict = verdict_from(answer, question_id="overall", value=0.5, detail={"why": "half"})
    assert (verdict.question_id, verdict.value, verdict.detail["why"]) == ("overall", 0.5, "half")
    assert evidence(answer)["reply"] == "yes"
    (failed,) = ScriptedJudge(lambda _: Mishap(kind="server_error")).ask(
        questions_about(image(0, 1))
    )
    assert verdict_from(failed, value=0.5).value is None


def test_the_identity_is_the_judges_and_the_questions() -> None:
    made = evaluator(ScriptedJudge("yes", name="m"))
    expected = {
        "judge.kind": "scripted", "judge.model": "m", "wording": "own:1", "replies": RULES,
    }  # fmt: skip
    assert made.identity == expected
    assert pickle.loads(pickle.dumps(made)).identity == expected
    vetted = VettedJudge(judge=made.judge, tested=made.judge, level="off")
    unchecked = JudgeEvaluator(judge=vetted, questions_about=questions_about, score=verdicts_on)
    assert unchecked.identity["self_test"] == "off"


def test_a_judge_that_cannot_do_what_is_needed_is_refused_at_once() -> None:
    one_by_one = ScriptedJudge("yes", images_per_question=1)
    pairs = Capabilities(images_per_question=2, logprobs=False)
    words_only = ScriptedJudge("yes", logprobs=False)
    logprobs = Capabilities(images_per_question=1, logprobs=True)
    for judge, needs in ((one_by_one, pairs), (words_only, logprobs)):
        with pytest.raises(AlphaBenchError, match="judge"):
            JudgeEvaluator(
                judge=judge, questions_about=questions_about, score=verdicts_on, needs=needs
            )


def test_the_self_test_is_the_judges_handshake() -> None:
    evaluator(ScriptedJudge("yes")).self_test()
    blind = ScriptedJudge("yes")
    vetted = VettedJudge(judge=blind, tested=blind)
    with pytest.raises(AlphaBenchError, match="rendered images"):
        JudgeEvaluator(judge=vetted, questions_about=questions_about, score=verdicts_on).self_test()


class Forgetful(ScriptedJudge):
    """Leaves the last question unanswered."""

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        answers = list(super().ask(questions))
        yield from answers[:-1]


def test_a_judge_that_is_stopped_leaves_the_verdicts_of_the_images_that_it_finished() -> None:
    class Stopped(ScriptedJudge):
        def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
            for question in questions:
                if question.image_id == "1/0" and question.id == "1":
                    yield Answer(question=question, status="missing")
                else:
                    yield from super().ask([question])
            raise AlphaBenchError("out of credit", hint="add some")

    verdicts: list[Verdict] = []
    images = [image(n, 2) for n in range(3)]
    with pytest.raises(AlphaBenchError, match="out of credit"):
        verdicts.extend(verdict for verdict in evaluator(Stopped(by_number)).evaluate(images))
    assert [v.image_id for v in verdicts] == ["0/0", "0/0", "2/0", "2/0"]


def test_an_answer_that_never_comes_is_no_silent_gap() -> None:
    with pytest.raises(RuntimeError, match="unanswered"):
        list(evaluator(Forgetful("yes")).evaluate([image(0, 2)]))


@pytest.mark.parametrize(
    ("replies", "value", "status", "reason"),
    [
        ((1.0, 0.0), 0.5, "scored", "two marks"),
        ((1.0, 0.0), None, "unparsed", "two marks"),
        ((1.0, Mishap(kind="server_error")), 0.5, "failed", "1: "),
    ],
)
def test_one_verdict_from_several_answers_needs_all_of_them(
    replies: tuple[float | Mishap, ...], value: float | None, status: str, reason: str
) -> None:
    judge = ScriptedJudge(lambda question: replies[int(question.id)])
    answers = list(judge.ask(questions_about(image(1, 2))))
    verdict = joint_verdict(answers, question_id="q", value=value, detail={"reason": "two marks"})
    assert verdict.status == status
    assert verdict.detail["reason"].startswith(reason)
    assert verdict.value == (value if status == "scored" else None)
    assert list(verdict.detail)[:2] == ["0_call", "1_call"]
