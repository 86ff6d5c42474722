"""`alphabench.upstream.templates`, on scripts made up for the purpose."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.core.errors import AlphaBenchError
from alphabench.upstream import UpstreamData
from alphabench.upstream.templates import (
    ImageSlot,
    Placeholder,
    Template,
    changed,
    constants_of,
    digest,
    first_arguments_of,
    messages_of,
    own_template,
    read_script,
    templates_of,
)

SCRIPT = b'''
import os, sys
raise RuntimeError("a script is never run")
HEAD = "Look" + " at " \\
    "it."
NUMBERED = 7
BOTH = "\\n".join([HEAD, """Then say
what you see."""])
class Judge:
    def ask(self, item, picture):
        hint = item["hint"]
        note = f"{HEAD} It shows {item['what']}. Hint: {hint}!"
        system = "Be kind.  ".strip()
        return [
            {"role": "system", "content": system},
            {"role": "user", "content": [
                {"type": "text", "text": note},
                {"type": "image_url", "image_url": {"url": picture}},
            ]},
        ]
def branches(kind):
    text = "first"
    if kind:
        text = "second"
    return "say " + text
'''


def test_strings_are_found_by_the_name_that_they_are_given() -> None:
    assert constants_of(SCRIPT) == {
        "HEAD": "Look at it.",
        "BOTH": "Look at it.\nThen say\nwhat you see.",
        "Judge.ask.system": "Be kind.",
        "branches.text": "first",
        "branches.text#2": "second",
    }


def test_what_changes_from_question_to_question_is_a_hole() -> None:
    note = templates_of(SCRIPT)["Judge.ask.note"]
    assert [placeholder.expression for placeholder in note.placeholders] == ["item['what']", "hint"]
    assert note.literal is None
    assert note.fill({"what": "a cat", "hint": "ears"}) == (
        "Look at it. It shows a cat. Hint: ears!"
    )


def test_a_hole_without_a_value_of_its_own_is_never_left_empty() -> None:
    note = templates_of(SCRIPT)["Judge.ask.note"]
    with pytest.raises(ValueError, match="no single value fits"):
        note.fill({"what": "a cat"})
    with pytest.raises(ValueError, match="no single value fits"):
        note.fill({"what": "a cat", "hint": "ears", "item": "which?"})


def test_a_text_that_is_formatted_has_its_fields_as_holes() -> None:
    source = b"""
TEXT = "Is {thing} {{here}}? {}"
def ask(item, more):
    return [{"role": "user", "content": TEXT.format(more, thing=item["name"])}]
"""
    (message,) = messages_of(source)
    (template,) = message.parts
    assert isinstance(template, Template)
    assert template.fill({"thing": "a cat", "more": "Say yes."}) == "Is a cat {here}? Say yes."
    assert constants_of(source) == {"TEXT": "Is {thing} {{here}}? {}"}


def test_messages_keep_role_order_and_the_position_of_the_image() -> None:
    system, user = messages_of(SCRIPT)
    assert (system.where, system.role, system.parts) == (
        "Judge.ask",
        "system",
        (Template(("Be kind.",)),),
    )
    assert user.role == "user"
    assert user.parts == (templates_of(SCRIPT)["Judge.ask.note"], ImageSlot("{'url': picture}"))


def test_a_name_with_two_values_is_not_taken_for_either() -> None:
    source = b'def f(k):\n a = "x"\n if k:\n  a = "y"\n b = f"say {a}"\n'
    assert templates_of(source)["f.b"].pieces == ("say ", Placeholder("a", frozenset({"a"})))
    extended = b'A = "x"\nA += "y"\nB = "say " + A\n'
    assert templates_of(extended)["B"].placeholders


def test_an_argument_hides_a_constant_of_the_same_name() -> None:
    source = b'what = "a dog"\ndef f(what):\n text = f"is it {what}?"\n'
    assert templates_of(source)["f.text"].fill({"what": "a cat"}) == "is it a cat?"


def test_names_that_stand_for_each_other_end() -> None:
    assert templates_of(b'A = B + "x"\nB = A + "y"\n')["A"].placeholders


def test_content_that_is_put_together_elsewhere_is_no_message() -> None:
    source = b'm = [{"role": "user", "content": make()}, {"role": "user", "content": [part()]}]'
    assert messages_of(source) == ()


def test_a_script_that_is_not_python_is_one_sentence() -> None:
    with pytest.raises(AlphaBenchError, match="cannot be parsed"):
        constants_of(b"<html>not found</html>")


WORDS = st.text(alphabet=string.printable + "äß漢", max_size=30)


@given(st.lists(WORDS, min_size=1, max_size=5))
def test_any_text_survives_every_way_of_writing_it(texts: list[str]) -> None:
    source = "\n".join(
        [
            "A = " + " + ".join(map(repr, texts)),
            "B = ''.join([" + ", ".join(map(repr, texts)) + "])",
            "C = f" + repr("".join(texts).replace("{", "{{").replace("}", "}}")),
        ]
    ).encode()
    found = constants_of(source)
    assert set(found.values()) == {"".join(texts)}


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(source: bytes) -> None:
    try:
        found = constants_of(source)
    except AlphaBenchError:
        return
    assert all(isinstance(text, str) for text in found.values())


def test_the_digest_follows_every_letter_and_every_hole() -> None:
    one, other = Template(("a", Placeholder("x", frozenset("x")))), Template(("a",))
    assert digest([one]) == digest([Template(("a", Placeholder("x", frozenset())))])
    assert len({digest([one]), digest([other]), digest([one, other]), digest([])}) == 4


def test_a_script_that_was_not_fetched_names_the_two_ways_on(tmp_path: Path) -> None:
    data = UpstreamData(cache_dir=tmp_path)
    with pytest.raises(AlphaBenchError, match="not on this machine") as caught:
        read_script(data, "wise-judge", "vllm_eval.py")
    assert "alphabench fetch wise-judge" in str(caught.value.hint)
    assert "wording=own" in str(caught.value.hint)


def test_a_script_with_another_content_is_refused(tmp_path: Path) -> None:
    data = UpstreamData(cache_dir=tmp_path)
    place = data.path_of("wise-judge", "vllm_eval.py")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"TEXT = 'say yes'")
    with pytest.raises(AlphaBenchError, match="not the official file"):
        read_script(data, "wise-judge", "vllm_eval.py")


def test_a_script_that_holds_something_else_says_so() -> None:
    assert "wording=own" in str(changed("judge.py", "no question").hint)
    assert "no question" in changed("judge.py", "no question").message


def test_the_text_that_a_function_is_called_with_is_found_at_each_call() -> None:
    source = b"""
def ask(text, image): ...
def soft(question, image):
    return ask('{} In a word.'.format(question), image), other('x'), ask(image, 'y')
def hard(question, image):
    for _ in range(2):
        ask('{} In a word.'.format(question), image)
"""
    first, second = first_arguments_of(source, "ask")
    assert first == second
    assert first.fill({"question": "How many?"}) == "How many? In a word."
    assert first_arguments_of(source, "nothing") == ()


def test_a_text_of_our_own_has_its_names_as_holes_and_other_braces_as_text() -> None:
    template = own_template("{question} {{x}}\nSay {answer}: {question}", "question", "answer")
    filled = template.fill({"question": "How {many}?", "answer": "4"})
    assert filled == "How {many}? {{x}}\nSay 4: How {many}?"
    assert own_template("no hole", "question").literal == "no hole"
