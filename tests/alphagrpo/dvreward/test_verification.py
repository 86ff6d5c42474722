"""Putting a prompt's questions about an image, and settling the answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alphabench.judges.scripted import Mishap, MishapKind, ScriptedJudge, ScriptedReply
from alphabench.questions import ImagePart, Reply
from alphabench.types import Status, Verdict
from alphagrpo.dvreward.aggregate import AggregationOptions
from alphagrpo.dvreward.question_files import DVQuestion, QuestionSet
from alphagrpo.dvreward.verification import (
    SYSTEM,
    VerificationOptions,
    questions_about,
    score_answers,
)

SHOWN = ImagePart(path=Path("kite.png"), sha256="0" * 64)
KITE = QuestionSet(
    prompt="a red kite",
    semantic=(
        DVQuestion(aspect="semantic", text="Is there a kite?", tag="Existence"),
        DVQuestion(aspect="semantic", text="Is it winter?", tag="Environment", valid=False),
        DVQuestion(aspect="semantic", text="Is the kite red?", tag="Attribute"),
    ),
    quality=(DVQuestion(aspect="quality", text="Is the kite whole?", tag="Geometry"),),
)


def judged(
    answers: dict[str, ScriptedReply],
    *,
    verification_options: VerificationOptions = VerificationOptions(),  # noqa: B008
    aggregation_options: AggregationOptions = AggregationOptions(),  # noqa: B008
) -> Verdict:
    questions = questions_about("0/0", SHOWN, KITE, verification_options)
    said = list(ScriptedJudge(answers).ask(questions))
    return score_answers(
        "0/0",
        KITE,
        said,
        verification_options=verification_options,
        aggregation_options=aggregation_options,
    )


def test_each_question_is_one_call_with_the_image_before_the_words() -> None:
    questions = questions_about("0/0", SHOWN, KITE, VerificationOptions())
    assert [question.id for question in questions] == ["s0", "s1", "s2", "q0"]
    for question, one in zip(questions, KITE.questions, strict=True):
        picture, text = question.parts
        assert picture == SHOWN
        assert isinstance(text, str)
        assert text.startswith(one.text)
        assert question.system == SYSTEM
        assert question.sampling.max_tokens == 1
        assert question.sampling.temperature == 0.0
        assert question.sampling.top_logprobs == 20


def test_the_reference_probabilities_are_reproduced(shared: Path) -> None:
    golden = json.loads((shared / "golden/trainer/dvreward.json").read_text())
    answer_format = VerificationOptions().answer_format
    for name, case in golden["top_logprobs"].items():
        tokens = tuple((token, logprob) for token, logprob in case["top"])
        values = answer_format.parse(Reply(text=case["text"], model="m", first_token=tokens))
        wanted = golden["p_yes"][name]
        if wanted is None:
            assert values is None, "the release has 0 or 1 here; we have no answer"
        else:
            assert values == pytest.approx((wanted,), abs=1e-12)


def test_the_verdict_logs_every_question_with_its_answer() -> None:
    verdict = judged({"s0": 1.0, "s1": 0.5, "s2": 0.0, "q0": 0.5})
    assert verdict.value == pytest.approx(0.5)
    assert verdict.question_id == "reward"
    log = verdict.detail["questions"]
    assert [entry["p_yes"] for entry in log] == pytest.approx([1.0, 0.5, 0.0, 0.5])
    assert [entry["tag"] for entry in log] == ["Existence", "Environment", "Attribute", "Geometry"]
    assert all(entry["model"] == "scripted" for entry in log)
    assert verdict.detail["semantic"] == pytest.approx(0.5)
    assert verdict.detail["reason"] == "no (0.00): Is the kite red?"
    json.dumps(dict(verdict.detail))


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("server_error", "failed"),
        ("rate_limited", "failed"),
        ("refusal", "refused"),
        ("filtered", "refused"),
        ("garbage", "unparsed"),
        ("no_logprobs", "unparsed"),
    ],
)
def test_one_question_without_an_answer_leaves_the_image_without_a_reward(
    kind: MishapKind, status: Status
) -> None:
    verdict = judged({"s0": 1.0, "s1": 1.0, "s2": Mishap(kind=kind), "q0": 1.0})
    assert verdict.value is None
    assert verdict.status == status
    assert verdict.detail["reason"] == f"3 of 4 questions answered (1 {status})"
    assert verdict.detail["questions"][2]["p_yes"] is None


def test_the_worst_status_names_the_verdict() -> None:
    verdict = judged(
        {"s0": Mishap(kind="garbage"), "s1": 1.0, "s2": Mishap(kind="server_error"), "q0": 1.0}
    )
    assert verdict.status == "failed"


def test_with_less_coverage_asked_for_the_rest_decides_and_the_lack_is_logged() -> None:
    answers: dict[str, ScriptedReply] = {
        "s0": 0.5,
        "s1": Mishap(kind="garbage"),
        "s2": 0.5,
        "q0": 0.5,
    }
    verdict = judged(answers, aggregation_options=AggregationOptions(min_coverage=0.75))
    assert verdict.value == pytest.approx(0.5)
    assert (verdict.detail["answered"], verdict.detail["asked"]) == (3, 4)


def test_questions_that_the_validator_refused_can_be_left_out() -> None:
    verdict = judged(
        {"s0": 1.0, "s2": 1.0, "q0": 1.0},
        verification_options=VerificationOptions(invalid="left_out"),
    )
    assert verdict.value == 1.0
    assert [entry["id"] for entry in verdict.detail["questions"]] == ["s0", "s2", "q0"]


def test_without_any_question_there_is_no_reward() -> None:
    empty = QuestionSet(prompt="p", semantic=(), quality=())
    how = VerificationOptions()
    verdict = score_answers(
        "0/0", empty, [], verification_options=how, aggregation_options=AggregationOptions()
    )
    assert verdict.status == "failed"
    assert verdict.detail["reason"] == "there is no question to ask"


def test_the_word_alone_is_another_measurement() -> None:
    probability, text = (
        VerificationOptions().answer_format,
        VerificationOptions(answer="text").answer_format,
    )
    assert probability.identity != text.identity
    assert text.sampling.top_logprobs == 0
    verdict = judged(
        {"s0": "Yes", "s1": "yes.", "s2": "No", "q0": "yes"},
        verification_options=VerificationOptions(answer="text"),
    )
    assert verdict.detail["semantic"] == pytest.approx(2 / 3)
