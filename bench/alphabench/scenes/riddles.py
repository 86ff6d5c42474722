"""What the small world's categories can be called without their names: hints for guessing games.

All are our own words and common knowledge. The riddles of `wise:mini` are others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

HINTS: Final[Mapping[str, tuple[str, ...]]] = {
    "apple": (
        "the fruit that keeps the doctor away",
        "a round fruit from an orchard that is pressed into cider",
        "the fruit in the tale of Snow White",
    ),
    "bicycle": (
        "something with two wheels and pedals",
        "what one rides with a helmet and no engine",
        "the vehicle with a chain, a saddle and a bell",
    ),
    "boat": (
        "what crosses a lake with a sail",
        "what lies at anchor in a harbour",
        "the thing that a sailor steers",
    ),
    "book": (
        "what a library lends",
        "something with pages and a cover",
        "what an author writes and a reader opens",
    ),
    "cake": (
        "what is baked for a birthday and carries candles",
        "a sweet thing with layers of cream",
        "what is cut at a wedding",
    ),
    "car": (
        "a vehicle with four wheels and a steering wheel",
        "what stands in a garage",
        "what needs a driving licence and a road",
    ),
    "chair": (
        "a seat with a back for one person",
        "what stands at a table to sit on",
        "four legs and a back, and it cannot walk",
    ),
    "clock": (
        "what tells the time",
        "something with hands but no fingers",
        "the thing that ticks and strikes the hour",
    ),
    "couch": (
        "soft furniture for two or three to sit on",
        "where one lies to watch a film at home",
        "the long seat in a living room",
    ),
    "dog": (
        "the animal that barks",
        "the pet that fetches a stick",
        "the tame relative of the wolf",
    ),
    "donut": (
        "a sweet ring with a hole and icing",
        "a fried ring of dough with sprinkles",
        "the round snack with nothing in its middle",
    ),
    "giraffe": (
        "the animal with the longest neck",
        "the tallest animal of the savanna",
        "a spotted animal that eats from the tops of trees",
    ),
    "pizza": (
        "a slice with cheese and tomato from Naples",
        "what is baked in a stone oven and cut into slices",
        "flat dough with cheese on it",
    ),
    "train": (
        "what runs on rails",
        "what stops at a station and whistles",
        "the vehicle with a locomotive",
    ),
    "umbrella": (
        "what one opens in the rain",
        "what keeps the head dry in bad weather",
        "a folding roof on a stick",
    ),
    "vase": (
        "what cut flowers stand in",
        "a vessel for a bunch of roses",
        "the jar with water for tulips",
    ),
}


def hint(category: str, rng: np.random.Generator) -> str:
    """One of the category's hints, sampled by `rng`."""
    choices = HINTS[category]
    return choices[int(rng.integers(len(choices)))]
