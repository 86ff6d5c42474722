"""Lists of scores in tags, read as upstream's script reads them and strictly."""

from __future__ import annotations

import ast
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.judges.parsing import read_reply, text_of
from alphabench.judges.score_tags import ScoreTags, literal_parts, readable_analysis, stored_scores
from alphabench.questions import Question, Reply, ReplySampling


def reply(score: str, analysis: str = "['a', 'b']") -> str:
    return f"<analysis>{analysis}</analysis>\n<score>{score}</score>"


CASES = [
    # score, analysis, official, strict
    ("[1, 0]", "['a', 'b']", (1.0, 0.0), (1.0, 0.0)),
    ("[1.0, 2]", "['a', 'b']", (1.0, 0.0), None),
    ("['1', 0]", "['a', 'b']", (0.0, 0.0), None),
    ("(1, 1)", "['a', 'b']", (1.0, 1.0), None),
    ("[True, False]", "['a', 'b']", None, None),  # JSON's true is no literal of Python
    ("[None, 1]", "['a', 'b']", None, None),
    ("[1, 0]", "[None, 'b']", None, (1.0, 0.0)),
    ("[1, 0]", "[good, bad]", None, (1.0, 0.0)),
    ("[1, 0]", "['it's fine', 'b']", None, (1.0, 0.0)),
    ("[1, 0]", "['a']", None, (1.0, 0.0)),
    ("[1]", "['a']", None, None),
    ("[1, 0, 1]", "['a', 'b', 'c']", None, None),
    ("'10'", "'ab'", None, None),
    ("{0: 1, 1: 1}", "['a', 'b']", None, None),
    ("{1, 0}", "['a', 'b']", None, None),
    ("[1e999, 1]", "['a', 'b']", None, None),
    ("1", "['a', 'b']", None, None),
    ("[1, 0]</score> and <score>[0, 0]", "['a', 'b']", (1.0, 0.0), None),
    ("[[1], 1]", "['\\d', 'b']", (0.0, 1.0), None),
]


@pytest.mark.parametrize(("score", "analysis", "official", "strict"), CASES)
def test_scores_are_read_by_the_rules_of_the_protocol(
    score: str, analysis: str, official: object, strict: object
) -> None:
    answer = Reply(text=reply(score, analysis), model="m")
    assert ScoreTags(strict=False, n_items=2).parse(answer) == official
    assert ScoreTags(strict=True, n_items=2).parse(answer) == strict


def test_the_protocols_are_two_formats() -> None:
    formats = [ScoreTags(strict=strict, n_items=2) for strict in (False, True)]
    assert formats[0].identity != formats[1].identity
    assert ScoreTags(strict=True, n_items=3).identity == formats[1].identity
    assert [one.as_upstream for one in formats] == [True, False]


def test_an_analysis_that_cannot_be_read_is_none() -> None:
    assert readable_analysis(reply("[1, 0]"), 2) == ["a", "b"]
    assert readable_analysis(reply("[1, 0]", "[1, 'b']"), 2) == ["1", "b"]
    assert readable_analysis(reply("[1, 0]", "'ab'"), 2) == ()
    assert readable_analysis(reply("[1, 0]", "[a, b]"), 2) == ()


@given(st.lists(st.sampled_from([0, 1]), min_size=1, max_size=10), st.text(max_size=30))
def test_what_is_stated_in_lists_is_read_back(scores: list[int], text: str) -> None:
    analysis = repr([text.replace("<", "")] * len(scores))
    answer = Reply(text=reply(str(scores), analysis), model="m")
    for strict in (False, True):
        values = ScoreTags(strict=strict, n_items=len(scores)).parse(answer)
        assert values == tuple(map(float, scores))
        assert ScoreTags(strict=strict, n_items=len(scores) + 1).parse(answer) is None


def test_ten_thousand_odd_replies_give_the_stated_scores_or_a_status() -> None:
    chance = random.Random(19)
    pieces = (
        "<analysis>", "</analysis>", "<score>", "</score>", "[1, 0]", "[1,1]", "['a', 'b']", "[",
        "]", "1", "0", ",", "True", "null", "1e999", "'", "{", "}", "(", "<think>", "</think>",
        "\x00", "9" * 5000, "[" * 300, "\\d", "\ufffd", "\uff11", "-",
        "I can't help with that.", " ", "\n",
    )  # fmt: skip
    whole = ("<analysis>['a', 'b']</analysis>", "<score>[0, 1]</score>", "<score>[1, 1]</score>")
    sampling = ReplySampling(max_tokens=9)
    counts = {"scored": 0, "unparsed": 0, "refused": 0}
    for _ in range(10_000):
        text = "".join(
            chance.choice(whole if chance.random() < 0.4 else pieces)
            for _ in range(chance.randrange(8))
        )
        answer_format = ScoreTags(strict=chance.random() < 0.5, n_items=2)
        question = Question(
            image_id="0/0", id="x", parts=("?",), sampling=sampling, answer_format=answer_format
        )
        finish = chance.choice(("stop", "stop", "length", "content_filter"))
        answer = read_reply(question, Reply(text=text, model="m", finish_reason=finish))
        counts[answer.status] += 1
        assert not answer.reason.startswith("the answer format failed"), text
        if answer.values is not None:
            assert finish == "stop"
            assert answer.reply is not None
            assert set(answer.values) <= {0.0, 1.0}
            stated = (
                text_of(answer.reply, answer_format)
                .partition("<score>")[2]
                .partition("</score>")[0]
                .strip()
            )
            if answer_format.strict:
                assert list(answer.values) == ast.literal_eval(stated)
            assert len(answer.values) == 2
            assert "<score>" in text
    assert min(counts.values()) > 300


def test_the_tags_that_were_asked_for_are_no_thought_and_a_thought_is_no_answer() -> None:
    answer_format = ScoreTags(strict=False, n_items=2)
    question = Question(
        image_id="0/0",
        id="x",
        parts=("?",),
        sampling=ReplySampling(max_tokens=9),
        answer_format=answer_format,
    )
    thought = f"<think>{reply('[0, 0]')}</think>"
    assert read_reply(question, Reply(text=reply("[1, 0]"), model="m")).values == (1.0, 0.0)
    found = read_reply(question, Reply(text=thought + reply("[1, 0]"), model="m"))
    assert found.values == (1.0, 0.0)
    assert read_reply(question, Reply(text=thought, model="m")).status == "unparsed"
    kept = Reply(text=thought + reply("[1, 0]"), model="m", thoughts_kept=True)
    assert read_reply(question, kept).values == (0.0, 0.0), "as upstream reads it"


@pytest.mark.parametrize(
    ("text", "parts"),
    [("[1, 'a']", [1, "a"]), ("'ab'", ["a", "b"]), ("7", []), ("", []), ("[1", []), ("f()", [])],
)
def test_a_literal_without_parts_has_none(text: str, parts: list[object]) -> None:
    assert literal_parts(text) == parts


@pytest.mark.parametrize(
    ("result", "scores"),
    [("{'score': [1, 0]}", [1, 0]), ("{'score': 1}", None), ("{}", []), ("[1]", []), ("{", [])],
)
def test_stored_scores_are_a_list_or_stand_elsewhere(result: str, scores: list[int] | None) -> None:
    assert stored_scores(result) == scores
