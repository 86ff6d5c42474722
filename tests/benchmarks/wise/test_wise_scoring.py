"""WISE's rules: categories, weights, and how replies are read."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.benchmarks.wise.scoring import (
    CATEGORIES,
    EDITIONS,
    LEGACY,
    VERIFIED,
    BinaryScore,
    ThreeScores,
    WiseEdition,
    weighted_headline,
    wiscore,
    without_thoughts,
)
from alphabench.questions import AnswerFormat, Reply
from tests.support.replies import fuzzed

both = pytest.mark.parametrize("edition", EDITIONS.values(), ids=list(EDITIONS))


def read(answer_format: AnswerFormat, text: str) -> tuple[float, ...] | None:
    return answer_format.parse(Reply(text=text, model="m"))


@both
def test_every_id_from_1_to_1000_has_one_category(edition: WiseEdition) -> None:
    assert all(edition.category(number) for number in range(1, 1001))
    assert edition.category(0) is None
    assert edition.category(1001) is None
    sizes = {n: last - first + 1 for n, (first, last) in edition.ranges.items()}
    assert sum(sizes.values()) == 1000


@both
def test_weights_are_the_shares_of_the_prompts(edition: WiseEdition) -> None:
    for name, (first, last) in edition.ranges.items():
        assert edition.weights[name] == pytest.approx((last - first + 1) / 1000)
    assert sum(edition.weights.values()) == pytest.approx(1)


def test_the_worked_example() -> None:
    assert wiscore((2, 1, 0)) == pytest.approx(0.8)
    means = {
        name: np.array([value])
        for name, value in zip(CATEGORIES, (1, 0.5, 0.5, 0, 0, 1), strict=True)
    }
    assert weighted_headline(LEGACY)(means)[0] == pytest.approx(0.65)
    assert weighted_headline(VERIFIED)(means)[0] == pytest.approx(0.64)


@given(st.sampled_from(["verified", "legacy"]), st.sets(st.sampled_from(CATEGORIES), min_size=1))
def test_equal_means_weigh_to_that_mean_whichever_categories_are_there(
    name: str, present: set[str]
) -> None:
    means = {category: np.array([0.3, 0.7]) for category in present}
    assert weighted_headline(EDITIONS[name])(means) == pytest.approx(np.array([0.3, 0.7]))


digits = st.integers(0, 2)
styles = st.sampled_from(
    ["{}: {}", "{} {}", "**{}**: {}", "**{}:** {}", '"{}": {},', "{}：{}", "- {} = {}", "{}: {}/2"]
)


@given(digits, digits, digits, styles, st.permutations([0, 1, 2]))
def test_strictly_three_plain_statements_are_read_in_any_style_and_order(
    c: int, r: int, a: int, style: str, order: list[int]
) -> None:
    named = [("Consistency", c), ("Realism", r), ("Aesthetic Quality", a)]
    text = "\n".join(style.format(*named[i]) for i in order)
    assert read(ThreeScores(strict=True), text) == (c, r, a)


@pytest.mark.parametrize(
    "text",
    [
        "Consistency: 7\nRealism: 1\nAesthetic Quality: 1",
        "Consistency: 1.5\nRealism: 1\nAesthetic Quality: 1",
        "Consistency: 1\nConsistency: 2\nRealism: 1\nAesthetic Quality: 1",
        "Consistency: 1 or 2\nRealism: 1\nAesthetic Quality: 1",
        "Consistency: 2\nRealism: 1",
        "2\n1\n0\n1",
        "",
    ],
)
def test_strictly_what_is_out_of_range_unclear_or_lacking_is_not_read(text: str) -> None:
    assert read(ThreeScores(strict=True), text) is None


@pytest.mark.parametrize(
    "text", ["Score: 0 or 1? Score: 1", "Score: 0.5", "Score: 2", "1\n0", "Score"]
)
def test_strictly_a_score_that_is_not_one_or_zero_is_not_read(text: str) -> None:
    assert read(BinaryScore(strict=True), text) is None


@pytest.mark.parametrize("text", ["Score: 1", "**Score:** 1", '{"score": 1}', "Score：1", " 1 "])
def test_strictly_a_plain_score_is_read_however_it_is_marked_up(text: str) -> None:
    assert read(BinaryScore(strict=True), text) == (1.0,)


def test_what_a_judge_thinks_aloud_is_no_answer() -> None:
    thought = "<think>Score: 0? It shows a\nfork.</think>\nScore: 1"
    assert without_thoughts(thought) == "Score: 1"
    assert read(BinaryScore(strict=False), thought) == (1.0,)
    assert read(BinaryScore(strict=True), thought) == (1.0,)


SEEDS = (
    "Consistency: 2\nRealism: 1\nAesthetic Quality: 0",
    "**Consistency**: 1\n**Realism:** 2\n**Aesthetic Quality**: 1",
    "2\n1\n0",
    "Score: 1",
    "<think>maybe</think>Score: 0",
)


@pytest.mark.parametrize("strict", [False, True])
def test_ten_thousand_fuzzed_replies_raise_nothing_and_invent_no_number(strict: bool) -> None:
    answer_formats: list[AnswerFormat] = [ThreeScores(strict), BinaryScore(strict)]
    n_read = 0
    for text, answer_format in itertools.product(fuzzed(SEEDS, 5000), answer_formats):
        values = read(answer_format, text)
        if values is None:
            continue
        n_read += 1
        stated = {float(d) for d in re.findall(r"\d", text)}
        assert stated.issuperset(values), text
        if strict:
            assert all(value in (0, 1, 2) for value in values), text
    assert 500 < n_read < 9500
