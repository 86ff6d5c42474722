"""`alphabench.scenes.spec`."""

from __future__ import annotations

from typing import Any

import pytest

from alphabench.scenes.spec import CATEGORIES, Background, Scene, SceneObject


@pytest.mark.parametrize(
    "wrong",
    [
        {"category": "unicorn"},
        {"colour": "turquoise"},
        {"x": 1.2},
        {"y": -0.1},
        {"size": 0.0},
        {"rotation_degrees": float("nan")},
    ],
    ids=str,
)
def test_an_impossible_object_cannot_be_constructed(wrong: dict[str, Any]) -> None:
    fine: dict[str, Any] = {"category": "dog", "x": 0.5, "y": 0.5, "size": 0.4}
    SceneObject(**fine)
    with pytest.raises(ValueError, match=r"\S"):
        SceneObject(**{**fine, **wrong})


@pytest.mark.parametrize("wrong", [{"kind": "plaid"}, {"scale": 0.0}, {"first": (0, 0, 256)}])
def test_an_impossible_ground_cannot_be_constructed(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Background(**wrong)


def test_a_scene_has_a_seed_that_is_not_negative() -> None:
    with pytest.raises(ValueError, match="-1"):
        Scene(background=Background(), objects=(), seed=-1)


def test_the_world_has_forty_categories_each_once() -> None:
    assert len(CATEGORIES) == len(set(CATEGORIES)) == 40
    assert list(CATEGORIES) == sorted(CATEGORIES)
