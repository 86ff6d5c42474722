"""Small scenes in words: prompts, descriptions, plans, hints, questions with their true answers.

What the nano models learn their language from, and where the prompts of small trainings come from.
Everything said of a scene is true of it, and a prompt leaves out nothing that could be miscounted.
Knows no pixel and no model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeVar

import numpy as np

from alphabench.detections.objects import COLOURS
from alphabench.scenes.scene_questions import a_noun, noun
from alphabench.scenes.small_world import (
    CENTRES,
    MOST_THINGS,
    SMALL_CATEGORIES,
    SMALL_TONES,
    SmallScene,
    Thing,
)

T = TypeVar("T")
NUMBERS: Final = ("no", "one", "two", "three", "four", "five")
NATURAL: Final = "its own colours"
"""Said of a thing that is not tinted."""
_OPENINGS: Final = (
    "a photo of ", "a picture of ", "an image of ", "a drawing of ", "draw ", "show me ", "",
)  # fmt: skip
_LEFT, _RIGHT, _ABOVE, _BELOW = "left of", "right of", "above", "below"
_OPPOSITE: Final = {_LEFT: _RIGHT, _RIGHT: _LEFT, _ABOVE: _BELOW, _BELOW: _ABOVE}
_PLACED: Final = {
    _LEFT: "to the left of",
    _RIGHT: "to the right of",
    _ABOVE: "above",
    _BELOW: "below",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A wish and what it demands, in GenEval's terms."""

    text: str
    tag: str
    facts: Mapping[str, Any]
    """`include` and `exclude`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question about a scene and its true answer."""

    kind: str
    text: str
    answer: str


def one_of(choices: Sequence[T], rng: np.random.Generator) -> T:
    """One of these, each as likely."""
    return choices[int(rng.integers(len(choices)))]


def relation_of(one: Thing, other: Thing) -> str | None:
    """How `one` stands to `other`, where only one of the four relations holds."""
    dx, dy = (a - b for a, b in zip(CENTRES[one.place], CENTRES[other.place], strict=True))
    if dx and dy:
        return None
    if dx:
        return _LEFT if dx < 0 else _RIGHT
    return _ABOVE if dy < 0 else _BELOW


def geneval_prompt(small: SmallScene, rng: np.random.Generator) -> Prompt | None:
    """A prompt of one of GenEval's six tasks that the scene obeys; None where none says it all."""
    things = small.things
    if len(things) == 1:
        return _of_one(things[0], rng)
    if len({(thing.category, thing.colour) for thing in things}) == 1:
        return _of_many(things, rng)
    if len(things) == 2 and things[0].category != things[1].category:
        return _of_two(things, rng)
    return None


def _opened(words: str, rng: np.random.Generator) -> str:
    return one_of(_OPENINGS, rng) + words


def _clause(thing: Thing, *, colour: bool, count: int = 1) -> dict[str, Any]:
    named = {"color": thing.colour} if colour and thing.colour else {}
    return {"class": thing.category, "count": count, **named}


def _of_one(thing: Thing, rng: np.random.Generator) -> Prompt:
    coloured = thing.colour is not None
    return Prompt(
        text=_opened(a_noun(thing.category, thing.colour), rng),
        tag="colors" if coloured else "single_object",
        facts={"include": [_clause(thing, colour=coloured)], "exclude": []},
    )


def _of_many(things: Sequence[Thing], rng: np.random.Generator) -> Prompt | None:
    thing, count = things[0], len(things)
    if thing.colour is not None:
        return None
    return Prompt(
        text=_opened(f"{NUMBERS[count]} {noun(thing.category, count)}", rng),
        tag="counting",
        facts={
            "include": [_clause(thing, colour=False, count=count)],
            "exclude": [{"class": thing.category, "count": count + 1}],
        },
    )


def _of_two(things: Sequence[Thing], rng: np.random.Generator) -> Prompt | None:
    first, second = (things[int(index)] for index in rng.permutation(2))
    if first.colour and second.colour:
        if first.colour == second.colour:
            return None
        words = (
            f"{a_noun(first.category, first.colour)} and {a_noun(second.category, second.colour)}"
        )
        include = [_clause(first, colour=True), _clause(second, colour=True)]
        return Prompt(
            text=_opened(words, rng),
            tag="color_attr",
            facts={"include": include, "exclude": []},
        )
    if first.colour or second.colour:
        return None
    include = [_clause(second, colour=False), _clause(first, colour=False)]
    relation = relation_of(first, second)
    if relation is None or rng.random() < 0.3:
        words = f"{a_noun(second.category)} and {a_noun(first.category)}"
        facts = {"include": include, "exclude": []}
        return Prompt(text=_opened(words, rng), tag="two_object", facts=facts)
    words = f"{a_noun(first.category)} {relation} {a_noun(second.category)}"
    include[1]["position"] = [relation, 0]
    facts = {"include": include, "exclude": []}
    return Prompt(text=_opened(words, rng), tag="position", facts=facts)


def facts_key(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    """The same for two samples that demand the same; for keeping held-out demands out."""
    include = facts["include"]
    told = sorted(
        (clause["class"], clause.get("color") or "", clause["count"]) for clause in include
    )
    placed = tuple(
        (clause["class"], clause["position"][0], include[clause["position"][1]]["class"])
        for clause in include
        if clause.get("position")
    )
    mirrored = tuple((other, _OPPOSITE[relation], one) for one, relation, other in placed)
    return (tuple(told), min(placed, mirrored))


def list_words(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def grouped(things: Sequence[Thing]) -> list[str]:
    """`a red apple`, `two dogs`: equal things together, in order of first sight."""
    counts = Counter((thing.category, thing.colour) for thing in things)
    return [
        a_noun(category, colour)
        if count == 1
        else f"{NUMBERS[count]} {colour + ' ' if colour else ''}{noun(category, count)}"
        for (category, colour), count in counts.items()
    ]


def plan(small: SmallScene) -> str:
    """Every thing with its place, and the ground; the same words for the same scene."""
    parts = [f"{a_noun(thing.category, thing.colour)} {_at(thing)}" for thing in small.things]
    return f"{', '.join(parts)}, on {small.tone}"


def _at(thing: Thing) -> str:
    return "in the middle" if thing.place == "middle" else f"at the {thing.place}"


def short_prompt(small: SmallScene, rng: np.random.Generator) -> str:
    """What there is, in a line."""
    groups = grouped(small.things)
    words = list_words([groups[index] for index in rng.permutation(len(groups))])
    ground = f" on {_ground(small, rng)}" if rng.random() < 0.3 else ""
    return _opened(words, rng) + ground


def _ground(small: SmallScene, rng: np.random.Generator) -> str:
    noun_ = one_of(("background", "ground"), rng)
    return f"a {small.tone} {noun_}" if small.tone != "sky" else f"a sky blue {noun_}"


def long_prompt(small: SmallScene, rng: np.random.Generator) -> str:
    """Every thing and its place in sentences, now and then the ground."""
    things = [small.things[index] for index in rng.permutation(len(small.things))]
    sentences = [one_of(_SENTENCES, rng)(thing) for thing in things]
    for one, other in pairwise(things):
        relation = relation_of(one, other)
        alone = Counter(thing.category for thing in things)
        if relation and alone[one.category] == alone[other.category] == 1 and rng.random() < 0.4:
            sentences.append(
                f"The {noun(one.category)} is {_PLACED[relation]} the {noun(other.category)}."
            )
    if rng.random() < 0.5:
        sentences.append(f"All of it is on {_ground(small, rng)}.")
    if rng.random() < 0.5:
        sentences.insert(0, f"The picture shows {list_words(grouped(small.things))}.")
    return " ".join(sentences)


_SENTENCES: Final[tuple[Callable[[Thing], str], ...]] = (
    lambda thing: f"There is {a_noun(thing.category, thing.colour)} {_at(thing)}.",
    lambda thing: f"{_capital(a_noun(thing.category, thing.colour))} is {_at(thing)}.",
    lambda thing: f"{_capital(_at(thing))} stands {a_noun(thing.category, thing.colour)}.",
    lambda thing: f"One sees {a_noun(thing.category, thing.colour)} {_at(thing)}.",
    lambda thing: (
        f"{_capital(_at(thing))} there is {a_noun(thing.category)}"
        + (f", and it is {thing.colour}." if thing.colour else ".")
    ),
)


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def caption(small: SmallScene) -> str:
    """What a describer says: the plan."""
    return plan(small)


def yes_no(small: SmallScene, rng: np.random.Generator) -> Asked:
    """A question to be answered yes or no; both equally often, for every kind alike."""
    truth = bool(rng.random() < 0.5)
    kinds = list(rng.permutation(len(_YES_NO)))
    for index in kinds:
        kind, ask = _YES_NO[index]
        text = ask(small, truth, rng)
        if text is not None:
            return Asked(kind=kind, text=text, answer="yes" if truth else "no")
    raise AssertionError("something can be asked about every scene")


def _counts(small: SmallScene) -> Counter[str]:
    return Counter(thing.category for thing in small.things)


def _absent(small: SmallScene, rng: np.random.Generator) -> str:
    counts = _counts(small)
    return one_of([name for name in SMALL_CATEGORIES if name not in counts], rng)


def _present(small: SmallScene, rng: np.random.Generator) -> str:
    return one_of(sorted(_counts(small)), rng)


def _ask_existence(small: SmallScene, truth: bool, rng: np.random.Generator) -> str:
    name = _present(small, rng) if truth else _absent(small, rng)
    form = one_of(("Is there {} in the picture?", "Is there {}?", "Can {} be seen?"), rng)
    return form.format(a_noun(name))


def _ask_absence(small: SmallScene, truth: bool, rng: np.random.Generator) -> str:
    name = _absent(small, rng) if truth else _present(small, rng)
    return f"Is the picture free of {noun(name, 2)}?"


def _ask_count(small: SmallScene, truth: bool, rng: np.random.Generator) -> str:
    name = _present(small, rng)
    right = _counts(small)[name]
    others = [number for number in range(1, MOST_THINGS + 1) if number != right]
    number = right if truth else one_of(others, rng)
    verb = "Is" if number == 1 else "Are"
    ending = one_of((" in the picture?", "?"), rng)
    return f"{verb} there exactly {NUMBERS[number]} {noun(name, number)}{ending}"


def _singles(small: SmallScene) -> list[Thing]:
    counts = _counts(small)
    return [thing for thing in small.things if counts[thing.category] == 1]


def _ask_colour(small: SmallScene, truth: bool, rng: np.random.Generator) -> str | None:
    coloured = [thing for thing in _singles(small) if thing.colour]
    if not coloured:
        return None
    thing = one_of(coloured, rng)
    wrong = one_of([colour for colour in COLOURS if colour != thing.colour], rng)
    return f"Is the {noun(thing.category)} {thing.colour if truth else wrong}?"


def _ask_binding(small: SmallScene, truth: bool, rng: np.random.Generator) -> str | None:
    pairs = [
        (one, other)
        for one in _singles(small)
        for other in _singles(small)
        if one.colour and other.colour and one.colour != other.colour
    ]
    if not pairs:
        return None
    one, other = one_of(pairs, rng)
    colour = one.colour if truth else other.colour
    form = one_of(("Can {} be seen in the picture?", "Is there {}?"), rng)
    return form.format(a_noun(one.category, colour))


def _ask_position(small: SmallScene, truth: bool, rng: np.random.Generator) -> str | None:
    pairs = [
        (one, other, relation)
        for one in _singles(small)
        for other in _singles(small)
        if one is not other and (relation := relation_of(one, other)) is not None
    ]
    if not pairs:
        return None
    one, other, relation = one_of(pairs, rng)
    told = relation if truth else _OPPOSITE[relation]
    return f"Is the {noun(one.category)} {_PLACED[told]} the {noun(other.category)}?"


def _ask_ground(small: SmallScene, truth: bool, rng: np.random.Generator) -> str:
    wrong = one_of([tone for tone in SMALL_TONES if tone != small.tone], rng)
    return f"Is the background {small.tone if truth else wrong}?"


_Ask = Callable[[SmallScene, bool, np.random.Generator], str | None]
"""A question whose true answer is the flag; None where the scene allows none."""
_YES_NO: Final[tuple[tuple[str, _Ask], ...]] = (
    ("existence", _ask_existence),
    ("absence", _ask_absence),
    ("count", _ask_count),
    ("colour", _ask_colour),
    ("binding", _ask_binding),
    ("position", _ask_position),
    ("ground", _ask_ground),
)


def open_question(small: SmallScene, rng: np.random.Generator) -> Asked:
    """A question whose answer is a few words."""
    singles = _singles(small)
    choice = int(rng.integers(5))
    if choice == 4 and singles:
        thing = one_of(singles, rng)
        return Asked(kind="where", text=f"Where is the {noun(thing.category)}?", answer=_at(thing))
    if choice == 0 and singles:
        thing = one_of(singles, rng)
        text = f"What colour is the {noun(thing.category)}?"
        return Asked(kind="what colour", text=text, answer=thing.colour or NATURAL)
    if choice == 1:
        name = _present(small, rng)
        text = f"How many {noun(name, 2)} are there?"
        return Asked(kind="how many", text=text, answer=NUMBERS[_counts(small)[name]])
    if choice == 2:
        return Asked(kind="ground", text="What is the background?", answer=small.tone)
    thing = one_of(small.things, rng)
    answer = a_noun(thing.category, thing.colour)
    return Asked(kind="what where", text=f"What is {_at(thing)}?", answer=answer)
