"""DPG's rules: dependencies, dropped items, categories."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.benchmarks.dpg.scoring import (
    JudgedItem,
    Proposition,
    category_estimates,
    count_answers,
    dpg_bounds,
    dpg_headline,
    image_score,
    propositions_that_count,
    resolved_answers,
)

ENTITY, COLOUR = "entity - whole", "attribute - color"


def ask(id_: str, *parents: str, row: int = 1, category: str = ENTITY) -> Proposition:
    return Proposition(id=id_, parents=parents, category=category, question=f"{id_}?", row=row)


def item(*images: Mapping[str, float | None], of: tuple[Proposition, ...]) -> JudgedItem:
    return JudgedItem(id="i", propositions=of, images=images)


def value(items: list[JudgedItem], protocol: str = "strict") -> float | None:
    return dpg_headline(items, protocol).value  # type: ignore[arg-type]


CHAIN = (ask("1"), ask("2", "1"), ask("3", "2"))
LATE = (ask("1", "3"), ask("2", "1"), ask("3"))


def test_a_no_passes_down_a_chain_whose_parents_stand_first() -> None:
    assert resolved_answers(CHAIN, {"1": 0, "2": 1, "3": 1}) == {"1": 0, "2": 0, "3": 0}
    assert resolved_answers(CHAIN, {"1": 1, "2": 0, "3": 1}) == {"1": 1, "2": 0, "3": 0}


def test_a_parent_that_stands_later_is_seen_as_it_was_answered() -> None:
    assert resolved_answers(LATE, {"1": 1, "2": 1, "3": 0}) == {"1": 0, "2": 0, "3": 0}
    cycle = (ask("1", "2"), ask("2", "3"), ask("3"))
    assert resolved_answers(cycle, {"1": 1, "2": 1, "3": 0}) == {"1": 1, "2": 0, "3": 0}


def test_one_of_several_parents_is_enough_to_make_a_question_pointless() -> None:
    two = (ask("1"), ask("2"), ask("3", "1", "2"))
    assert resolved_answers(two, {"1": 1, "2": 0, "3": 1})["3"] == 0
    assert resolved_answers(two, {"1": 1, "2": 1, "3": 1})["3"] == 1


def test_a_question_counts_only_when_all_that_it_depends_on_is_known() -> None:
    assert resolved_answers(CHAIN, {"1": None, "2": 1, "3": 0}) == {"1": None, "2": None, "3": None}
    assert resolved_answers(CHAIN, {"1": 1, "2": 1}) == {"1": 1, "2": 1, "3": None}
    assert image_score(CHAIN, {"1": 1, "2": 0}) == 0.5
    assert image_score(CHAIN, {}) is None


graphs = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        *[
            st.builds(
                lambda i, parents: ask(str(i), *sorted({str(p) for p in parents if p != i})),
                st.just(i),
                st.lists(st.integers(0, n - 1), max_size=2),
            )
            for i in range(n)
        ]
    )
)


@given(graphs, st.lists(st.sampled_from([0.0, 1.0, None]), min_size=6, max_size=6))
def test_a_settled_answer_is_never_better_than_the_answer_and_a_yes_never_hurts(
    graph: tuple[Proposition, ...], values: list[float | None]
) -> None:
    answers = {str(i): one for i, one in enumerate(values)}
    after = resolved_answers(graph, answers)
    for one in graph:
        mine, raw = after[one.id], answers[one.id]
        assert mine is None or (raw is not None and mine <= raw)
    worst = {k: 0.0 if v is None else v for k, v in answers.items()}
    best = {k: 1.0 if v is None else v for k, v in answers.items()}
    low, high = image_score(graph, worst), image_score(graph, best)
    assert low is not None
    assert high is not None
    assert low <= high


FIRST = (ask("1", row=0), ask("2", "1", row=1), ask("3", row=2))
FREE = (ask("1", row=0), ask("2", row=1))


def test_official_passes_over_the_first_row_and_drops_the_item_that_needs_it() -> None:
    assert propositions_that_count(FIRST, "official") is None
    assert propositions_that_count(FIRST, "strict") == FIRST
    assert propositions_that_count(FREE, "official") == FREE[1:]
    assert propositions_that_count(FIRST[:1], "official") is None
    right, wrong = dict.fromkeys("123", 1.0), dict.fromkeys("123", 0.0)
    items = [
        JudgedItem(id="first", propositions=FIRST, images=(wrong,)),
        JudgedItem(id="other", propositions=CHAIN, images=(right,)),
    ]
    assert value(items, "official") == 1.0
    assert value(items, "strict") == 0.5
    assert dpg_headline(items, "official").n_samples == 1
    assert count_answers(items, "official") == (3, 3)
    assert count_answers(items, "strict") == (6, 6)


def test_a_no_before_the_parent_that_is_not_there_saves_the_item() -> None:
    """Upstream leaves its walk over the parents at the first no, before it could fail."""
    graph = (ask("1", row=0), ask("2", row=1), ask("3", "2", "1", row=2))
    behind = (*graph[:2], ask("3", "1", "2", row=2))
    no, yes = {"2": 0.0, "3": 1.0}, {"2": 1.0, "3": 1.0}
    for propositions, images, score in (
        (graph, (no, no), 0.0),
        (graph, (no, yes), None),
        (graph, (no, {}), None),
        (behind, (no, no), None),
    ):
        one = JudgedItem(id="one", propositions=propositions, images=images)
        assert one.score("official") == score
        assert count_answers([one], "official") == ((4, 4) if score is not None else (0, 0))


def test_the_headline_is_the_mean_over_items_and_not_over_questions() -> None:
    one = JudgedItem(id="one", propositions=(ask("1"),), images=({"1": 0.0},))
    many = JudgedItem(id="many", propositions=CHAIN, images=(dict.fromkeys("123", 1.0),))
    assert value([one, many]) == 0.5


def test_official_categories_see_the_last_image_alone_and_no_dependency() -> None:
    of = (ask("1"), ask("2", "1", category=COLOUR))
    judged = [item({"1": 1, "2": 1}, {"1": 0, "2": 1}, of=of)]
    official = category_estimates(judged, "official", broad=True)
    strict = category_estimates(judged, "strict", broad=True)
    assert {name: of.value for name, of in official.items()} == {"attribute": 1.0, "entity": 0.0}
    assert {name: of.value for name, of in strict.items()} == {"attribute": 0.5, "entity": 0.5}
    assert official["attribute"].n_expected == 1
    assert strict["attribute"].n_expected == 2
    assert value(judged, "official") == 0.5


def test_a_broad_category_pools_the_questions_of_its_narrow_ones() -> None:
    of = (
        ask("1", category="other - count"),
        ask("2", category="other - count"),
        ask("3", category="other - state"),
        ask("4", category="global -"),
    )
    judged = [item({"1": 1, "2": 1, "3": 0, "4": 1}, of=of)]
    assert category_estimates(judged, "strict", broad=True)["other"].value == pytest.approx(2 / 3)
    assert list(category_estimates(judged, "strict", broad=True)) == ["other", "global"]
    assert list(category_estimates(judged, "strict", broad=False)) == [
        "global -", "other - count", "other - state",
    ]  # fmt: skip


def test_bounds_hold_what_the_score_would_have_been() -> None:
    known = [item({"1": 1, "2": 1, "3": 0}, of=CHAIN)]
    lacking = [item({"1": 1, "2": None, "3": 0}, of=CHAIN)]
    low, high = dpg_bounds(lacking, "strict") or (9, 9)
    exact = value(known)
    assert exact is not None
    assert low == pytest.approx(1 / 3)
    assert high == pytest.approx(2 / 3)
    assert low <= exact <= high
    assert dpg_bounds([], "strict") is None


def test_an_image_that_is_not_there_takes_no_part() -> None:
    assert value([item({"1": 1, "2": 1, "3": 1}, {}, of=CHAIN)]) == 1.0
    assert value([item({}, {}, of=CHAIN)]) is None
    assert count_answers([item({}, {}, of=CHAIN)], "strict") == (0, 6)
