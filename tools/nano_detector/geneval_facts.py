"""Endless GenEval prompts over the synthetic world, as facts: the six tasks in upstream's schema.

Knows how the official tasks are built (arXiv:2310.11513, section 3); writes no prompt text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alphabench.benchmarks.geneval.scoring import TAGS
from alphabench.detections.geneval_rules import RELATIONS
from alphabench.detections.objects import COLOURS
from alphabench.scenes.geneval_scenes import applicable_errors, compose
from alphabench.scenes.spec import CATEGORIES, Scene


def random_facts(
    tag: str, rng: np.random.Generator, *, categories: Sequence[str] = CATEGORIES
) -> dict[str, Any]:
    """Facts of one random prompt of a task."""
    first, second = (str(name) for name in rng.choice(categories, size=2, replace=False))
    colours = [str(name) for name in rng.choice(COLOURS, size=2, replace=False)]
    one = {"class": first, "count": 1}
    two = {"class": second, "count": 1}
    if tag == "two_object":
        return {"tag": tag, "include": [one, two]}
    if tag == "counting":
        count = int(rng.integers(2, 5))
        return {
            "tag": tag,
            "include": [{"class": first, "count": count}],
            "exclude": [{"class": first, "count": count + 1}],
        }
    if tag == "colors":
        return {"tag": tag, "include": [{**one, "color": colours[0]}]}
    if tag == "position":
        relation = str(rng.choice(RELATIONS))
        return {"tag": tag, "include": [one, {**two, "position": [relation, 0]}]}
    if tag == "color_attr":
        coloured = [{**one, "color": colours[0]}, {**two, "color": colours[1]}]
        return {"tag": tag, "include": coloured}
    assert tag == "single_object"
    return {"tag": tag, "include": [one]}


def geneval_scene(rng: np.random.Generator) -> Scene:
    """A scene for a random prompt of a random task; in half of them one error is planted."""
    facts = random_facts(TAGS[rng.integers(len(TAGS))], rng)
    errors = applicable_errors(facts)
    error = errors[rng.integers(len(errors))] if rng.random() < 0.5 else None
    return compose(facts, rng, error=error)
