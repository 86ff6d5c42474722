"""The probability of a set of first tokens, from named tokens or from the likeliest ones."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.judges.answer_cache import AnswerCache, key_of
from alphabench.judges.first_tokens import (
    FirstTokenReading,
    FirstTokenSet,
    listed_mass,
    probability_among_listed,
    reading_of,
)
from alphabench.judges.parsing import read_reply
from alphabench.judges.scripted import ScriptedJudge
from alphabench.judges.yesno import YesNoProbability, probability_of_yes, yes_no_question
from alphabench.questions import ImagePart, NamedToken, Question, Reply

NUMBER = ("four", "Four", " four", " Four", "4", " 4")
WORDS = ("yes", "no", "Yes", " no", "four", " Four", "4", "maybe", "<think>", "No.")


def contract(
    accepted: tuple[str, ...] = NUMBER, reading: FirstTokenReading = "full"
) -> FirstTokenSet:
    return FirstTokenSet(accepted=accepted, wording="own:0", reading=reading)


def asked(answer_format: FirstTokenSet | YesNoProbability) -> Question:
    if isinstance(answer_format, YesNoProbability):
        shown = ImagePart(path=Path("x.png"), sha256="0" * 64)
        return yes_no_question(
            "Is it red?", [shown], image_id="1/0", question_id="q", answer_format=answer_format
        )
    return Question(
        image_id="1/0",
        id="q",
        parts=("How many?",),
        sampling=answer_format.sampling,
        answer_format=answer_format,
    )


def reply(*tokens: tuple[str, float], named: Sequence[NamedToken] = ()) -> Reply:
    listed = tuple((token, math.log(p)) for token, p in tokens)
    return Reply(text=tokens[0][0], model="m", first_token=listed, named_tokens=tuple(named))


def test_each_text_adds_the_probability_of_its_first_token_and_strictly_each_token_adds_once() -> (
    None
):
    named = [
        NamedToken("four", 1, "four", 0.2),
        NamedToken("Four", 2, "Four", 0.1),
        NamedToken(" four", 1, "four", 0.2),  # this tokenizer drops the blank
        NamedToken(" Four", 7, " ", 0.4),  # and this one begins with a blank alone
        NamedToken("4", 3, "4", 0.05),
        NamedToken(" 4", 7, " ", 0.4),
    ]
    values = contract().parse(reply((" ", 0.4), ("four", 0.2), named=named))
    assert values == pytest.approx((1.35, 0.35, 0.0, 1.35))
    assert contract().parse(reply(("FOUR", 0.6), named=named))[2] == 1.0  # type: ignore[index]
    assert contract().parse(reply(("four.", 0.6), named=named))[2] == 0.0  # type: ignore[index]


def test_a_judge_that_names_no_tokens_gives_no_full_probability() -> None:
    assert contract().parse(reply(("four", 0.9))) is None
    assert contract().parse(Reply(text="four", model="m")) is None


def test_of_listed_tokens_those_count_that_are_an_accepted_text_letter_for_letter() -> None:
    listed = reply(("four", 0.5), ("\u0120Four", 0.2), ("four.", 0.1), ("five", 0.19))
    least, strict, hit, most = contract(reading="top20").parse(listed) or ()
    assert (least, strict, hit) == pytest.approx((0.7, 0.7, 1.0))
    assert most == pytest.approx(0.71)  # all that is not listed may be accepted


def test_what_is_not_listed_is_bounded_by_the_least_likely_that_is() -> None:
    twenty = [("five", 0.905), *((f"w{n}", 0.005) for n in range(19))]
    bounds = probability_among_listed(reply(*twenty).first_token, ("four", "4"))
    assert bounds is not None
    assert bounds.least == 0.0
    assert bounds.most == pytest.approx(min(0.01, 1 - 0.905 - 0.095))


def test_a_probability_that_the_tail_could_move_far_is_none() -> None:
    assert contract(reading="top20").parse(reply(("five", 0.5), ("six", 0.2))) is None
    assert contract(reading="top20").parse(Reply(text="four", model="m")) is None
    above = Reply(text="four", model="m", first_token=(("four", 0.0), ("five", 0.0)))
    assert contract(reading="top20").parse(above) is None


@given(
    st.lists(st.floats(1e-6, 1.0), min_size=len(WORDS), max_size=len(WORDS)),
    st.integers(1, len(WORDS)),
    st.sets(st.sampled_from(WORDS)),
)
def test_the_true_probability_lies_between_the_bounds(
    weights: list[float], n_listed: int, texts: set[str]
) -> None:
    shares = {word: w / sum(weights) for word, w in zip(WORDS, weights, strict=True)}
    likeliest = sorted(shares.items(), key=lambda one: -one[1])[:n_listed]
    bounds = probability_among_listed([(word, math.log(p)) for word, p in likeliest], texts)
    assert bounds is not None
    true = sum(shares[word] for word in texts)
    assert bounds.least - 1e-9 <= true <= bounds.most + 1e-9


@given(st.lists(st.tuples(st.sampled_from(WORDS), st.floats(0.0001, 0.2)), max_size=9))
def test_p_yes_is_the_share_of_yes_in_the_mass_of_both_words(
    tokens: list[tuple[str, float]],
) -> None:
    listed = [(word, math.log(p)) for word, p in tokens]
    p_yes, mass = probability_of_yes(listed), listed_mass(listed, lambda token: token.strip())
    if p_yes is not None:
        assert mass is not None
        yes = mass.of("yes") + mass.of("Yes")
        no = mass.of("no") + mass.of("No.")
        assert p_yes == pytest.approx(yes / (yes + no))


@pytest.mark.parametrize("named_tokens", [True, False])
def test_a_judge_says_by_its_capabilities_which_reading_it_allows(named_tokens: bool) -> None:
    judge = ScriptedJudge("four", named_tokens=named_tokens)
    reading = reading_of(judge)
    assert reading == ("full" if named_tokens else "top20")
    (answer,) = judge.ask([asked(contract(reading=reading))])
    assert answer.values == (1.0, 1.0, 1.0, 1.0)
    assert asked(contract(reading=reading)).sampling.first_tokens == (
        NUMBER if named_tokens else ()
    )


def test_named_texts_are_part_of_a_question_and_of_no_question_without_them() -> None:
    full, cut = asked(contract()), asked(contract(reading="top20"))
    other = asked(contract(accepted=("five",)))
    assert len({one.content_digest for one in (full, cut, other)}) == 3
    earlier = "75465de5060aa0fb8c13d5d6ccce2c299d5b3ee93d878aa5b88040f060805f36"
    assert asked(YesNoProbability()).content_digest == earlier


def test_named_tokens_come_back_from_the_cache_and_other_replies_are_stored_as_before(
    tmp_path: Path,
) -> None:
    cache, judge = AnswerCache(tmp_path), {"kind": "scripted", "model": "m"}
    question, earlier = asked(contract()), asked(YesNoProbability())
    kept = reply(("4", 0.9), named=[NamedToken(" 4", 7, " ", 0.0), NamedToken("4", 3, "4", 0.9)])
    cache.put(judge, [(question, kept), (earlier, reply(("Yes", 0.9)))])
    assert AnswerCache(tmp_path).get(key_of(judge, question)) == kept
    (line,) = [
        line
        for path in tmp_path.glob("*.jsonl")
        for line in path.read_bytes().splitlines(keepends=True)
        if b"named_tokens" not in line
    ]
    fields = json.loads(line)["reply"]
    assert list(fields) == [
        "text", "model", "first_token", "fingerprint", "finish_reason", "tokens_in", "tokens_out",
        "thought", "thoughts_kept",
    ]  # fmt: skip
    wanted = "9ff9c8c8fae177c7a54b3fe9412ed374b650b21dec94ca9b36e964b2918a6ddc"
    assert json.loads(line)["key"] == wanted == key_of(judge, earlier)


def test_a_damaged_named_token_costs_its_reply_and_no_other(tmp_path: Path) -> None:
    cache, judge, question = AnswerCache(tmp_path), {"kind": "m"}, asked(contract())
    cache.put(judge, [(question, reply(("4", 0.9), named=[NamedToken("4", 3, "4", 0.9)]))])
    (path,) = tmp_path.glob("*.jsonl")
    path.write_text(path.read_text().replace('"4", 3, "4", 0.9]', '"4", 3]'))
    assert AnswerCache(tmp_path).get(key_of(judge, question)) is None


def test_ten_thousand_odd_replies_give_probabilities_or_nothing() -> None:
    chance = random.Random(7)
    numbers = (0.0, -0.01, -0.5, -3.0, -49.0, -50.0, -9999.0, 0.05, 0.5, math.nan, math.inf)
    texts = ("four", "Four", " four", "\u2581Four", "4", " 4", "", " ", "<think>", "\ufffd", "no")
    n_scored = 0
    for _ in range(10_000):
        listed = tuple(
            (chance.choice(texts), chance.choice(numbers)) for _ in range(chance.randrange(5))
        )
        named = tuple(
            NamedToken(text, chance.randrange(4), chance.choice(texts), chance.random())
            for text in NUMBER[: chance.choice((0, 6))]
        )
        odd = Reply(text=chance.choice(texts), model="m", first_token=listed, named_tokens=named)
        for reading in ("full", "top20"):
            answer = read_reply(asked(contract(reading=reading)), odd)
            if answer.values is None:
                continue
            n_scored += 1
            per_text, per_token, is_accepted, most = answer.values
            assert 0.0 <= per_token <= per_text + 1e-12 <= most + 2e-12
            assert is_accepted in (0.0, 1.0)
            assert reading == "full" or most - per_text <= 0.1
    assert n_scored > 5_000
