"""Small scenes in words: prompts, descriptions, plans, hints, questions with their true answers.

What the nano models learn their language from, and where the prompts of small trainings come from.
Every description of a scene is true, and a prompt leaves out nothing that could be miscounted.
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
    MAX_SMALL_OBJECTS,
    SMALL_CATEGORIES,
    SMALL_TONES,
    SmallObject,
    SmallScene,
)

T = TypeVar("T")
NUMBERS: Final = ("no", "one", "two", "three", "four", "five")
NATURAL: Final = "its own colours"
"""Colour of an object that is not tinted, in text."""
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
class ScenePrompt:
    """A wish and what it demands, in GenEval's terms."""

    text: str
    tag: str
    facts: Mapping[str, Any]
    """`include` and `exclude`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredQuestion:
    """A question about a scene and its true answer."""

    kind: str
    text: str
    answer: str


def random_choice(choices: Sequence[T], rng: np.random.Generator) -> T:
    """One of these, each as likely."""
    return choices[int(rng.integers(len(choices)))]


def relation_of(one: SmallObject, other: SmallObject) -> str | None:
    """The relation of `one` to `other`, where only one of the four relations holds."""
    dx, dy = (a - b for a, b in zip(CENTRES[one.place], CENTRES[other.place], strict=True))
    if dx and dy:
        return None
    if dx:
        return _LEFT if dx < 0 else _RIGHT
    return _ABOVE if dy < 0 else _BELOW


def geneval_prompt(small: SmallScene, rng: np.random.Generator) -> ScenePrompt | None:
    """A prompt of one of GenEval's six tasks that the scene obeys; None where none says it all."""
    objects = small.objects
    if len(objects) == 1:
        return _of_one(objects[0], rng)
    if len({(item.category, item.colour) for item in objects}) == 1:
        return _of_many(objects, rng)
    if len(objects) == 2 and objects[0].category != objects[1].category:
        return _of_two(objects, rng)
    return None


def _opened(words: str, rng: np.random.Generator) -> str:
    return random_choice(_OPENINGS, rng) + words


def _clause(item: SmallObject, *, colour: bool, count: int = 1) -> dict[str, Any]:
    named = {"color": item.colour} if colour and item.colour else {}
    return {"class": item.category, "count": count, **named}


def _of_one(item: SmallObject, rng: np.random.Generator) -> ScenePrompt:
    coloured = item.colour is not None
    return ScenePrompt(
        text=_opened(a_noun(item.category, item.colour), rng),
        tag="colors" if coloured else "single_object",
        facts={"include": [_clause(item, colour=coloured)], "exclude": []},
    )


def _of_many(objects: Sequence[SmallObject], rng: np.random.Generator) -> ScenePrompt | None:
    item, count = objects[0], len(objects)
    if item.colour is not None:
        return None
    return ScenePrompt(
        text=_opened(f"{NUMBERS[count]} {noun(item.category, count)}", rng),
        tag="counting",
        facts={
            "include": [_clause(item, colour=False, count=count)],
            "exclude": [{"class": item.category, "count": count + 1}],
        },
    )


def _of_two(objects: Sequence[SmallObject], rng: np.random.Generator) -> ScenePrompt | None:
    first, second = (objects[int(index)] for index in rng.permutation(2))
    if first.colour and second.colour:
        if first.colour == second.colour:
            return None
        words = (
            f"{a_noun(first.category, first.colour)} and {a_noun(second.category, second.colour)}"
        )
        include = [_clause(first, colour=True), _clause(second, colour=True)]
        return ScenePrompt(
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
        return ScenePrompt(text=_opened(words, rng), tag="two_object", facts=facts)
    words = f"{a_noun(first.category)} {relation} {a_noun(second.category)}"
    include[1]["position"] = [relation, 0]
    facts = {"include": include, "exclude": []}
    return ScenePrompt(text=_opened(words, rng), tag="position", facts=facts)


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


def join_phrases(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def group_phrases(objects: Sequence[SmallObject]) -> list[str]:
    """`a red apple`, `two dogs`: equal objects together, in order of first sight."""
    counts = Counter((item.category, item.colour) for item in objects)
    return [
        a_noun(category, colour)
        if count == 1
        else f"{NUMBERS[count]} {colour + ' ' if colour else ''}{noun(category, count)}"
        for (category, colour), count in counts.items()
    ]


def plan_text(small: SmallScene) -> str:
    """Every object with its place, and the ground; the same words for the same scene."""
    parts = [f"{a_noun(item.category, item.colour)} {_at(item)}" for item in small.objects]
    return f"{', '.join(parts)}, on {small.tone}"


def _at(item: SmallObject) -> str:
    return "in the middle" if item.place == "middle" else f"at the {item.place}"


def short_prompt(small: SmallScene, rng: np.random.Generator) -> str:
    """What there is, in a line."""
    groups = group_phrases(small.objects)
    words = join_phrases([groups[index] for index in rng.permutation(len(groups))])
    ground = f" on {_ground(small, rng)}" if rng.random() < 0.3 else ""
    return _opened(words, rng) + ground


def _ground(small: SmallScene, rng: np.random.Generator) -> str:
    noun_ = random_choice(("background", "ground"), rng)
    return f"a {small.tone} {noun_}" if small.tone != "sky" else f"a sky blue {noun_}"


def long_prompt(small: SmallScene, rng: np.random.Generator) -> str:
    """Every object and its place in sentences, now and then the ground."""
    objects = [small.objects[index] for index in rng.permutation(len(small.objects))]
    sentences = [random_choice(_SENTENCES, rng)(item) for item in objects]
    for one, other in pairwise(objects):
        relation = relation_of(one, other)
        alone = Counter(item.category for item in objects)
        if relation and alone[one.category] == alone[other.category] == 1 and rng.random() < 0.4:
            sentences.append(
                f"The {noun(one.category)} is {_PLACED[relation]} the {noun(other.category)}."
            )
    if rng.random() < 0.5:
        sentences.append(f"All of it is on {_ground(small, rng)}.")
    if rng.random() < 0.5:
        sentences.insert(0, f"The picture shows {join_phrases(group_phrases(small.objects))}.")
    return " ".join(sentences)


_SENTENCES: Final[tuple[Callable[[SmallObject], str], ...]] = (
    lambda item: f"There is {a_noun(item.category, item.colour)} {_at(item)}.",
    lambda item: f"{_capital(a_noun(item.category, item.colour))} is {_at(item)}.",
    lambda item: f"{_capital(_at(item))} stands {a_noun(item.category, item.colour)}.",
    lambda item: f"One sees {a_noun(item.category, item.colour)} {_at(item)}.",
    lambda item: (
        f"{_capital(_at(item))} there is {a_noun(item.category)}"
        + (f", and it is {item.colour}." if item.colour else ".")
    ),
)


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def caption(small: SmallScene) -> str:
    """What a describer says: the plan."""
    return plan_text(small)


def yes_no(small: SmallScene, rng: np.random.Generator) -> AnsweredQuestion:
    """A question to be answered yes or no; both equally often, for every kind alike."""
    truth = bool(rng.random() < 0.5)
    kinds = list(rng.permutation(len(_YES_NO)))
    for index in kinds:
        kind, ask = _YES_NO[index]
        text = ask(small, truth, rng)
        if text is not None:
            return AnsweredQuestion(kind=kind, text=text, answer="yes" if truth else "no")
    raise AssertionError("something can be asked about every scene")


def _counts(small: SmallScene) -> Counter[str]:
    return Counter(item.category for item in small.objects)


def _absent(small: SmallScene, rng: np.random.Generator) -> str:
    counts = _counts(small)
    return random_choice([name for name in SMALL_CATEGORIES if name not in counts], rng)


def _present(small: SmallScene, rng: np.random.Generator) -> str:
    return random_choice(sorted(_counts(small)), rng)


def _ask_existence(small: SmallScene, truth: bool, rng: np.random.Generator) -> str:
    name = _present(small, rng) if truth else _absent(small, rng)
    form = random_choice(("Is there {} in the picture?", "Is there {}?", "Can {} be seen?"), rng)
    return form.format(a_noun(name))


def _ask_absence(small: SmallScene, truth: bool, rng: np.random.Generator) -> str:
    name = _absent(small, rng) if truth else _present(small, rng)
    return f"Is the picture free of {noun(name, 2)}?"


def _ask_count(small: SmallScene, truth: bool, rng: np.random.Generator) -> str:
    name = _present(small, rng)
    right = _counts(small)[name]
    others = [number for number in range(1, MAX_SMALL_OBJECTS + 1) if number != right]
    number = right if truth else random_choice(others, rng)
    verb = "Is" if number == 1 else "Are"
    ending = random_choice((" in the picture?", "?"), rng)
    return f"{verb} there exactly {NUMBERS[number]} {noun(name, number)}{ending}"


def _singles(small: SmallScene) -> list[SmallObject]:
    counts = _counts(small)
    return [item for item in small.objects if counts[item.category] == 1]


def _ask_colour(small: SmallScene, truth: bool, rng: np.random.Generator) -> str | None:
    coloured = [item for item in _singles(small) if item.colour]
    if not coloured:
        return None
    item = random_choice(coloured, rng)
    wrong = random_choice([colour for colour in COLOURS if colour != item.colour], rng)
    return f"Is the {noun(item.category)} {item.colour if truth else wrong}?"


def _ask_binding(small: SmallScene, truth: bool, rng: np.random.Generator) -> str | None:
    pairs = [
        (one, other)
        for one in _singles(small)
        for other in _singles(small)
        if one.colour and other.colour and one.colour != other.colour
    ]
    if not pairs:
        return None
    one, other = random_choice(pairs, rng)
    colour = one.colour if truth else other.colour
    form = random_choice(("Can {} be seen in the picture?", "Is there {}?"), rng)
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
    one, other, relation = random_choice(pairs, rng)
    told = relation if truth else _OPPOSITE[relation]
    return f"Is the {noun(one.category)} {_PLACED[told]} the {noun(other.category)}?"


def _ask_ground(small: SmallScene, truth: bool, rng: np.random.Generator) -> str:
    wrong = random_choice([tone for tone in SMALL_TONES if tone != small.tone], rng)
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


def free_text_question(small: SmallScene, rng: np.random.Generator) -> AnsweredQuestion:
    """A question whose answer is a few words."""
    singles = _singles(small)
    choice = int(rng.integers(5))
    if choice == 4 and singles:
        item = random_choice(singles, rng)
        return AnsweredQuestion(
            kind="where", text=f"Where is the {noun(item.category)}?", answer=_at(item)
        )
    if choice == 0 and singles:
        item = random_choice(singles, rng)
        text = f"What colour is the {noun(item.category)}?"
        return AnsweredQuestion(kind="what colour", text=text, answer=item.colour or NATURAL)
    if choice == 1:
        name = _present(small, rng)
        text = f"How many {noun(name, 2)} are there?"
        return AnsweredQuestion(kind="how many", text=text, answer=NUMBERS[_counts(small)[name]])
    if choice == 2:
        return AnsweredQuestion(kind="ground", text="What is the background?", answer=small.tone)
    item = random_choice(small.objects, rng)
    answer = a_noun(item.category, item.colour)
    return AnsweredQuestion(kind="what where", text=f"What is {_at(item)}?", answer=answer)
