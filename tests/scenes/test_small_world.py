"""The small world: what can be drawn in it, and that the mini splits stay inside."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from importlib import resources
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabench.detections.objects import COLOURS
from alphabench.scenes.edit_ops import GROUND_TONES, source_scene
from alphabench.scenes.palette import object_rgb
from alphabench.scenes.render import render
from alphabench.scenes.small_world import (
    CENTRES,
    CORNERS,
    SMALL_CATEGORIES,
    SMALL_TONES,
    SmallObject,
    SmallScene,
    small_to_scene,
    tones_for,
    why_not_small,
)
from alphabench.scenes.spec import SceneObject

SPLITS = (
    "corebench", "geneval", "geneval2", "tiif", "dpg", "wise",
    "gedit", "imgedit", "rise", "longtext", "oneig", "unigenbench", "cvtg",
)  # fmt: skip
PROMPTS = ("prompt", "short_description", "long_description", "text", "Prompt", "instruction")
BESIDE = ("text",)
"""Prompts where a row has no other; elsewhere, words that an image should show."""
MOST_WORDS = 45

things = st.builds(
    SmallObject,
    category=st.sampled_from(SMALL_CATEGORIES),
    colour=st.sampled_from([None, *COLOURS]),
    place=st.just("middle"),
)


@st.composite
def small_scenes(draw: st.DrawFn) -> SmallScene:
    number = draw(st.integers(1, 4))
    places = draw(st.permutations(CORNERS))[:number]
    if number == 1 and draw(st.booleans()):
        places = ["middle"]
    staged = tuple(replace(draw(things), place=place) for place in places)
    return SmallScene(objects=staged, tone=draw(st.sampled_from(tones_for(staged))))


def rows(split: str) -> list[dict[str, Any]]:
    text = (resources.files("alphabench.scenes") / f"mini/{split}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("split", SPLITS)
def test_every_mini_sample_belongs_to_the_small_world(split: str) -> None:
    assert [row for row in rows(split) if why_not_small(row) is not None] == []


@pytest.mark.parametrize("split", SPLITS)
def test_every_mini_split_asks_for_most_of_the_small_world(split: str) -> None:
    clauses = [clause for row in rows(split) for clause in row["include"]]
    assert len({clause["class"] for clause in clauses}) >= 12
    assert len({clause.get("color") for clause in clauses}) >= 6


def test_mini_prompts_are_short_and_none_is_there_twice() -> None:
    every = [row for split in SPLITS for row in rows(split)]
    given = [
        row.get(key) for row in every for key in PROMPTS if not (key in BESIDE and "prompt" in row)
    ]
    prompts = [text for text in given if isinstance(text, str)]
    counts = {split: len(rows(split)) for split in SPLITS}
    assert len(set(prompts)) == len(prompts) == sum(counts.values()) + counts["tiif"]
    assert sum(counts.values()) == 60 + 22 + 24 + 26 + 14 + 36 + 54 + 28 + 24 + 16 + 24 + 24 + 16
    assert max(len(prompt.split()) for prompt in prompts) <= MOST_WORDS


def facts(*include: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"include": list(include), "exclude": [], **more}


DOG = {"class": "dog", "count": 1}
SOURCE = facts(DOG, ground={"tone": "sky", "texture": "plain"})


@pytest.mark.parametrize(
    ("beyond", "words"),
    [
        (facts({"class": "cow", "count": 1}), "no 'cow'"),
        (facts(DOG) | {"exclude": [{"class": "zebra", "count": 1}]}, "no 'zebra'"),
        (facts({"class": "dog", "count": 5}), "5 objects"),
        (facts(DOG, source=facts({"class": "bed", "count": 1})), "no 'bed'"),
        (facts(source=SOURCE, edit={"op": "replace", "class": "dog", "with": "tv"}), "no 'tv'"),
        (
            facts(source=SOURCE, edit={"op": "ground", "ground": {"tone": "wine"}}),
            "no ground 'wine'",
        ),
        (
            facts(source=SOURCE, edit={"op": "ground", "ground": {"texture": "stripes"}}),
            "no ground in 'stripes'",
        ),
        (facts(source=SOURCE | {"ground": {"tone": "forest"}}), "no ground 'forest'"),
    ],
)
def test_what_goes_beyond_the_small_world_is_told(beyond: dict[str, Any], words: str) -> None:
    reason = why_not_small(beyond)
    assert reason is not None
    assert words in reason


def test_an_edit_inside_the_small_world_belongs_to_it() -> None:
    edit = {"op": "add", "class": "cake", "position": ["above", "dog"]}
    assert (
        why_not_small(facts(DOG, {"class": "cake", "count": 1}, source=SOURCE, edit=edit)) is None
    )


@settings(max_examples=30, deadline=None)
@given(small_scenes(), st.integers(0, 2**31))
def test_every_thing_is_drawn_whole_and_apart_from_the_others(small: SmallScene, seed: int) -> None:
    truth = render(small_to_scene(small, np.random.default_rng(seed)), 64, 64).truth
    assert sorted(item.category for item in truth.objects) == sorted(
        thing.category for thing in small.objects
    )
    boxes = [item.box for item in truth.objects]
    assert all(0 <= x1 < x2 <= 64 and 0 <= y1 < y2 <= 64 for x1, y1, x2, y2 in boxes)
    assert all(
        a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        for i, a in enumerate(boxes)
        for b in boxes[:i]
    )


@settings(max_examples=30, deadline=None)
@given(small_scenes(), st.sampled_from(COLOURS), st.integers(0, 2**31))
def test_scenes_of_one_generator_differ_only_where_their_things_do(
    small: SmallScene, colour: str, seed: int
) -> None:
    changed = (replace(small.objects[0], colour=colour), *small.objects[1:])
    one, other = (
        small_to_scene(scene, np.random.default_rng(seed))
        for scene in (small, replace(small, objects=changed))
    )
    assert one.objects[1:] == other.objects[1:]
    assert replace(one.objects[0], colour=colour) == other.objects[0]
    assert (one.background, one.seed) == (other.background, other.seed)


@given(st.lists(things, min_size=1, max_size=4))
def test_a_ground_sets_off_all_things_wherever_one_can(chosen: list[SmallObject]) -> None:
    colours = [
        object_rgb(SceneObject(category=one.category, colour=one.colour, x=0.5, y=0.5, size=0.4))
        for one in chosen
    ]
    gaps = {
        tone: min(math.dist(colour, GROUND_TONES[tone]) for colour in colours)
        for tone in SMALL_TONES
    }
    tones = tones_for(chosen)
    assert tones
    assert set(tones) <= set(SMALL_TONES)
    assert min(gaps[tone] for tone in tones) >= 100.0 or max(gaps.values()) < 110.0


def test_two_things_at_one_place_are_refused() -> None:
    corner = SmallObject(category="dog", colour=None, place="upper left")
    middle = replace(corner, place="middle")
    for shared in ((corner, corner), (corner, middle)):
        with pytest.raises(ValueError, match="share a location"):
            SmallScene(objects=shared, tone="white")


def test_pictures_to_be_edited_are_laid_out_like_small_scenes() -> None:
    for row in (row for name in ("gedit", "imgedit", "rise") for row in rows(name)):
        objects = source_scene(row).objects
        assert not any(item.mirrored for item in objects), row["key"]
        nearest = [
            min(CENTRES, key=lambda name: math.dist(CENTRES[name], (item.x, item.y)))
            for item in objects
        ]
        assert len(set(nearest)) == len(nearest), row["key"]
