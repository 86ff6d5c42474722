"""Yes or no: nothing is found inside other words, and nothing is guessed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.judges.first_tokens import MOST_UNSEEN
from alphabench.judges.yesno import (
    LEAST_MASS,
    YesNoProbability,
    YesNoText,
    bare_word,
    probability_of_yes,
    yes_no_question,
    yes_or_no,
)
from alphabench.questions import ImagePart, Reply


def test_the_golden_probabilities_hold(shared: Path) -> None:
    golden = json.loads((shared / "golden" / "trainer" / "dvreward.json").read_text())
    assert golden["p_yes"]
    for name, expected in golden["p_yes"].items():
        found = probability_of_yes([(t, lp) for t, lp in golden["top_logprobs"][name]["top"]])
        assert found == (None if expected is None else pytest.approx(expected, abs=1e-12)), name


@pytest.mark.parametrize(
    "token", ["yes", "Yes", " YES", "\nyes", "Yes.", "**yes**", "ＹＥＳ", "▁yes", "Ġyes", "(yes)"]
)
def test_spellings_of_yes_all_count(token: str) -> None:
    assert probability_of_yes([(token, -0.01)]) == 1.0


@pytest.mark.parametrize("token", ["yesterday", "eyes", "not", "none", "know", "y", "yes/no", ""])
def test_words_that_hold_yes_or_no_do_not_count(token: str) -> None:
    assert probability_of_yes([(token, -0.1)]) is None


NAN, INF = math.nan, math.inf
NOTHING = [
    [("The", 0.0), ("Yes", -9999.0), ("No", -9999.0)],
    [("The", 0.0), ("No", -9999.0)],
    [("The", 0.0), ("Yes", -100.0), ("No", -100.0)],
    [("<think>", -1e-8), ("Yes", -17.0), ("No", -19.0)],
    [("The", -0.02), ("Yes", -4.0), ("No", -13.0)],
    [("Yes", NAN), ("No", -1.0)],
    [("Yes", -9999.0), ("No", -1.0)],
    [("Yes", -INF), ("No", -0.7)],
    [("Yes", 0.0), ("No", 0.0)],
    [("Yes", 700.0), ("No", 700.0)],
    [("Yes", 2.3), ("No", -0.1)],
    [("Yes", -50.0)],
    [("Yes", -0.7)],
    [("Yes", NAN), ("No", INF)],
    [],
]


@pytest.mark.parametrize("tokens", NOTHING)
def test_a_probability_is_not_made_from_nothing(tokens: list[tuple[str, float]]) -> None:
    assert probability_of_yes(tokens) is None


@pytest.mark.parametrize(
    ("tokens", "p_yes"),
    [
        ([("Yes", math.log(0.98))], 1.0),  # at most 0.02 are left for no
        ([("No", -0.05), ("The", -4.0), ("Yes", -9999.0)], 0.0),
        ([("The", math.log(0.8)), ("Yes", math.log(0.15)), ("No", math.log(0.05))], 0.75),
        ([("Yes", math.log(0.6)), ("yes", 0.01 + math.log(0.3)), ("No", math.log(0.11))], None),
    ],
)
def test_what_is_listed_decides_where_the_rest_cannot(
    tokens: list[tuple[str, float]], p_yes: float | None
) -> None:
    expected = pytest.approx(0.8914, abs=1e-3) if p_yes is None else pytest.approx(p_yes)
    assert probability_of_yes(tokens) == expected


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["yes", " No", "NO.", "Yes", "maybe", "the"]),
            st.one_of(st.floats(-12, 0), st.floats(), st.sampled_from([-9999.0, -100.0, 0.0])),
        ),
        max_size=20,
    )
)
def test_order_changes_nothing_and_a_probability_it_is(tokens: list[tuple[str, float]]) -> None:
    p_yes = probability_of_yes(tokens)
    again = probability_of_yes(list(reversed(tokens)))
    if p_yes is None:
        assert again is None
    else:
        assert again == pytest.approx(p_yes, abs=1e-9)
        assert 0.0 <= p_yes <= 1.0
        mass = sum(math.exp(lp) for t, lp in tokens if bare_word(t) in ("yes", "no") and lp > -50)
        assert mass >= LEAST_MASS * (1 - 1e-9)


@given(st.text(max_size=30), st.floats(-20, 0))
def test_any_token_at_all_does_no_harm(token: str, logprob: float) -> None:
    assert probability_of_yes([(token, logprob)]) in (None, 0.0, 1.0)
    assert yes_or_no(token) in (None, True, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Yes", True), ("yes.", True), ("**Yes**: it is", True), ("No, there is none", False),
        ("no\nbecause", False), ("No - it is blue", False), ("ＮＯ", False),
        ("Yes and no", None), ("No dogs are here", None), ("no-one", None), ("yes/no", None),
        ("Yesterday", None), ("Yes, but not a dog", None), ("Answer: yes", None), ("", None),
        ("I think yes", None), ("No problem, yes!", None), ("Yes; no", None),
    ],
)  # fmt: skip
def test_a_reply_in_words_is_read_only_when_it_is_plain(text: str, said: bool | None) -> None:
    assert yes_or_no(text) is said
    value = YesNoText().parse(Reply(text=text, model="m"))
    assert value == (None if said is None else (float(said),))


def test_the_probability_contract_never_falls_back_to_the_text() -> None:
    assert YesNoProbability().parse(Reply(text="Yes", model="m")) is None


def test_the_pictures_come_before_the_question(picture: ImagePart) -> None:
    question = yes_no_question(
        "Is it red?", [picture], image_id="1/0", question_id="q", answer_format=YesNoProbability()
    )
    assert question.parts[0] == picture
    assert str(question.parts[1]).startswith("Is it red?")
    assert (question.sampling.max_tokens, question.sampling.top_logprobs) == (1, 20)


def test_the_limits_of_a_probability_stand_in_the_identity() -> None:
    identity = YesNoProbability().identity
    assert identity["least_mass"] == str(LEAST_MASS)
    assert identity["most_unseen"] == str(MOST_UNSEEN)


def test_another_wording_is_another_identity() -> None:
    own, other = YesNoProbability(), YesNoProbability(template="{question} Yes or no?")
    assert own.identity["wording"].startswith("own:")
    assert own.identity != other.identity
    assert own.identity["contract"] != YesNoText().identity["contract"]
