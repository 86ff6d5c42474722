"""`alphabench.scenes.scene_sampling`."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alphabench.scenes.render import render
from alphabench.scenes.scene_sampling import random_scene
from alphabench.scenes.spec import CATEGORIES, GROUND_KINDS


@given(st.integers(0, 2**32))
def test_the_same_generator_gives_the_same_scene(seed: int) -> None:
    one = random_scene(np.random.default_rng(seed))
    assert one == random_scene(np.random.default_rng(seed))


def test_a_stream_of_scenes_covers_the_world() -> None:
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng) for _ in range(600)]
    objects = [item for scene in scenes for item in scene.objects]
    assert {len(scene.objects) for scene in scenes} == set(range(7))
    assert {item.category for item in objects} == set(CATEGORIES)
    assert len({item.colour for item in objects}) == 11
    assert {scene.background.kind for scene in scenes} == set(GROUND_KINDS)
    assert len({scene.seed for scene in scenes}) == 600
    repeats = [max(Counter(o.category for o in s.objects).values(), default=0) for s in scenes]
    assert 100 < sum(n >= 2 for n in repeats) < 350


def test_nearly_every_object_is_wholly_visible() -> None:
    rng = np.random.default_rng(1)
    whole = total = 0
    for _ in range(60):
        scene = random_scene(rng)
        total += len(scene.objects)
        whole += len(render(scene, 64, 64).truth.objects)
    assert whole == total


def test_a_choice_of_categories_and_of_their_number_is_kept() -> None:
    rng = np.random.default_rng(2)
    scenes = [random_scene(rng, categories=("dog", "cow"), max_objects=2) for _ in range(50)]
    assert {o.category for scene in scenes for o in scene.objects} == {"dog", "cow"}
    assert max(len(scene.objects) for scene in scenes) == 2
