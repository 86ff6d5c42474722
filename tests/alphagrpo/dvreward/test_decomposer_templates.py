"""What the decomposer is told, and how its replies are read."""

from __future__ import annotations

import json
import random

import pytest

from alphabench.questions import AnswerFormat, Reply
from alphagrpo.dvreward.decomposer_templates import (
    QUALITY_EXAMPLES,
    SEMANTIC_EXAMPLES,
    ListOfQuestions,
    RepairedQuestion,
    ReviewOfQuestion,
    quality_request,
    semantic_request,
)
from alphagrpo.dvreward.question_files import TAGS, DVQuestion, fault_of

CONTRACTS: tuple[AnswerFormat, ...] = (
    ListOfQuestions("semantic"),
    ListOfQuestions("quality"),
    ReviewOfQuestion("semantic"),
    RepairedQuestion("quality"),
)


def said(text: str) -> Reply:
    return Reply(text=text, model="writer")


@pytest.mark.parametrize("aspect", TAGS)
def test_the_examples_obey_the_rules_that_they_illustrate(aspect: str) -> None:
    examples = SEMANTIC_EXAMPLES if aspect == "semantic" else QUALITY_EXAMPLES
    tags = {tag for _, entries in examples for _, tag in entries}
    assert tags <= set(TAGS[aspect])  # type: ignore[index]
    for _, entries in examples:
        for text, tag in entries:
            one = DVQuestion(aspect=aspect, text=text, tag=tag)  # type: ignore[arg-type]
            assert fault_of(one) is None, text


def test_the_semantic_examples_show_every_tag() -> None:
    shown = {tag for _, entries in SEMANTIC_EXAMPLES for _, tag in entries}
    assert shown == set(TAGS["semantic"])


def test_requests_name_every_tag_and_end_where_the_answer_begins() -> None:
    asked = [DVQuestion(aspect="semantic", text="Is there a kite?", tag="Existence")]
    for aspect, text in (
        ("semantic", semantic_request("a kite")),
        ("quality", quality_request("a kite", asked)),
    ):
        assert all(f"- {tag}: " in text for tag in TAGS[aspect])  # type: ignore[index]
        assert text.endswith("Answer:")
        assert "{{" not in text
    assert '["Is there a kite?"]' in text


@pytest.mark.parametrize(
    "text",
    ["", "[]", "yes", "[1, 2]", '["Is it?"]', '[{"question": 3}]', "[" * 5000, '{"tag": "Count"}'],
)
def test_a_list_that_is_none_is_not_read(text: str) -> None:
    assert ListOfQuestions("semantic").parse(said(text)) is None


def test_a_list_without_end_is_not_read() -> None:
    entries = [{"question": f"Is there a {n}?", "tag": "Count"} for n in range(500)]
    assert ListOfQuestions("semantic").parse(said(json.dumps(entries))) is None


def test_quality_questions_may_be_none() -> None:
    assert ListOfQuestions("quality").parse(said("[]")) == (0.0,)


def test_a_review_needs_a_plain_true_or_false() -> None:
    answer_format = ReviewOfQuestion("semantic")
    assert answer_format.parse(said('{"keep": true}')) == (1.0,)
    assert answer_format.parse(said('{"keep": false, "why": "no"}')) == (0.0,)
    for text in ('{"keep": "yes"}', '{"keep": 1}', '{"why": "fine"}', "keep"):
        assert answer_format.parse(said(text)) is None


def test_a_improved_question_is_one_or_is_given_up() -> None:
    answer_format = RepairedQuestion("semantic")
    assert answer_format.parse(said('{"question": "Is it?", "tag": "Count"}')) == (1.0,)
    assert answer_format.parse(said('{"question": null}')) == (0.0,)
    assert answer_format.parse(said('{"tag": "Count"}')) is None


def test_no_reply_makes_a_parser_stumble_or_invent() -> None:
    rng = random.Random(0)
    pieces = [
        '{"question": ', '"keep": ', "true", "[", "]", "{", "}", "null", '"Is it?"', ",", "\x00",
        '"tag": "Count"', "</think>", "```", "\ud800", "1e999", " ",
    ]  # fmt: skip
    for _ in range(10_000):
        text = "".join(rng.choices(pieces, k=rng.randrange(12)))
        for answer_format in CONTRACTS:
            values = answer_format.parse(said(text))
            assert values is None or (len(values) == 1 and 0.0 <= values[0] <= 80.0)
