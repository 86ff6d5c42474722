"""What a text may demand of a picture: claims with their truth, and texts made of them.

For questions that grade: how many of the claims hold decides the grade. Knows no pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from alphabench.detections.objects import COLOURS
from alphabench.scenes.scene_questions import a_noun, noun
from tools.nano_judge.questions import wrong_colour
from tools.nano_judge.view import NUMBERS, OPPOSITE, PLACED, View, one_choice, plainly_not

_OPENINGS: Final = (
    "a picture of ", "a photo of ", "an image of ", "a drawing of ", "", "", "show me ", "draw ",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """A phrase, and of how many demands how many hold."""

    words: str
    held: int
    made: int
    there: bool
    """Whether anything that it names is in the picture."""


def phrase(view: View, rng: np.random.Generator) -> Claims | None:
    """One thing or one group, perhaps with a colour or a place; about half of them hold."""
    kinds = rng.permutation([0, 0, 1, 1, 1, 2, 2])
    for kind in kinds:
        made = (_thing, _group, _placed)[int(kind)](view, rng)
        if made is not None:
            return made
    return None


def _thing(view: View, rng: np.random.Generator) -> Claims | None:
    wrong = rng.random() < 0.5
    if not view.single or not view.absent:
        return None
    item = one_choice(view.single, rng)
    coloured = item.colour is not None and rng.random() < 0.6
    if not wrong:
        words = a_noun(item.category, item.colour if coloured else None)
        return Claims(words=words, held=1 + coloured, made=1 + coloured, there=True)
    if coloured and rng.random() < 0.6:
        words = a_noun(item.category, wrong_colour(view, item, rng))
        return Claims(words=words, held=1, made=2, there=True)
    words = a_noun(one_choice(view.absent, rng), item.colour if coloured else None)
    return Claims(words=words, held=0, made=1 + coloured, there=False)


def _group(view: View, rng: np.random.Generator) -> Claims | None:
    if not view.counts or not view.absent:
        return None
    names = sorted(view.counts)
    several = [name for name in names if view.counts[name] > 1]
    name = one_choice(several or names, rng)
    right = view.counts[name]
    colours = view.colours(name)
    coloured = len(set(colours)) == 1 and colours[0] is not None and rng.random() < 0.5
    colour = f"{colours[0]} " if coloured else ""
    number = right
    if rng.random() < 0.5:
        if coloured and rng.random() < 0.4:
            other = one_choice([one for one in COLOURS if one != colours[0]], rng)
            words = f"{NUMBERS[number]} {other} {noun(name, number)}"
            return Claims(words=words, held=1, made=2, there=True) if number > 1 else None
        number = one_choice([n for n in (right - 1, right + 1) if n >= 2] or [2], rng)
    if number < 2:
        return None
    word = one_choice(("", "", "exactly "), rng) if not coloured else ""
    held = int(number == right) + coloured
    words = f"{word}{NUMBERS[number]} {colour}{noun(name, number)}"
    return Claims(words=words, held=held, made=1 + coloured, there=True)


def _placed(view: View, rng: np.random.Generator) -> Claims | None:
    pairs = [pair for pair in view.pairs if pair[2]]
    if not pairs:
        return None
    one, other, relations = one_choice(pairs, rng)
    relation = one_choice(relations, rng)
    held = 3
    colour = one.colour if rng.random() < 0.3 else None
    if rng.random() < 0.5:
        options = [OPPOSITE[relation]]
        if len(relations) == 1:
            options += [r for r in PLACED if r not in relations and plainly_not(one, other, r)]
        relation, held = one_choice(options, rng), 2
    place = PLACED[relation] if rng.random() < 0.8 else relation
    words = f"{a_noun(one.category, colour)} {place} {a_noun(other.category)}"
    return Claims(words=words, held=held, made=3, there=True)


def text(view: View, rng: np.random.Generator) -> Claims | None:
    """A prompt of one or two phrases about different things."""
    first = phrase(view, rng)
    if first is None:
        return None
    opening = one_choice(_OPENINGS, rng)
    if rng.random() < 0.55:
        return _opened(first, opening)
    second = phrase(view, rng)
    if second is None or {*_names(first)} & {*_names(second)}:
        return _opened(first, opening)
    both = Claims(
        words=f"{first.words} and {second.words}",
        held=first.held + second.held,
        made=first.made + second.made,
        there=first.there or second.there,
    )
    return _opened(both, opening)


def _opened(claims: Claims, opening: str) -> Claims:
    return Claims(
        words=opening + claims.words, held=claims.held, made=claims.made, there=claims.there
    )


def _names(claims: Claims) -> list[str]:
    """Its words but numbers, colours and places; singular and plural alike."""
    return [word.rstrip("s") for word in claims.words.split() if len(word) > 2]
