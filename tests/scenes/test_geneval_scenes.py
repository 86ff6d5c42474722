"""`alphabench.scenes.geneval_scenes` and the mini split that it draws."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alphabench.detections.geneval_rules import decide, select
from alphabench.detections.objects import COLOURS, DetectedObject
from alphabench.scenes.geneval_scenes import (
    ERROR_KINDS,
    applicable_errors,
    compose,
    why_not_renderable,
)
from alphabench.scenes.render import render
from alphabench.scenes.small_world import SMALL_CATEGORIES
from alphabench.scenes.spec import CATEGORIES, Scene

Facts = Mapping[str, Any]
TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
OFFICIAL = "upstream/djghosh13/geneval/prompts/evaluation_metadata.jsonl"


def _lines(text: str) -> list[Facts]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def mini() -> list[Facts]:
    file = resources.files("alphabench.scenes") / "mini/geneval.jsonl"
    return _lines(file.read_text())


@pytest.fixture
def official(shared: Path) -> list[Facts]:
    return _lines((shared / OFFICIAL).read_text())


def _is_correct(facts: Facts, scene: Scene, *, width: int = 96, height: int = 96) -> bool:
    def colour(found: DetectedObject) -> str:
        return found.colour or "natural"

    truth = render(scene, width, height).truth
    return decide(facts, select(truth.objects, tag=facts["tag"]), colour).correct


def _wrong_verdicts(samples: Sequence[Facts], seeds: range) -> list[tuple[str, object]]:
    return [
        (facts["prompt"], error)
        for facts in samples
        for seed in seeds
        for error in (None, *applicable_errors(facts))
        if _is_correct(facts, compose(facts, np.random.default_rng(seed), error=error))
        != (error is None)
    ]


def test_every_mini_scene_passes_and_every_planted_error_fails(mini: list[Facts]) -> None:
    assert not _wrong_verdicts(mini, range(4))


def test_every_category_of_the_world_passes_and_every_planted_error_fails() -> None:
    samples = [
        {
            "tag": "colors",
            "prompt": category,
            "include": [{"class": category, "count": 2, "color": COLOURS[n % len(COLOURS)]}],
            "exclude": [{"class": category, "count": 3}],
        }
        for n, category in enumerate(CATEGORIES)
    ]
    assert not _wrong_verdicts(samples, range(1))


def test_every_drawable_official_scene_passes_and_every_planted_error_fails(
    official: list[Facts],
) -> None:
    drawable = [facts for facts in official if why_not_renderable(facts) is None]
    assert len(drawable) == 250
    assert not _wrong_verdicts(drawable, range(1))


@pytest.mark.parametrize(("width", "height"), [(160, 80), (80, 160), (64, 64)])
def test_canvases_that_are_not_square_keep_the_demands(
    mini: list[Facts], width: int, height: int
) -> None:
    for facts in mini:
        rng = np.random.default_rng(5)
        scene = compose(facts, rng, aspect=width / height)
        assert _is_correct(facts, scene, width=width, height=height), facts["prompt"]


def test_the_mini_split_has_ten_prompts_of_each_task_in_the_official_order(
    mini: list[Facts],
) -> None:
    assert [facts["tag"] for facts in mini] == [tag for tag in TAGS for _ in range(10)]
    assert len({facts["prompt"] for facts in mini}) == 60
    assert all(why_not_renderable(facts) is None for facts in mini)


def test_the_mini_split_uses_every_small_category_colour_count_and_relation(
    mini: list[Facts],
) -> None:
    clauses = [clause for facts in mini for clause in facts["include"]]
    assert {clause["class"] for clause in clauses} == set(SMALL_CATEGORIES)
    assert {clause["color"] for clause in clauses if "color" in clause} == set(COLOURS)
    relations = [clause["position"][0] for clause in clauses if "position" in clause]
    assert min(Counter(relations).values()) >= 2
    assert set(relations) == {"left of", "right of", "above", "below"}
    counting = [facts for facts in mini if facts["tag"] == "counting"]
    assert {facts["include"][0]["count"] for facts in counting} == {2, 3, 4}
    for facts in counting:
        (asked,), (forbidden,) = facts["include"], facts["exclude"]
        assert forbidden == {"class": asked["class"], "count": asked["count"] + 1}


def test_a_mini_prompt_names_what_its_facts_ask_for(mini: list[Facts]) -> None:
    for facts in mini:
        for clause in facts["include"]:
            assert clause["class"].split()[0] in facts["prompt"]
            assert clause.get("color", "") in facts["prompt"]
            assert clause.get("position", [""])[0] in facts["prompt"]


def test_no_mini_prompt_is_an_official_one(mini: list[Facts], official: list[Facts]) -> None:
    assert not {f["prompt"] for f in mini} & {f["prompt"] for f in official}


def test_the_same_generator_composes_the_same_scene(mini: list[Facts]) -> None:
    for facts in mini[::7]:
        for error in (None, *applicable_errors(facts)):
            one, two = (compose(facts, np.random.default_rng(1), error=error) for _ in range(2))
            assert one == two


def test_errors_apply_only_where_the_facts_have_something_to_get_wrong(mini: list[Facts]) -> None:
    kinds = {facts["tag"]: applicable_errors(facts) for facts in mini}
    assert kinds == {
        "single_object": ("missing",),
        "two_object": ("missing",),
        "counting": ("missing", "count"),
        "colors": ("missing", "colour"),
        "position": ("missing", "position"),
        "color_attr": ("missing", "colour"),
    }
    assert {kind for of in kinds.values() for kind in of} == set(ERROR_KINDS)


def test_an_error_that_does_not_apply_is_refused(mini: list[Facts]) -> None:
    with pytest.raises(ValueError, match="position"):
        compose(mini[0], np.random.default_rng(0), error="position")


def test_a_wrong_count_is_sometimes_one_too_many_and_sometimes_one_too_few(
    mini: list[Facts],
) -> None:
    facts = next(facts for facts in mini if facts["tag"] == "counting")
    (asked,) = facts["include"]
    counts = set()
    for seed in range(20):
        scene = compose(facts, np.random.default_rng(seed), error="count")
        counts.add(sum(item.category == asked["class"] for item in scene.objects))
    assert counts == {asked["count"] - 1, asked["count"] + 1}


@pytest.mark.parametrize(
    ("include", "exclude", "words"),
    [
        ([{"class": "microwave", "count": 1}], [], "no 'microwave'"),
        ([{"class": "dog", "count": 1, "color": "teal"}], [], "no colour 'teal'"),
        ([{"class": "dog", "count": 6}], [], "more than 5"),
        ([{"class": "dog", "count": 1}] * 2, [], "two clauses"),
        ([{"class": "dog", "count": 3}], [{"class": "dog", "count": 3}], "forbids"),
        (
            [
                {"class": "dog", "count": 2},
                {"class": "cow", "count": 1, "position": ["above", 0]},
            ],
            [],
            "places groups",
        ),
        ([], [], "no object"),
        ([{"class": "dog"}], [], "not GenEval's"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_words(
    include: list[Any], exclude: list[Any], words: str
) -> None:
    facts = {"tag": "counting", "include": include, "exclude": exclude}
    reason = why_not_renderable(facts)
    assert reason is not None
    assert words in reason
    with pytest.raises(ValueError, match=words):
        compose(facts, np.random.default_rng(0))


def test_a_chain_of_relations_is_kept() -> None:
    facts = {
        "tag": "position",
        "include": [
            {"class": "dog", "count": 1},
            {"class": "cow", "count": 1, "position": ["right of", 0]},
            {"class": "car", "count": 1, "position": ["below", 0]},
        ],
    }
    for seed in range(10):
        for error in (None, *applicable_errors(facts)):
            scene = compose(facts, np.random.default_rng(seed), error=error)
            assert _is_correct(facts, scene) == (error is None)
