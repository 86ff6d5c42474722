"""`alphabench.scenes.palette`."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alphabench.detections.objects import COLOURS
from alphabench.scenes.palette import GROUNDS, TINTS, grounds_for, object_rgb, random_background
from alphabench.scenes.spec import CATEGORIES, SceneObject


def _object(category: str, colour: str | None) -> SceneObject:
    return SceneObject(category=category, colour=colour, x=0.5, y=0.5, size=0.5)


def test_each_of_the_ten_colours_is_far_from_every_other() -> None:
    assert set(TINTS) == set(COLOURS)
    for a, b in combinations(COLOURS, 2):
        assert np.linalg.norm(np.subtract(TINTS[a].base, TINTS[b].base)) > 80, (a, b)


def test_a_ground_stands_out_against_an_object_of_any_colour() -> None:
    for category in CATEGORIES:
        for colour in (None, *COLOURS):
            item = _object(category, colour)
            for ground in grounds_for([item]):
                assert np.linalg.norm(np.subtract(ground, object_rgb(item))) >= 100


def test_a_white_object_never_lies_on_the_white_ground_nor_a_black_one_on_the_black() -> None:
    assert GROUNDS[0] not in grounds_for([_object("dog", "white")])
    assert GROUNDS[5] not in grounds_for([_object("dog", "black")])


def test_objects_of_all_colours_still_get_a_ground() -> None:
    assert len(grounds_for([_object("dog", colour) for colour in COLOURS])) >= 1


def test_an_empty_scene_may_have_any_ground() -> None:
    assert grounds_for([]) == GROUNDS


@given(st.integers(0, 2**32), st.lists(st.sampled_from(COLOURS), max_size=4))
def test_the_same_generator_draws_the_same_ground(seed: int, colours: list[str]) -> None:
    objects = [_object("cow", colour) for colour in colours]
    one = random_background(np.random.default_rng(seed), objects)
    assert one == random_background(np.random.default_rng(seed), objects)
    assert one.first in grounds_for(objects)
    assert np.abs(np.subtract(one.first, one.second)).max() <= 33
