from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.scenes.descriptions import (
    facts_key,
    free_text_question,
    geneval_prompt,
    long_prompt,
    plan_text,
    short_prompt,
    yes_no,
)
from alphabench.scenes.render import render
from alphabench.scenes.riddles import HINTS
from alphabench.scenes.scene_questions import check_holds, noun
from alphabench.scenes.small_world import SMALL_CATEGORIES, SmallObject, SmallScene, small_to_scene
from alphabench.scenes.small_world_sampling import TASKS, random_small_scene, task_small

SEEDS = st.integers(min_value=0, max_value=2**31)
DOG = SmallObject(category="dog", colour="red", place="upper left")
CAR = SmallObject(category="car", colour="blue", place="upper right")


@given(SEEDS)
def test_the_scene_of_a_prompt_obeys_its_demands(seed: int) -> None:
    rng = np.random.default_rng(seed)
    small = random_small_scene(rng)
    asked = geneval_prompt(small, rng)
    if asked is not None:
        assert check_holds(asked.facts, render(small_to_scene(small, rng), 64, 64).truth)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_scenes_that_are_told_as_it(task: str) -> None:
    told = set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        asked = geneval_prompt(task_small(rng, task), rng)
        told.add(asked.tag if asked else None)
    assert task in told
    assert None not in told


@given(SEEDS)
def test_every_way_of_telling_names_every_thing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    small = random_small_scene(rng)
    for told in (short_prompt(small, rng), long_prompt(small, rng), plan_text(small)):
        for thing in small.objects:
            assert noun(thing.category) in told
            assert thing.colour is None or thing.colour in told


@given(SEEDS)
def test_no_two_scenes_share_a_plan(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = random_small_scene(rng), random_small_scene(rng)
    assert (plan_text(one) == plan_text(other)) == (one == other)


def test_a_mirrored_relation_is_the_same_demand() -> None:
    def placed(relation: str, first: str, second: str) -> dict[str, object]:
        return {
            "include": [
                {"class": second, "count": 1},
                {"class": first, "count": 1, "position": [relation, 0]},
            ]
        }

    left, right = placed("left of", "dog", "car"), placed("right of", "car", "dog")
    assert facts_key(left) == facts_key(right)
    assert facts_key(left) != facts_key(placed("right of", "dog", "car"))


def test_yes_and_no_are_asked_alike_and_answered_by_the_scene() -> None:
    small = SmallScene(objects=(DOG, CAR), tone="white")
    truths = {
        "Is the dog red?": "yes",
        "Is the dog blue?": "no",
        "Is the background white?": "yes",
        "Is the dog to the left of the car?": "yes",
        "Is the car to the left of the dog?": "no",
        "Is there exactly one dog?": "yes",
        "Can a blue dog be seen in the picture?": "no",
    }
    asked = [yes_no(small, np.random.default_rng(seed)) for seed in range(2000)]
    found = {one.text: one.answer for one in asked if one.text in truths}
    assert found == truths
    share = np.mean([one.answer == "yes" for one in asked])
    assert 0.45 < share < 0.55


def test_open_questions_are_answered_by_the_scene() -> None:
    small = SmallScene(objects=(DOG, CAR), tone="white")
    asked = [free_text_question(small, np.random.default_rng(seed)) for seed in range(300)]
    answers = {one.text: one.answer for one in asked}
    assert answers["What colour is the dog?"] == "red"
    assert answers["What is at the upper right?"] == "a blue car"
    assert answers["How many cars are there?"] == "one"
    assert answers["What is the background?"] == "white"
    assert answers["Where is the car?"] == "at the upper right"


def test_hints_name_no_category() -> None:
    assert set(HINTS) == set(SMALL_CATEGORIES)
    for category, hints in HINTS.items():
        for told in hints:
            assert category not in told.split()
