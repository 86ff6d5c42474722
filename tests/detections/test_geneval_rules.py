"""What counts as a detection, and what GenEval concludes from detections."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.benchmarks.geneval.benchmark import read_facts
from alphabench.detections.geneval_rules import (
    RELATIONS,
    Rules,
    colour_questions,
    decide,
    overlap,
    relations,
    select,
)
from alphabench.detections.objects import COLOURS, DetectedObject, Thresholds

Box = tuple[float, float, float, float]


def thing(
    category: str = "dog",
    score: float = 0.9,
    box: Box = (0, 0, 10, 10),
    colour: str | None = None,
) -> DetectedObject:
    return DetectedObject(category=category, score=score, box=box, colour=colour)


def facts(*include: Mapping[str, Any], tag: str = "position", **others: Any) -> dict[str, Any]:
    return {"tag": tag, "prompt": "made up", "include": list(include), **others}


def colour_of(found: DetectedObject) -> str:
    return str(found.colour)


boxes = st.tuples(*[st.integers(0, 400)] * 2, *[st.integers(1, 200)] * 2).map(
    lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
)
scores = st.integers(0, 1000).map(lambda n: n / 1000)
things = st.builds(
    thing,
    category=st.sampled_from(["dog", "cat", "cup"]),
    score=scores,
    box=boxes,
    colour=st.sampled_from(COLOURS),
)
demands = st.lists(
    st.fixed_dictionaries(
        {"class": st.sampled_from(["dog", "cat", "cup"]), "count": st.integers(1, 4)},
        optional={"color": st.sampled_from(COLOURS)},
    ),
    min_size=1,
    max_size=3,
)


def test_a_score_equal_to_the_threshold_does_not_count() -> None:
    above = thing(score=float(np.nextafter(0.3, 1)))
    assert select([thing(score=0.3), above], tag="colors") == {"dog": [above]}


@pytest.mark.parametrize(("tag", "threshold"), [("colors", 0.3), ("counting", 0.9)])
def test_a_single_precision_score_is_compared_in_single_precision(
    tag: str, threshold: float
) -> None:
    at = np.float32(threshold)
    above = thing(score=float(np.nextafter(at, np.float32(1))))
    assert select([thing(score=float(at)), above], tag=tag) == {"dog": [above]}


def test_counting_has_a_threshold_of_its_own() -> None:
    found = [thing(score=0.9), thing(score=0.5)]
    assert "dog" not in select(found, tag="counting")
    assert len(select(found, tag="two_object")["dog"]) == 2
    lower = Thresholds(score=0.1, counting=0.4)
    assert len(select(found, tag="counting", thresholds=lower)["dog"]) == 2


@given(st.lists(things, max_size=40), st.randoms(use_true_random=False))
def test_the_order_of_detections_changes_nothing(found: list[DetectedObject], random: Any) -> None:
    shuffled = random.sample(found, len(found))
    asked = facts({"class": "dog", "count": 2, "color": "red"}, {"class": "cat", "count": 1})
    once, again = (
        {
            category: [(one.score, one.box) for one in of]
            for category, of in select(several, tag="colors", max_overlap=0.8).items()
        }
        for several in (found, shuffled)
    )
    assert once == again
    assert list(once) == sorted(once)
    unmistakable = {(one.category, one.score, one.box): one for one in found}
    both = [
        decide(asked, select(several, tag="colors"), colour_of)
        for several in (
            list(unmistakable.values()),
            [one for one in shuffled if one in unmistakable.values()],
        )
    ]
    assert both[0] == both[1]


@given(st.lists(things, max_size=60), st.integers(1, 16))
def test_no_category_keeps_more_than_the_cap_and_the_best_stay(
    found: list[DetectedObject], cap: int
) -> None:
    kept, all_ = select(found, tag="colors", cap=cap), select(found, tag="colors", cap=1000)
    assert kept == {category: of[:cap] for category, of in all_.items()}
    for of in all_.values():
        assert [one.score for one in of] == sorted((one.score for one in of), reverse=True)


@given(st.lists(things, max_size=20), st.floats(0.05, 0.95))
def test_objects_that_are_kept_do_not_overlap_too_much(
    found: list[DetectedObject], most: float
) -> None:
    for of in select(found, tag="colors", max_overlap=most).values():
        pairs = [(a, b) for i, a in enumerate(of) for b in of[:i]]
        assert all(overlap(a, b) < most for a, b in pairs)


def test_the_cap_comes_before_overlaps_are_removed() -> None:
    twins = [thing(score=0.9 - n / 100) for n in range(3)]
    apart = thing(score=0.5, box=(50, 50, 60, 60))
    assert len(select([*twins, apart], tag="colors", cap=3, max_overlap=0.5)["dog"]) == 1


def test_overlap_counts_the_pixels_of_both_corners() -> None:
    assert overlap(thing(box=(0, 0, 9, 9)), thing(box=(0, 0, 9, 4))) == 0.5
    assert overlap(thing(box=(0, 0, 9, 9)), thing(box=(10, 0, 19, 9))) == 0.0


@given(boxes, boxes, st.integers(-300, 300), st.integers(-300, 300))
def test_shifting_a_picture_changes_no_relation(a: Box, b: Box, dx: int, dy: int) -> None:
    moved = [(x1 + dx, y1 + dy, x2 + dx, y2 + dy) for x1, y1, x2, y2 in (a, b)]
    assert relations(thing(box=a), thing(box=b)) == relations(
        thing(box=moved[0]), thing(box=moved[1])
    )


@given(boxes, boxes, st.sampled_from([2.0, 4.0, 8.0]))
def test_enlarging_a_picture_changes_no_relation(a: Box, b: Box, scale: float) -> None:
    larger = [(x1 * scale, y1 * scale, x2 * scale, y2 * scale) for x1, y1, x2, y2 in (a, b)]
    assert relations(thing(box=a), thing(box=b)) == relations(
        thing(box=larger[0]), thing(box=larger[1])
    )


@given(boxes, boxes)
def test_mirroring_swaps_left_and_right_and_exchange_reverses_every_relation(
    a: Box, b: Box
) -> None:
    mirrored = [(1000 - x2, y1, 1000 - x1, y2) for x1, y1, x2, y2 in (a, b)]
    swapped = {"left of": "right of", "right of": "left of"}
    reversed_ = {**swapped, "above": "below", "below": "above"}
    seen = relations(thing(box=a), thing(box=b))
    in_mirror = relations(thing(box=mirrored[0]), thing(box=mirrored[1]))
    from_target = relations(thing(box=b), thing(box=a))
    assert {swapped.get(name, name) for name in seen} == set(in_mirror)
    assert {reversed_[name] for name in seen} == set(from_target)
    assert list(seen) == [name for name in RELATIONS if name in seen]


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 500))
def test_side_by_side_means_farther_apart_than_a_fifth_of_both_widths(
    width_a: int, width_b: int, offset: int
) -> None:
    # All corners on even pixels, so that centres are whole and the boundary is met exactly.
    a = thing(box=(1000 - width_a, 0, 1000 + width_a, 10))
    b = thing(box=(1000 - width_b - offset, 0, 1000 + width_b - offset, 10))
    expected = ("right of",) if 5 * offset > 2 * (width_a + width_b) else ()
    assert relations(a, b) == expected


@given(st.lists(things, max_size=12), demands)
def test_only_the_announced_colours_are_asked_for(
    found: list[DetectedObject], include: list[dict[str, Any]]
) -> None:
    selected = select(found, tag="colors")
    announced = colour_questions(facts(*include), selected)
    asked: list[DetectedObject] = []

    def ask(one: DetectedObject) -> str:
        asked.append(one)
        return colour_of(one)

    decide(facts(*include), selected, ask)
    assert set(asked) == set(announced)
    assert len(announced) == len(set(announced))


@given(st.lists(things, max_size=12), demands)
def test_an_image_is_correct_exactly_when_no_reason_is_given(
    found: list[DetectedObject], include: list[dict[str, Any]]
) -> None:
    selected = select(found, tag="colors")
    decision = decide(facts(*include), selected, colour_of)
    each = [decide(facts(one), selected, colour_of) for one in include]
    assert decision.correct == (not decision.reason) == all(one.correct for one in each)
    assert decision.reason == "\n".join(one.reason for one in each if one.reason)


def test_every_pair_of_a_position_must_hold() -> None:
    asked = facts(
        {"class": "dog", "count": 1}, {"class": "cat", "count": 2, "position": ["left of", 0]}
    )
    dog = thing(box=(300, 0, 340, 40))
    left, right = (thing("cat", box=(x, 0, x + 40, 40)) for x in (0, 600))
    both = decide(asked, select([dog, left, right], tag="position"), colour_of)
    assert both.reason == "expected cat left of target, found right of target"
    twice = decide(asked, select([dog, left, left], tag="position"), colour_of)
    assert twice.correct


def test_two_relations_are_told_in_a_fixed_order() -> None:
    asked = facts(
        {"class": "dog", "count": 1}, {"class": "cat", "count": 1, "position": ["below", 0]}
    )
    found = [thing(box=(200, 200, 300, 300)), thing("cat", box=(0, 0, 100, 100))]
    decision = decide(asked, select(found, tag="position"), colour_of)
    assert decision.reason == "expected cat below target, found left of and above target"


def test_a_colour_outside_the_ten_is_told_after_them() -> None:
    asked = facts({"class": "dog", "count": 2, "color": "red"}, tag="colors")
    found = [thing(colour="grey"), thing(score=0.8, colour="white")]
    decision = decide(asked, select(found, tag="colors"), colour_of)
    assert decision.reason == "expected red dog>=2, found 0 red; and 1 white, 1 grey"


@pytest.mark.parametrize(
    ("include", "complaint"),
    [
        ("dog", "'include' is not a list"),
        (["dog"], "is not an object"),
        ([{"count": 1}], "no 'class'"),
        ([{"class": "dog"}], "no whole number 'count'"),
        ([{"class": "dog", "count": True}], "no whole number 'count'"),
        ([{"class": "dog", "count": 0}], "one object at least"),
        ([{"class": "dog", "count": 1, "color": 3}], "a 'color' that is no text"),
        ([{"class": "dog", "count": 1, "position": "left of"}], r"not \[relation, index\]"),
        ([{"class": "dog", "count": 1, "position": ["left of", 0]}], "no earlier clause"),
        (
            [{"class": "dog", "count": 1}, {"class": "cat", "count": 1, "position": ["near", 0]}],
            "'near' is no relation",
        ),
    ],
)
def test_malformed_facts_are_refused(include: Sequence[Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Rules.from_facts({"include": include})


def test_demands_that_upstream_takes_as_they_come_are_decided_as_there() -> None:
    """None of an object is always there; a relation that is none of the four never holds."""
    none = facts({"class": "dog", "count": 0}, {"class": "cat", "count": 1})
    assert decide(none, select([thing(category="cat")], tag="colors"), colour_of).correct
    near = facts(
        {"class": "dog", "count": 1}, {"class": "cat", "count": 1, "position": ["near", 0]}
    )
    found = select([thing(), thing(category="cat", box=(200, 0, 210, 10))], tag="position")
    decision = decide(near, found, colour_of)
    assert decision.reason == "expected cat near target, found right of target"
    forbidden = {"tag": "counting", "include": [], "exclude": [{"class": "dog", "count": 0}]}
    assert not decide(forbidden, select([thing()], tag="colors"), colour_of).correct
    assert read_facts(json.dumps({**near, "prompt": "p"}), where="x")["tag"] == near["tag"]
