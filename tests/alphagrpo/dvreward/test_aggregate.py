"""One reward from the answers to a prompt's questions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphagrpo.dvreward.aggregate import AGGREGATIONS, Aggregation, AggregationOptions, aggregate

PROBABILITIES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8)
RULES = st.sampled_from(AGGREGATIONS)


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_the_reference_values_are_reproduced(shared: Path, name: Aggregation) -> None:
    golden = json.loads((shared / "golden/trainer/dvreward.json").read_text())
    reward = aggregate(golden["semantic"], golden["quality"], AggregationOptions(aggregate=name))
    assert reward.value == pytest.approx(golden[name], abs=1e-12)
    assert reward.semantic == pytest.approx(golden["semantic_mean"], abs=1e-12)
    assert reward.quality == pytest.approx(golden["quality_mean"], abs=1e-12)


def test_geometric_is_the_square_root_of_the_product_and_the_default() -> None:
    assert aggregate([0.4, 0.64], [0.75]).value == pytest.approx(math.sqrt(0.52 * 0.75))


@given(semantic=PROBABILITIES, quality=PROBABILITIES, rule=RULES, place=st.integers(0, 7))
def test_one_unanswered_question_means_no_reward(
    semantic: list[float], quality: list[float], rule: Aggregation, place: int
) -> None:
    cut: list[float | None] = list(semantic)
    cut[place % len(cut)] = None
    reward = aggregate(cut, quality, AggregationOptions(aggregate=rule))
    assert reward.value is None
    assert reward.n_answered == reward.n_asked - 1


@given(semantic=PROBABILITIES, quality=PROBABILITIES, rule=RULES)
def test_a_reward_lies_between_the_worst_and_the_best_answer(
    semantic: list[float], quality: list[float], rule: Aggregation
) -> None:
    value = aggregate(semantic, quality, AggregationOptions(aggregate=rule)).value
    assert value is not None
    answers = [*semantic, *quality]
    assert min(answers) - 1e-12 <= value <= max(answers) + 1e-12


@given(semantic=PROBABILITIES, quality=PROBABILITIES, rule=RULES, data=st.data())
def test_the_order_of_the_questions_changes_nothing(
    semantic: list[float], quality: list[float], rule: Aggregation, data: st.DataObject
) -> None:
    how = AggregationOptions(aggregate=rule)
    shuffled = data.draw(st.permutations(semantic))
    assert aggregate(shuffled, quality, how) == aggregate(semantic, quality, how)


@given(semantic=PROBABILITIES, quality=PROBABILITIES, rule=RULES, data=st.data())
def test_a_better_answer_never_lowers_the_reward(
    semantic: list[float], quality: list[float], rule: Aggregation, data: st.DataObject
) -> None:
    how = AggregationOptions(aggregate=rule)
    place = data.draw(st.integers(0, len(semantic) - 1))
    better = [*semantic]
    better[place] = data.draw(st.floats(semantic[place], 1.0))
    before, after = aggregate(semantic, quality, how).value, aggregate(better, quality, how).value
    assert before is not None
    assert after is not None
    assert after >= before - 1e-12


def test_with_less_coverage_asked_for_the_answered_questions_decide() -> None:
    how = AggregationOptions(min_coverage=0.6)
    reward = aggregate([1.0, None, 0.5], [0.75, None], how)
    assert reward.value == pytest.approx(0.75)
    assert reward.coverage == pytest.approx(0.6)
    assert aggregate([1.0, None, 0.5], [None, None], how).value is None


def test_an_aspect_of_which_nothing_is_answered_leaves_no_reward_however_low_the_bar() -> None:
    assert aggregate([1.0, 1.0, 1.0], [None], AggregationOptions(min_coverage=0.1)).value is None


def test_nine_of_ten_are_enough_for_nine_tenths() -> None:
    answers: list[float | None] = [1.0] * 8 + [None]
    assert aggregate(answers, [1.0], AggregationOptions(min_coverage=0.9)).value == 1.0


def test_an_aspect_without_questions_counts_as_one_or_is_left_out() -> None:
    assert aggregate([0.25], []).value == pytest.approx(0.5)
    assert aggregate([0.25], [], AggregationOptions(empty="left_out")).value == pytest.approx(0.25)


def test_no_question_at_all_is_no_reward() -> None:
    assert aggregate([], []).value is None


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        aggregate([1.2], [0.5])
    with pytest.raises(ValueError, match="min_coverage"):
        AggregationOptions(min_coverage=0.0)


def test_the_semantic_aspect_can_count_for_more_or_alone() -> None:
    def value(**options: Any) -> float | None:
        return aggregate([0.4, 0.6], [0.9], AggregationOptions(**options)).value

    assert value(semantic_weight=0.75) == pytest.approx(0.5**0.75 * 0.9**0.25)
    assert value(aggregate="mean", semantic_weight=0.75) == pytest.approx(0.6)
    assert value(semantic_weight=1.0) == value(aggregate="mean", semantic_weight=1.0) == 0.5
    assert value(semantic_weight=0.0) == pytest.approx(0.9)


def test_quality_no_longer_outranks_a_missing_object_where_the_semantic_aspect_weighs_more() -> (
    None
):
    complete, handsome = ([1.0, 1.0], [0.3]), ([1.0, 0.0], [1.0])
    released = [aggregate(*one).value or 0.0 for one in (complete, handsome)]
    weighted = [
        aggregate(*one, AggregationOptions(semantic_weight=0.8)).value or 0.0
        for one in (complete, handsome)
    ]
    assert released[0] < released[1]
    assert weighted[0] > weighted[1]


def test_an_aspect_that_is_left_out_leaves_all_weight_to_the_other() -> None:
    how = AggregationOptions(empty="left_out", semantic_weight=0.9)
    assert aggregate([], [0.3], how).value == pytest.approx(0.3)


def test_the_released_weight_leaves_the_identity_of_earlier_versions() -> None:
    released = {"aggregate": "geometric", "min_coverage": "1.0", "empty": "full"}
    assert AggregationOptions().identity == released
    weighted = AggregationOptions(semantic_weight=0.8).identity
    assert weighted == {**released, "semantic_weight": "0.8"}


def test_a_weight_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="not within 0 and 1"):
        AggregationOptions(semantic_weight=1.5)
    with pytest.raises(ValueError, match="belongs to"):
        AggregationOptions(aggregate="sum_mean", semantic_weight=0.8)
