"""GenEval samples over the small world with scenes drawn in its style, right or nearly so.

For measuring a detector on what the nano models draw; `alphabench.scenes.geneval_scenes` composes
the same samples in the style of the whole world.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alphabench.detections.geneval_rules import Rules
from alphabench.detections.objects import COLOURS
from alphabench.scenes.small_world import (
    CENTRES,
    CORNERS,
    MAX_SMALL_OBJECTS,
    SMALL_CATEGORIES,
    Location,
    SmallObject,
    SmallScene,
    small_to_scene,
    tones_for,
)
from alphabench.scenes.spec import Scene
from tools.nano_detector.geneval_facts import random_facts

_DIRECTIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}


def small_facts(tag: str, rng: np.random.Generator) -> dict[str, Any]:
    """Facts of one random prompt of a task."""
    return random_facts(tag, rng, categories=SMALL_CATEGORIES)


def near_miss(facts: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Facts of the same task that differ in one demand, so that no scene obeys both."""
    first, *others = facts["include"]
    match facts["tag"]:
        case "counting":
            near = [n for n in range(1, MAX_SMALL_OBJECTS + 1) if abs(n - first["count"]) == 1]
            count = near[rng.integers(len(near))]
            changed = {**first, "count": count}
            return {**facts, "include": [changed], "exclude": [{**first, "count": count + 1}]}
        case "colors":
            changed = {**first, "color": _other(COLOURS, first["color"], rng)}
        case "color_attr":
            (second,) = others
            changed = {**first, "color": second["color"]}
            others = [{**second, "color": first["color"]}]
        case "position":
            (second,) = others
            changed, relation = first, second["position"][0]
            others = [{**second, "position": [_other(list(_DIRECTIONS), relation, rng), 0]}]
        case _:
            asked = {clause["class"] for clause in facts["include"]}
            free = [name for name in SMALL_CATEGORIES if name not in asked]
            changed = {**first, "class": _other(free, first["class"], rng)}
    return {**facts, "include": [changed, *others]}


def small_scene(facts: dict[str, Any], rng: np.random.Generator) -> Scene:
    """A scene of the small world that obeys the facts; colours that they leave open are random."""
    rules = Rules.from_facts(facts)
    cast = [
        (clause.category, clause.colour or _random_colour(rng))
        for clause in rules.include
        for _ in range(clause.count)
    ]
    relations = [
        (index, clause.target, clause.relation)
        for index, clause in enumerate(rules.include)
        if clause.relation is not None and clause.target is not None
    ]
    places: Sequence[Location] = _scattered(len(cast), rng)
    while not all(_stands(places[one], places[other], how) for one, other, how in relations):
        places = _scattered(len(cast), rng)
    things = tuple(
        SmallObject(category=category, colour=colour, place=place)
        for (category, colour), place in zip(cast, places, strict=True)
    )
    tones = tones_for(things)
    return small_to_scene(SmallScene(objects=things, tone=tones[rng.integers(len(tones))]), rng)


def _scattered(number: int, rng: np.random.Generator) -> list[Location]:
    if number == 1 and rng.random() < 0.7:
        return ["middle"]
    return [CORNERS[index] for index in rng.permutation(len(CORNERS))[:number]]


def _stands(one: Location, other: Location, relation: str) -> bool:
    """In this relation and in no other."""
    offset = tuple(np.sign(a - b) for a, b in zip(CENTRES[one], CENTRES[other], strict=True))
    return offset == _DIRECTIONS[relation]


def _random_colour(rng: np.random.Generator) -> str | None:
    return None if rng.random() < 0.5 else COLOURS[rng.integers(len(COLOURS))]


def _other(choices: Sequence[str], taken: str, rng: np.random.Generator) -> str:
    left = [one for one in choices if one != taken]
    return left[rng.integers(len(left))]
