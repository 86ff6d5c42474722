"""Questions about drawn scenes with known answers."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from importlib import resources
from typing import Any

import numpy as np
import pytest

from alphabench.detections.objects import COLOURS
from alphabench.scenes.geneval_scenes import applicable_errors, compose
from alphabench.scenes.render import render
from alphabench.scenes.scene_questions import (
    QUESTION_KINDS,
    a_noun,
    check_holds,
    fact_questions,
    noun,
    scene_questions,
)
from alphabench.scenes.scene_sampling import random_scene
from alphabench.scenes.spec import CATEGORIES, GROUND_KINDS, Background, Scene, SceneObject

MINI = [
    json.loads(line)
    for line in (resources.files("alphabench.scenes") / "mini" / "geneval.jsonl")
    .read_text()
    .splitlines()
]


def item(
    category: str, x: float, y: float, *, colour: str | None = None, size: float = 0.3
) -> SceneObject:
    return SceneObject(category=category, colour=colour, x=x, y=y, size=size)


def asked(*objects: SceneObject, seed: int = 0) -> dict[str, list[tuple[str, bool]]]:
    scene = Scene(background=Background(kind="stripes"), objects=objects, seed=1)
    found: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for one in scene_questions(scene, render(scene, 128, 128).truth, seed=seed):
        found[one.kind].append((one.text, one.truth))
    return found


DOG = item("dog", 0.25, 0.5, colour="red", size=0.4)
CAR = item("car", 0.8, 0.5, colour="blue", size=0.2)


def test_a_scene_of_two_objects_is_asked_about_in_every_way() -> None:
    found = asked(DOG, CAR)
    assert set(found) == set(QUESTION_KINDS)
    assert dict(found["position"]) in (
        {"Is the dog to the left of the car?": True, "Is the dog to the right of the car?": False},
        {"Is the car to the right of the dog?": True, "Is the car to the left of the dog?": False},
    )
    assert dict(found["binding"]) in (
        {"Can a red dog be seen in the picture?": True,
         "Can a blue dog be seen in the picture?": False},
        {"Can a blue car be seen in the picture?": True,
         "Can a red car be seen in the picture?": False},
    )  # fmt: skip
    assert found["size"][0] == ("Does the dog take up more of the picture than the car?", True)
    assert found["ground"][0] == ("Is the background stripes?", True)
    assert found["total"][0] == (
        "Counting all objects, are there exactly two objects in the picture?", True
    )  # fmt: skip


def test_every_kind_has_as_many_questions_answered_yes_as_no() -> None:
    counts: Counter[tuple[str, bool]] = Counter()
    for seed in range(60):
        scene = random_scene(np.random.default_rng(seed))
        questions = scene_questions(scene, render(scene, 128, 128).truth, seed=seed)
        counts.update((one.kind, one.truth) for one in questions)
        assert len({one.text for one in questions}) == len(questions)
    for kind in QUESTION_KINDS:
        assert counts[kind, True] == counts[kind, False] > 10


def test_the_same_seed_asks_the_same_and_another_asks_otherwise() -> None:
    assert asked(DOG, CAR, seed=3) == asked(DOG, CAR, seed=3)
    assert len({str(sorted(asked(DOG, CAR, seed=seed).items())) for seed in range(8)}) > 1


def test_an_empty_scene_is_asked_about_its_background_alone() -> None:
    assert set(asked()) == {"ground"}


def test_nothing_is_asked_about_what_can_hardly_be_seen() -> None:
    speck = item("zebra", 0.9, 0.1, size=0.03)
    hidden = item("apple", 0.25, 0.5, size=0.1)
    for seed in range(20):
        found = asked(hidden, DOG, speck, seed=seed)
        words = " ".join(text for pairs in found.values() for text, _ in pairs)
        assert "zebra" not in words
        assert "apple" not in words
        assert "total" not in found


def test_the_colour_of_an_icon_that_was_not_tinted_is_no_question() -> None:
    found = asked(item("dog", 0.3, 0.5), item("car", 0.7, 0.5))
    assert "colour" not in found
    assert "binding" not in found


def test_which_of_several_is_meant_is_never_left_open() -> None:
    dogs = [item("dog", x, 0.3, colour="red", size=0.2) for x in (0.2, 0.5, 0.8)]
    for seed in range(10):
        found = asked(*dogs, seed=seed)
        assert not {"colour", "binding", "position", "size"} & set(found)
        assert found["count"][0] == ("Are there exactly three dogs in the picture?", True)


def test_objects_that_stand_diagonally_have_no_plain_relation() -> None:
    assert "position" not in asked(item("dog", 0.25, 0.25), item("car", 0.75, 0.75))


@pytest.mark.parametrize("facts", MINI, ids=lambda facts: facts["prompt"][:40])
def test_a_perfect_decomposers_questions_hold_for_every_right_scene(facts: dict[str, Any]) -> None:
    questions = fact_questions(facts)
    assert questions
    for seed in range(4):
        scene = compose(facts, np.random.default_rng(seed))
        truth = render(scene, 128, 128).truth
        assert all(check_holds(one.check, truth) for one in questions)


@pytest.mark.parametrize("facts", MINI[::3], ids=lambda facts: facts["prompt"][:40])
def test_and_one_of_them_fails_for_every_planted_error(facts: dict[str, Any]) -> None:
    questions = fact_questions(facts)
    for kind in applicable_errors(facts):
        for seed in range(3):
            scene = compose(facts, np.random.default_rng(seed), error=kind)
            truth = render(scene, 128, 128).truth
            assert not all(check_holds(one.check, truth) for one in questions), kind


def test_facts_become_one_question_for_each_demand() -> None:
    facts = {
        "include": [
            {"class": "dog", "count": 2, "color": "red"},
            {"class": "scissors", "count": 1},
            {"class": "car", "count": 1, "position": ["left of", 1]},
        ],
        "exclude": [{"class": "dog", "count": 3}, {"class": "bear", "count": 1}],
    }
    assert [(one.kind, one.text) for one in fact_questions(facts)] == [
        ("count", "Are there exactly two dogs in the picture?"),
        ("colour", "Are the two dogs red?"),
        ("existence", "Is there a pair of scissors in the picture?"),
        ("existence", "Is there a car in the picture?"),
        ("position", "Is the car to the left of the pair of scissors?"),
        ("absence", "Is the picture free of bears?"),
    ]
    open_ended = {"include": [{"class": "dog", "count": 3}]}
    assert fact_questions(open_ended)[0].text == "Are there at least three dogs in the picture?"
    with pytest.raises(ValueError, match="include"):
        fact_questions({"include": 3})


def test_nouns_read_as_english() -> None:
    assert [noun(name, 2) for name in ("dog", "couch", "scissors", "broccoli", "toothbrush")] == [
        "dogs", "couches", "pairs of scissors", "heads of broccoli", "toothbrushes"
    ]  # fmt: skip
    assert a_noun("umbrella") == "an umbrella"
    assert a_noun("dog", "orange") == "an orange dog"
    with_an = {name for name in CATEGORIES if a_noun(name).startswith("an ")}
    assert with_an == {"apple", "elephant", "umbrella"}
    assert {c for c in COLOURS if a_noun("dog", c).startswith("an ")} == {"orange"}
    assert len(GROUND_KINDS) == 5
