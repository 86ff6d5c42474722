"""Transcriptions: what counts as one, and that nothing else becomes a number."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.core.edit_distances import levenshtein
from alphabench.judges.parsing import read_reply
from alphabench.judges.transcription import (
    LetterTranscription,
    Transcription,
    Unit,
    match_letters,
    match_texts,
    transcribed,
)
from alphabench.questions import Answer, Question, Reply, ReplySampling

TEXT = "FRESH PLUMS Open 9-5, Sundays too!"
PIECES = (
    "fresh", "PLUMS", "open", "9-5", "95", "Sundays", "too", "No text recognized.", "addCriterion",
    "no text recognized", "I'm sorry, but I can't help with that.", "<think>", "</think>", "\n",
    "\u4eca\u65e5", "\u00e9", "\u0130", "\ufb03", "\u00b2", "\ud800", "\0", "\u2028", "{}",
    "**", "-", " ", "", "a" * 300, "\u0661", "\U0001f600",
)  # fmt: skip


def letters(text: str, *, strict: bool, wanted: str = TEXT, finish: str = "stop") -> Answer:
    question = Question(
        image_id="0000/0",
        id="text",
        parts=("read",),
        sampling=ReplySampling(max_tokens=128),
        answer_format=LetterTranscription(text=wanted, strict=strict),
    )
    return read_reply(question, Reply(text=text, model="m", finish_reason=finish))


def answer(
    text: str, *, strict: bool, wanted: str = TEXT, finish: str = "stop", unit: Unit = "words"
) -> Answer:
    question = Question(
        image_id="0000/0",
        id="text",
        parts=("read",),
        sampling=ReplySampling(max_tokens=1024),
        answer_format=Transcription(text=wanted, unit=unit, strict=strict),
    )
    return read_reply(question, Reply(text=text, model="m", finish_reason=finish))


@pytest.mark.parametrize(
    ("text", "official", "strict"),
    [
        ("too SUNDAYS 95 open fresh plums", 1.0, 1.0),
        ("Fresh plums and fresh plums", 2 / 6, 2 / 6),
        ("addCriterion", 0.0, 0.0),
        ("addCriterionfresh plums", 1 / 6, 2 / 6),
        ("No text recognized.", 0.0, 0.0),
        ("No text recognized", 0.0, 0.0),
        ("-", 0.0, 0.0),
        ("", 0.0, "unparsed"),
        (" \n", 0.0, "unparsed"),
        ("I'm sorry, but I can't help with that.", 0.0, "refused"),
        ("<think>it says fresh plums", "unparsed", "unparsed"),
        ("<think>hm</think>fresh plums", 2 / 6, 2 / 6),
    ],
)
def test_a_reply_is_a_share_of_the_text_or_has_a_status(
    text: str, official: float | str, strict: float | str
) -> None:
    for is_strict, expected in ((False, official), (True, strict)):
        found = answer(text, strict=is_strict)
        if isinstance(expected, str):
            assert (found.status, found.values) == (expected, None)
        else:
            assert found.values is not None, (text, found.reason)
            assert found.values[0] == expected


def test_a_cut_reply_counts_as_upstream_counts_it_and_is_no_transcription_strictly() -> None:
    assert answer("fresh plums", strict=False, finish="length").values == (2 / 6, 2, 6, 2)
    assert answer("fresh plums", strict=True, finish="length").status == "unparsed"
    assert answer("", strict=False, finish="length").status == "unparsed"


def test_a_text_that_reads_like_a_refusal_is_read() -> None:
    wanted = "I'm sorry, I can't help you with the cake"
    assert answer(wanted, strict=True, wanted=wanted).values == (1.0, 9, 9, 9)


def test_characters_keep_their_case_and_words_do_not() -> None:
    assert match_texts("LIBRARY \u56fe\u4e66", "\u56fe\u4e66\u9986 Library", "characters")[:2] == (
        3,
        10,
    )
    assert match_texts("LIBRARY", "Library", "words")[:2] == (1, 1)


def test_a_text_without_anything_to_count_is_no_contract() -> None:
    with pytest.raises(ValueError, match="nothing to count"):
        Transcription(text="!?", unit="words", strict=False)


def test_protocols_and_units_are_part_of_the_identity() -> None:
    made = [
        Transcription(text="a", unit=unit, strict=strict)
        for unit in ("words", "characters")
        for strict in (False, True)
    ]
    assert len({tuple(one.identity.items()) for one in made}) == 4


def test_ten_thousand_replies_give_a_share_or_a_status() -> None:
    pick = random.Random(0)
    statuses = set()
    for number in range(10_000):
        text = pick.choice((" ", "", "\n")).join(pick.choices(PIECES, k=pick.randrange(8)))
        unit: Unit = "words" if number % 2 else "characters"
        finish = pick.choice(("stop", "length"))
        found = answer(text, strict=number % 4 < 2, finish=finish, unit=unit)
        statuses.add(found.status)
        assert "the answer format failed" not in found.reason, text
        if found.values is not None:
            share, matched, expected, read = found.values
            assert share == matched / expected
            assert 0 <= matched <= min(expected, read)
            assert all(map(math.isfinite, found.values))
    assert statuses == {"scored", "refused", "unparsed"}


@given(st.text(max_size=60), st.sampled_from(["words", "characters"]))
def test_what_is_read_twice_or_shuffled_matches_no_more_than_once(text: str, unit: Unit) -> None:
    once, twice = (match_texts(" ".join([text] * n), TEXT, unit) for n in (1, 2))
    assert once.matched <= twice.matched <= once.expected
    assert match_texts(TEXT, TEXT, unit).matched == once.expected
    assert match_texts(" ".join(reversed(TEXT.split())), TEXT, unit).matched == once.expected


@given(st.text(max_size=60))
def test_cleaning_leaves_all_else_as_it_is(text: str) -> None:
    assert transcribed(text) == text.replace("No text recognized.", "")


@pytest.mark.parametrize(
    ("text", "official", "strict"),
    [
        ("Fresh plums", (0.0, 0, 6, 26), (0.0, 0, 6, 26)),
        ("FRESH PLUMS Open 95 Sundays too", (1.0, 6, 6, 0), (1.0, 6, 6, 0)),
        ("addCriterionFRESH PLUMS Open 9-5, Sundays too!", (1.0, 6, 6, 0), (1.0, 6, 6, 0)),
        ("No text recognized.", (0.0, 0, 6, 31), (0.0, 0, 6, 31)),
        ("", (0.0, 0, 6, 31), "unparsed"),
        ("I'm sorry, but I can't help with that.", "scored", "refused"),
    ],
)
def test_letters_keep_their_case_and_are_counted_apart(
    text: str, official: tuple[float, ...] | str, strict: tuple[float, ...] | str
) -> None:
    for is_strict, expected in ((False, official), (True, strict)):
        found = letters(text, strict=is_strict)
        assert expected in (found.status, found.values)


def test_a_sentence_that_there_is_no_text_is_text_unless_read_strictly() -> None:
    said = "No text recognized"
    values = {strict: letters(said, strict=strict).values for strict in (False, True)}
    assert values == {False: (0.0, 0, 6, 27), True: (0.0, 0, 6, 31)}


def test_ten_thousand_replies_are_counted_in_letters_or_have_a_status() -> None:
    pick = random.Random(1)
    statuses = set()
    for number in range(10_000):
        text = pick.choice((" ", "", "\n")).join(pick.choices(PIECES, k=pick.randrange(4)))
        wanted = "\u4eca\u65e5 95" if number % 3 else "PLUMS too"
        finish = pick.choice(("stop", "length"))
        found = letters(text, strict=number % 4 < 2, wanted=wanted, finish=finish)
        statuses.add(found.status)
        assert "the answer format failed" not in found.reason, text
        if found.values is not None:
            share, matched, expected, distance = found.values
            assert share == matched / expected <= 1
            assert (distance == 0) <= (share == 1)
            assert all(map(math.isfinite, found.values))
    assert statuses == {"scored", "refused", "unparsed"}


@given(st.text("ab c", max_size=8), st.text("ab c", max_size=8), st.text("ab c", max_size=8))
def test_distances_in_letters_are_a_metric(one: str, other: str, third: str) -> None:
    apart = levenshtein(one, other)
    assert apart == levenshtein(other, one)
    assert (apart == 0) == (one == other)
    assert abs(len(one) - len(other)) <= apart <= max(len(one), len(other))
    assert levenshtein(one, third) <= apart + levenshtein(other, third)
    assert match_letters(one, "a").distance >= 0
