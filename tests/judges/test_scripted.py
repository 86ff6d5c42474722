"""The scripted judge does what it is told, and misbehaves as it is told."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import MISHAPS, Mishap, ScriptedJudge, open_scripted
from alphabench.judges.yesno import YesNoProbability, YesNoText, yes_no_question
from alphabench.questions import Question, Reply
from tests.judges.conftest import question


def yes_no(number: int = 0, *, by_text: bool = False) -> Question:
    answer_format = YesNoText() if by_text else YesNoProbability()
    return yes_no_question(
        f"Is it {number}?", [], image_id=f"{number}/0", question_id="q", answer_format=answer_format
    )


def test_a_table_answers_by_image_and_question_or_by_question_alone() -> None:
    judge = ScriptedJudge({("1/0", "q"): "no", "q": "yes"})
    values = [a.values for a in judge.ask([yes_no(0), yes_no(1), yes_no(2)])]
    assert values == [(1.0,), (0.0,), (1.0,)]
    assert judge.asked == [("0/0", "q"), ("1/0", "q"), ("2/0", "q")]


def test_a_question_that_the_table_lacks_stops() -> None:
    with pytest.raises(AlphaBenchError, match="no answer"):
        list(ScriptedJudge({"other": "yes"}).ask([yes_no()]))


@pytest.mark.parametrize("p_yes", [0.0, 0.25, 0.5, 1.0])
def test_a_probability_comes_back_through_the_log_probabilities(p_yes: float) -> None:
    (answer,) = ScriptedJudge(lambda _: p_yes).ask([yes_no()])
    assert answer.values == pytest.approx((p_yes,))


def test_no_log_probabilities_unless_asked_for() -> None:
    (answer,) = ScriptedJudge("yes").ask([yes_no(by_text=True)])
    assert answer.reply is not None
    assert answer.reply.first_token == ()
    assert answer.values == (1.0,)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("rate_limited", "failed"), ("server_error", "failed"), ("slow", "scored"),
        ("garbage", "unparsed"), ("refusal", "refused"), ("filtered", "refused"),
        ("no_logprobs", "unparsed"),
    ],
)  # fmt: skip
def test_each_mishap_becomes_its_status_and_never_a_number(kind: str, status: str) -> None:
    slept: list[float] = []
    mishap = Mishap(kind=kind, seconds=3.0)  # type: ignore[arg-type]
    (answer,) = ScriptedJudge(lambda _: mishap, sleep=slept.append).ask([yes_no()])
    assert answer.status == status
    assert (answer.values is None) == (status != "scored")
    assert slept == ([3.0] if kind == "slow" else [])


def test_another_model_stops_the_run() -> None:
    with pytest.raises(AlphaBenchError, match="another-model"):
        list(ScriptedJudge(lambda _: Mishap(kind="wrong_model")).ask([yes_no()]))


def test_a_whole_reply_is_given_as_it_is() -> None:
    reply = Reply(text="7", model="m", fingerprint="f")
    (answer,) = ScriptedJudge(lambda _: reply).ask([question()])
    assert (answer.reply, answer.values) == (reply, (7.0,))


def test_mishaps_of_the_command_line_are_strewn_by_content_and_seed() -> None:
    def statuses(**options: str) -> list[str]:
        judge = open_scripted("", options=options, device="cpu")
        return [a.status for a in judge.ask(map(yes_no, range(200)))]

    first = statuses(fail="0.3", seed="1")
    assert first == statuses(fail="0.3", seed="1") != statuses(fail="0.3", seed="2")
    assert 0.1 < 1 - first.count("scored") / 200 < 0.4
    assert {"failed", "unparsed", "refused"} <= set(first)
    assert set(statuses(fail="0")) == {"scored"}


def test_mishaps_are_no_part_of_the_identity() -> None:
    plain, faulty = (
        open_scripted("", options={"fail": fail}, device="cpu") for fail in ("0", "0.5")
    )
    other = open_scripted("", options={"answer": "no"}, device="cpu")
    assert plain.identity == faulty.identity != other.identity


def test_answers_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({"0/0": {"q": "no"}, "*": {"q": "0.75"}}))
    judge = open_scripted(str(path), options={}, device="cpu")
    assert [a.values for a in judge.ask([yes_no(0), yes_no(1)])] == [
        (0.0,),
        (pytest.approx(0.75),),
    ]
    again = pickle.loads(pickle.dumps(judge))
    assert again.identity == judge.identity


@pytest.mark.parametrize(
    "options", [{"fail": "2"}, {"mishaps": "earthquake"}, {"answr": "no"}], ids=str
)
def test_options_that_do_not_fit_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(AlphaBenchError):
        open_scripted("", options=options, device="cpu")


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    path.write_text("[1]")
    with pytest.raises(AlphaBenchError, match="not a table"):
        open_scripted(str(path), options={}, device="cpu")


def test_every_kind_of_mishap_is_known_by_name() -> None:
    assert len(MISHAPS) == 8
    with pytest.raises(ValueError, match="none of"):
        Mishap(kind="flood")  # type: ignore[arg-type]
