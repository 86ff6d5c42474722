"""From a reply to an answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alphabench.benchmarks.gedit.viescore_parser import LowestScore
from alphabench.benchmarks.tiif.questions import LinesFormat
from alphabench.benchmarks.wise.scoring import BinaryScore, ThreeScores
from alphabench.judges.parsing import (
    FILTERED,
    REFUSAL,
    is_cut,
    read_reply,
)
from alphabench.judges.refusals import opens_as_refusal, refuses
from alphabench.judges.yesno import YesNoProbability, YesNoText
from alphabench.questions import AnswerFormat, Question, Reply
from tests.judges.conftest import Number, question
from tests.support.replies import fuzzed


def test_what_the_contract_reads_is_scored() -> None:
    answer = read_reply(question(), Reply(text=" 7 ", model="m"))
    assert (answer.status, answer.values) == ("scored", (7.0,))


@pytest.mark.parametrize("finish", [REFUSAL, FILTERED])
def test_a_marked_refusal_is_refused_whatever_its_text(finish: str) -> None:
    answer = read_reply(question(), Reply(text="7", model="m", finish_reason=finish))
    assert (answer.status, answer.values) == ("refused", None)
    assert answer.reply is not None


def status_of(answer_format: AnswerFormat, text: str, finish: str = "stop") -> tuple[object, ...]:
    asked = question(answer_format=answer_format)
    answer = read_reply(asked, Reply(text=text, model="m", finish_reason=finish))
    return (answer.status, answer.values)


LINES = LinesFormat(n_questions=2, wording="x", strict=True)
TRIED_OUT = [
    (BinaryScore(True), "Score: 0 if it were absent, but"),
    (BinaryScore(False), "Score: 0 if it were absent, but"),
    (ThreeScores(False), "Consistency: 0\nRealism: 0\nAesthetic Quality: 0 hm"),
    (LowestScore(False), 'a first idea: {"score": [1, 1]} but'),
    (LINES, "\nYes, look at the dog first.\nNo cat so far\n"),
    (YesNoText(), "\nYes.\n"),
]


@pytest.mark.parametrize("finish", ["length", "stop", "max_tokens"])
@pytest.mark.parametrize(("answer_format", "text"), TRIED_OUT)
def test_what_a_thought_tries_out_is_no_answer_in_any_format(
    answer_format: AnswerFormat, text: str, finish: str
) -> None:
    assert status_of(answer_format, f"<think>{text}", finish) == ("unparsed", None)


def test_a_closed_thought_is_no_part_of_the_answer_unless_the_judge_keeps_it() -> None:
    reply = Reply(text="<think>It is 3.</think>\n4", model="m")
    assert read_reply(question(), reply).values == (4.0,)
    kept = read_reply(question(), replace(reply, thoughts_kept=True))
    assert (kept.status, kept.reply) == ("unparsed", replace(reply, thoughts_kept=True))
    assert status_of(YesNoText(), "<think>No.</think>\nYes") == ("scored", (1.0,))


@pytest.mark.parametrize(("answer_format", "text"), TRIED_OUT[:5])
def test_a_reply_that_was_cut_off_is_unparsed_in_every_format(
    answer_format: AnswerFormat, text: str
) -> None:
    assert status_of(answer_format, text, "MAX_TOKENS") == ("unparsed", None)


def test_a_yes_or_no_comes_first_so_a_cut_behind_it_does_no_harm() -> None:
    assert status_of(YesNoText(), "Yes, there is a dog on the", "length") == ("scored", (1.0,))
    assert status_of(YesNoText(), "Yes, however the", "length") == ("unparsed", None)
    first = (("Yes", -0.1), ("No", -2.4))
    reply = Reply(text="Yes", model="m", first_token=first, finish_reason="length")
    assert read_reply(question(answer_format=YesNoProbability()), reply).status == "scored"


@pytest.mark.parametrize(
    ("finish", "cut"),
    [("length", True), ("MAX_TOKENS", True), ("model_context_window_exceeded", True),
     ("stop", False), (None, False), ("content_filter", False)],
)  # fmt: skip
def test_a_cut_has_many_names(finish: str | None, cut: bool) -> None:
    assert is_cut(finish) is cut


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(text="", model="m", finish_reason="length", thought="Hm"), "inside its thought"),
        (Reply(text="", model="m", finish_reason="length"), "before it said anything"),
        (Reply(text="", model="m", thought="Hm"), "thinks and gives no answer"),
        (Reply(text="", model="m"), "empty"),
    ],
)
def test_a_reply_without_an_answer_says_why(reply: Reply, reason: str) -> None:
    assert reason in read_reply(question(), reply).reason


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


@pytest.mark.parametrize(
    "text",
    [
        "No, I can't help with that.", "Yes, but I'm unable to view images.", "I can’t assist.",
        "No. I cannot comply with this request.", "**No** — I won’t answer that.",
        "No, sorry, as an AI language model, I can't view the image.", "I'm unable to see images",
        "Yes, however, I do not have the ability to look at pictures", "No image was provided.",
        "I'm sorry for the confusion, but I can't analyze the image directly.",
        "No, I'm not able to identify people in photos.", "No, this request violates our policy.",
        "No, that's not something I can help with.", "No，我无法查看图片。", "no, i must decline",
        "No, I’m just an AI and can’t see images.", "No, there is no image attached.",
        "Yes, I understand, but I can´t help with that.", "No, lo siento, no puedo ayudar con eso.",
        "No, I cannot determine this as I can't view images.", "Yes, please upload the image.",
    ],
)  # fmt: skip
def test_a_refusal_is_no_answer_whichever_word_it_begins_with(text: str) -> None:
    assert refuses(text)
    assert status_of(YesNoText(), text) == ("refused", None)
    assert status_of(LinesFormat(n_questions=1, wording="x", strict=False), text)[1] is None


@pytest.mark.parametrize(
    "text",
    [
        "No, I can't see a dog in the image.", "No, I cannot see any dog.", "No.", "No, I can't.",
        "No, I can't see any picture on the wall.", "No, I am unable to find a cat.",
        "No, I don't see an image of a cat.", "No, I can't see the image of a dog on the mug",
        "No, I can't see the photo on the wall.", "Yes, it can help.", "No. The image is blurry.",
        "No, there are no images in the frame", "No, I couldn't spot one.",
        "No, I cannot see them", "No, there's no picture on the wall.", "No, the man cannot help.",
        "No, the prompt asks for two dogs, but there is one", "No, there are no photos visible",
    ],
)  # fmt: skip
def test_what_is_not_to_be_seen_is_an_answer_and_no_refusal(text: str) -> None:
    assert not refuses(text)
    assert status_of(YesNoText(), text)[0] == "scored"


def test_no_reply_holds_the_reader_of_refusals_up() -> None:
    for text in ("no sorry, as an a" * 30, "as an " * 60, "no, but " * 60, "i can't " * 40):
        assert refuses(text) in (True, False)


def test_upstreams_reader_takes_a_number_out_of_a_refusal_and_strict_does_not() -> None:
    text = "I'm sorry, I can't view images. Score: 0"
    assert status_of(BinaryScore(False), text) == ("scored", (0.0,))
    assert status_of(BinaryScore(True), text) == ("refused", None)


RANGES: list[tuple[AnswerFormat, float]] = [
    (YesNoText(), 1.0), (LINES, 1.0), (replace(LINES, strict=False), 1.0), (BinaryScore(True), 1.0),
    (BinaryScore(False), 1.0), (ThreeScores(True), 2.0), (ThreeScores(False), 9.0),
    (LowestScore(True), 10.0), (LowestScore(False), 1e100),
]  # fmt: skip
SEEDS = [
    "Yes, a dog.\nNo.", "<think>No, 1.</think>Yes", "Score: 1", "2\n1\n0", "No, I can't help",
    "Consistency: 2\nRealism: 1\nAesthetic Quality: 0", '{"score": [8, 9], "reasoning": "a"}',
]  # fmt: skip


def test_no_text_at_all_raises_leaves_a_range_or_makes_a_number_from_words() -> None:
    n_scored = 0
    for text in fuzzed(SEEDS, 2500):
        said = text.casefold()
        for answer_format, highest in RANGES:
            asked = question(answer_format=answer_format)
            answer = read_reply(asked, Reply(text=text, model="m", finish_reason="stop"))
            assert "failed" not in answer.reason, (text, answer.reason)
            if answer.values is None:
                continue
            n_scored += 1
            assert all(0.0 <= value <= highest for value in answer.values)
            words = isinstance(answer_format, YesNoText | LinesFormat)
            assert "yes" in said or "no" in said if words else any(map(str.isdigit, text))
    assert n_scored > 100


class Broken(Number):
    """An answer format with a fault."""

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        raise KeyError("score")


class Infinite(Number):
    """An answer format that invents no number, but no finite one either."""

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        return (float("nan"),)


class Valueless(Number):
    """An answer format that finds an answer without any value in it."""

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        return ()


def test_an_answer_without_values_is_none() -> None:
    assert status_of(Valueless(), "7") == ("unparsed", None)


@pytest.mark.parametrize("answer_format", [Broken(), Infinite()])
def test_a_faulty_contract_gives_no_number(answer_format: Number) -> None:
    asked: Question = question(answer_format=answer_format)
    answer = read_reply(asked, Reply(text="7", model="m"))
    assert (answer.status, answer.values) == ("unparsed", None)
    assert "answer format failed" in answer.reason
