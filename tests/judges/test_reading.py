"""From a reply to an answer."""

from __future__ import annotations

import pytest

from alphabench.judges.question import Question, Reply
from alphabench.judges.reading import FILTERED, REFUSAL, opens_as_refusal, read_reply
from tests.judges.conftest import Number, question


def test_what_the_contract_reads_is_scored() -> None:
    answer = read_reply(question(), Reply(text=" 7 ", model="m"))
    assert (answer.status, answer.values) == ("scored", (7.0,))


@pytest.mark.parametrize("finish", [REFUSAL, FILTERED])
def test_a_marked_refusal_is_refused_whatever_its_text(finish: str) -> None:
    answer = read_reply(question(), Reply(text="7", model="m", finish_reason=finish))
    assert (answer.status, answer.values) == ("refused", None)
    assert answer.reply is not None


def test_what_cannot_be_read_is_unparsed_and_keeps_the_reply() -> None:
    answer = read_reply(question(), Reply(text="seven", model="m", finish_reason="length"))
    assert answer.status == "unparsed"
    assert "max_tokens" in answer.reason
    assert answer.reply is not None


def test_prose_counts_as_a_refusal_only_where_the_contract_could_not_read_it() -> None:
    assert read_reply(question(), Reply(text="I'm sorry, no.", model="m")).status == "refused"
    assert read_reply(question(), Reply(text="Sorry7", model="m")).status == "refused"
    assert read_reply(question(), Reply(text="7", model="m")).status == "scored"


@pytest.mark.parametrize(
    "text", ["A dog. I cannot see more", "Unfortunately, the dog is blue", "", "I see a dog"]
)
def test_descriptions_are_no_refusals(text: str) -> None:
    assert not opens_as_refusal(text)


def test_a_typographic_apostrophe_hides_no_refusal() -> None:
    assert opens_as_refusal("I can\N{RIGHT SINGLE QUOTATION MARK}t help with that")


class Broken(Number):
    """A contract with a fault."""

    def read(self, reply: Reply) -> tuple[float, ...] | None:
        raise KeyError("score")


class Infinite(Number):
    """A contract that invents no number, but no finite one either."""

    def read(self, reply: Reply) -> tuple[float, ...] | None:
        return (float("nan"),)


@pytest.mark.parametrize("contract", [Broken(), Infinite()])
def test_a_faulty_contract_gives_no_number(contract: Number) -> None:
    asked: Question = question(contract=contract)
    answer = read_reply(asked, Reply(text="7", model="m"))
    assert (answer.status, answer.values) == ("unparsed", None)
    assert "contract failed" in answer.reason
