"""Yes/no questions about a picture with known truth, in every form that our benchmarks use.

Each kind draws the answer first and then a question with that answer, so that yes and no are as
frequent as each other; wrong questions are near misses of the picture. What cannot be told for sure
is not asked. Knows no pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alphabench.detections.objects import COLOURS
from alphabench.scenes.icons import load_icon
from alphabench.scenes.palette import TINTS
from alphabench.scenes.scene_questions import a_noun, noun
from alphabench.scenes.small_world import SMALL_TONES
from tools.nano_judge.scene_images import Seen
from tools.nano_judge.view import (
    NUMBERS,
    OPPOSITE,
    PLACED,
    View,
    YesNoClaim,
    one_choice,
    plainly_not,
)

_TONES: Final[Mapping[str, tuple[str, ...]]] = {
    "white": ("white",),
    "grey": ("grey",),
    "dark": ("dark", "nearly black"),
    "sand": ("sand", "the colour of sand"),
    "sky": ("sky", "sky blue", "light blue"),
    "navy": ("navy", "dark blue"),
    "forest": ("forest", "dark green"),
    "wine": ("wine", "dark red"),
}
_MOODS: Final = {
    "dark": "as dark as at night",
    "sky": "as bright as by day",
    "navy": "as blue as in the evening",
}
_GROUNDS: Final = {
    "plain": ("one plain colour",),
    "gradient": ("a smooth gradient from one colour to another",),
    "noise": ("soft cloudy blotches",),
    "stripes": ("stripes", "striped"),
    "checker": ("a checkerboard", "checkered"),
}
_ROUND: Final = ("apple", "clock", "donut", "pizza", "sports ball")
_LARGER: Final = 2.0
GOOD_GRADE: Final = 8
BAD_GRADE: Final = 4


Ask = Callable[[View, bool, np.random.Generator], str | None]
"""A question of one kind whose true answer is the given one; None where there is none."""


def questions(view: View, count: int, rng: np.random.Generator) -> list[YesNoClaim]:
    """So many questions, kinds by their weights; few where little can be asked."""
    kinds, shares = _CLEAR if view.shown.grade > BAD_GRADE else _SPOILT
    found: list[YesNoClaim] = []
    for index in rng.choice(len(kinds), size=2 * count, p=shares):
        if len(found) >= count:
            break
        asked = question(kinds[index], view, rng)
        if asked is not None and asked not in found:
            found.append(asked)
    return found


def question(kind: str, view: View, rng: np.random.Generator) -> YesNoClaim | None:
    """A question of this kind, true or false with equal chances."""
    truth = bool(rng.random() < 0.5)
    text = KINDS[kind](view, truth, rng)
    return None if text is None else YesNoClaim(kind=kind, text=text, truth=truth)


def _where(rng: np.random.Generator) -> str:
    return one_choice((" in the picture?", " in the picture?", "?", " in the image?"), rng)


def _existence(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    if (truth and not view.counts) or not view.absent:
        return None
    name = one_choice(sorted(view.counts), rng) if truth else one_choice(view.absent, rng)
    many = f"Are there {noun(name, 2)}{_where(rng)}"
    if rng.random() < 0.2 and view.counts.get(name, 0) != 1:
        return many
    forms = (
        f"Is there {a_noun(name)}{_where(rng)}",
        f"Is there {a_noun(name)}{_where(rng)}",
        f"Can {a_noun(name)} be seen{_where(rng)}",
        f"Does the picture show {a_noun(name)}?",
    )
    return one_choice(forms, rng)


def _absence(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    if not (view.absent if truth else view.counts):
        return None
    name = one_choice(view.absent, rng) if truth else one_choice(sorted(view.counts), rng)
    forms = (
        f"Is the picture free of {noun(name, 2)}?",
        f"Is the picture free of {noun(name, 2)}?",
        f"Is the {noun(name)} gone?",
        f"Is the picture without {a_noun(name)}?",
    )
    return one_choice(forms, rng)


def exactly(name: str, count: int) -> str:
    """`Are there exactly two dogs`, without an end."""
    return f"{'Is' if count == 1 else 'Are'} there exactly {NUMBERS[count]} {noun(name, count)}"


def _count(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    if not view.counts:
        return None
    names = sorted(view.counts)
    several = [name for name in names if view.counts[name] > 1]
    name = one_choice(several if several and rng.random() < 0.6 else names, rng)
    right = view.counts[name]
    if rng.random() < 0.25:
        return _bound(name, right, truth, rng)
    number = right if truth else _near(right, rng)
    return f"{exactly(name, number)}{_where(rng)}"


def _bound(name: str, right: int, truth: bool, rng: np.random.Generator) -> str:
    nouns, end = noun(name, 2), _where(rng)
    above = right if truth else right + 1
    if rng.random() < 0.5 and above > 1:
        return f"Are there at least {NUMBERS[above]} {nouns}{end}"
    below = right + 1 if truth else max(right, 2)
    if right == 1 and not truth:
        return f"Are there at least two {nouns}{end}"
    if rng.random() < 0.5:
        word = one_choice((str(below), NUMBERS[below]), rng)
        return f"Are there fewer than {word} {nouns}{end}"
    least = max(1, right - 1)
    low, high = (least, right + 1) if truth else (right + 1, right + 3)
    return f"Are there at least {low} but fewer than {high} {nouns}{end}"


def _near(count: int, rng: np.random.Generator) -> int:
    options = [n for n in (count - 1, count + 1, count + 1, count - 2) if 1 <= n <= 7]
    return one_choice(options, rng)


def _total(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    if not view.total:
        return None
    number = view.total if truth else _near(view.total, rng)
    things = "one object" if number == 1 else f"{NUMBERS[number]} objects"
    verb = "is" if number == 1 else "are"
    return f"Counting all objects, {verb} there exactly {things} in the picture?"


def _compare(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    names = sorted(view.counts)
    pairs = [(a, b) for a in names for b in names if view.counts[a] > view.counts[b]]
    equal = [(a, b) for a in names for b in names if a != b and view.counts[a] == view.counts[b]]
    if truth and pairs:
        more, fewer = one_choice(pairs, rng)
        if rng.random() < 0.25:
            more, fewer, word = fewer, more, "fewer"
        else:
            word = "more"
    elif not truth and (pairs or equal):
        fewer, more = one_choice(pairs if pairs and rng.random() < 0.7 else equal or pairs, rng)
        word = "more"
    else:
        return None
    return f"Are there {word} {noun(more, 2)} than {noun(fewer, 2)}?"


@cache
def unlike(category: str) -> tuple[str, ...]:
    """Colours that nobody would say of the icon in its own colours."""
    own = np.asarray(load_icon(category).mean_rgb())
    apart = {c: float(np.linalg.norm(own - np.asarray(TINTS[c].base))) for c in COLOURS}
    return tuple(sorted(apart, key=lambda colour: apart[colour])[5:])


def wrong_colour(view: View, item: Seen, rng: np.random.Generator) -> str:
    """Another one, often that of another object."""
    others = sorted({one.colour for one in view.shown.objects if one.colour} - {item.colour})
    if others and rng.random() < 0.5:
        return one_choice(others, rng)
    return one_choice([colour for colour in COLOURS if colour != item.colour], rng)


def _colour(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    plain = [one for one in view.single if one.colour is None]
    if not truth and plain and rng.random() < 0.15:
        item = one_choice(plain, rng)
        colour = one_choice(unlike(item.category), rng)
    elif view.tinted:
        item = one_choice(view.tinted, rng)
        colour = str(item.colour) if truth else wrong_colour(view, item, rng)
    else:
        return None
    name = noun(item.category)
    forms = (f"Is the {name} {colour}?",) * 3 + (
        f"Is the colour of the {name} {colour}?",
        f"Is the {name} {colour} like {one_choice(('wood', 'stone', 'iron'), rng)}?",
    )
    return one_choice(forms, rng)


def _colours(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    """Of all objects of a category."""
    names = [n for n in view.counts if view.counts[n] > 1 and None not in view.colours(n)]
    alike = [name for name in names if len(set(view.colours(name))) == 1]
    if not (alike if truth else names):
        return None
    name = one_choice(sorted(alike if truth else names), rng)
    colours = view.colours(name)
    mixed = len(set(colours)) > 1
    colour = colours[0]
    if not truth and not mixed:
        colour = one_choice([other for other in COLOURS if other not in colours], rng)
    count, nouns = view.counts[name], noun(name, 2)
    forms = [f"Are all the {nouns} {colour}?", f"Are all {NUMBERS[count]} {nouns} {colour}?"]
    forms.append(f"Are the {NUMBERS[count]} {nouns} {colour}?")
    if count == 2:
        forms.append(f"Are both {nouns} {colour}?")
    return one_choice(forms, rng)


def _everything(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    colours = {one.colour for one in view.shown.objects}
    if not view.total or None in colours or (truth and len(colours) > 1):
        return None
    colour = str(one_choice(sorted(map(str, colours)), rng))
    if not truth and (len(colours) == 1 or rng.random() < 0.3):
        colour = one_choice([other for other in COLOURS if other not in colours], rng)
    return f"Are all objects {colour}?"


def _binding(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    if not view.tinted:
        return None
    item = one_choice(view.tinted, rng)
    words = a_noun(item.category, item.colour if truth else wrong_colour(view, item, rng))
    if not truth and rng.random() < 0.3 and view.absent:
        words = a_noun(one_choice(view.absent, rng), item.colour)
    forms = (f"Can {words} be seen in the picture?", f"Is there {words}{_where(rng)}")
    return one_choice(forms, rng)


def _position(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    pairs = [pair for pair in view.pairs if pair[2]]
    if not pairs:
        return None
    one, other, held = one_choice(pairs, rng)
    relation = one_choice(held, rng)
    if not truth:
        options = [OPPOSITE[relation]] * 3
        if len(held) == 1:
            options += [r for r in PLACED if r not in held and plainly_not(one, other, r)]
        relation = one_choice(options, rng)
    name = noun(one.category)
    if one.colour and rng.random() < 0.25:
        colour = one.colour
        words = a_noun(one.category, colour)
        return f"Is there {words} {PLACED[relation]} the {noun(other.category)}?"
    return f"Is the {name} {PLACED[relation]} the {noun(other.category)}?"


def _instead(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    """As edits are checked: one thing is there, and another is not."""
    if not view.counts or len(view.absent) < 2:
        return None
    there, gone = one_choice(sorted(view.counts), rng), one_choice(view.absent, rng)
    other = one_choice([*view.absent, *view.counts], rng)
    if truth:
        return f"Is there {a_noun(there)} instead of the {noun(gone)}?"
    if other == gone:
        return None
    return f"Is there {a_noun(gone)} instead of the {noun(other)}?"


def _spot(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    """Where in the picture, for objects that stand plainly in one of its parts."""
    placed = [(one, spot) for one in view.single if (spot := _spot_of(one)) is not None]
    if not placed:
        return None
    item, spot = one_choice(placed, rng)
    if not truth:
        spot = one_choice([other for other in _SPOTS if other != spot], rng)
    where = "in the middle" if spot == "middle" else f"at the {spot}"
    if rng.random() < 0.3 and spot != "middle":
        where = f"in the {spot} corner"
    return f"Is the {noun(item.category)} {where}?"


_SPOTS: Final = ("upper left", "upper right", "lower left", "lower right", "middle")


def _spot_of(item: Seen) -> str | None:
    x, y = (item.box[0] + item.box[2]) / 2, (item.box[1] + item.box[3]) / 2
    if max(abs(x - 0.5), abs(y - 0.5)) < 0.08:
        return "middle"
    if min(abs(x - 0.5), abs(y - 0.5)) < 0.15:
        return None
    return f"{'upper' if y < 0.5 else 'lower'} {'left' if x < 0.5 else 'right'}"


def _size(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    pairs = [
        (noun(a.category), noun(b.category))
        for a in view.single
        for b in view.single
        if a.share >= _LARGER * b.share
    ]
    if not pairs:
        return None
    large, small = one_choice(pairs, rng)
    if not truth:
        large, small = small, large
    return f"Does the {large} take up more of the picture than the {small}?"


def _ground(view: View, truth: bool, rng: np.random.Generator) -> str:
    shown = view.shown
    if shown.tone is not None and rng.random() < 0.6:
        return _tone(shown.tone, truth, rng)
    kinds = [kind for kind in _GROUNDS if kind != shown.ground]
    kind = shown.ground if truth else one_choice(kinds, rng)
    return f"Is the background {one_choice(_GROUNDS[kind], rng)}?"


def _tone(tone: str, truth: bool, rng: np.random.Generator) -> str:
    if tone in _MOODS and rng.random() < 0.2:
        mood = tone if truth else one_choice([other for other in _MOODS if other != tone], rng)
        return f"Is the picture {_MOODS[mood]}?"
    known = [*SMALL_TONES, "forest", "wine"]
    named = tone if truth else one_choice([other for other in known if other != tone], rng)
    word = one_choice(_TONES[named], rng)
    forms = (f"Is the background {word}?", f"Is the background {word}?")
    if word == "the colour of sand":
        forms = (forms[0], "Has the background the colour of sand?")
    return one_choice(forms, rng)


def _manner(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    """What is true of every drawn picture, and what of none."""
    if truth:
        forms = [
            "Is the picture a drawing?", "Is the picture made of icons?",
            "Is the picture drawn in a flat way?", "Is the picture made of plain signs?",
            "Is the picture made of pictograms?",
        ]  # fmt: skip
        return one_choice(forms, rng)
    things = [f"the {noun(name)}" for name in view.counts] or ["the picture"]
    forms = [
        "Is the picture a photograph?", "Can a word be read in the picture?",
        f"Is a word written on {one_choice(things, rng)}?",
    ]  # fmt: skip
    return one_choice(forms, rng)


def _drawn(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    """Of the manner of one thing: no where it is not there."""
    names = sorted(view.counts) if truth else view.absent
    if not names:
        return None
    name = noun(one_choice(names, rng))
    ways = ("drawn as an icon", "drawn in a simple way", "drawn as clip art")
    round_ones = [one for one in names if one in _ROUND]
    if round_ones and rng.random() < 0.4:
        form = one_choice(round_ones, rng)
        if form == "donut" and rng.random() < 0.5:
            return "Has the donut the shape of a ring?"
        return f"Is the {noun(form)} round?"
    return f"Is the {name} {one_choice(ways, rng)}?"


def _quality(view: View, truth: bool, rng: np.random.Generator) -> str | None:
    grade = view.shown.grade
    if BAD_GRADE < grade < GOOD_GRADE or truth != (grade >= GOOD_GRADE):
        return None
    forms = (
        "Is every object a whole, clearly outlined shape?",
        "Is the picture free of smears and objects melting into each other?",
        "Is the picture free of blur and stray artefacts?",
    )
    return one_choice(forms, rng)


KINDS: Final[Mapping[str, Ask]] = {
    "existence": _existence,
    "absence": _absence,
    "count": _count,
    "total": _total,
    "compare": _compare,
    "colour": _colour,
    "colours": _colours,
    "everything": _everything,
    "binding": _binding,
    "position": _position,
    "instead": _instead,
    "spot": _spot,
    "size": _size,
    "ground": _ground,
    "manner": _manner,
    "drawn": _drawn,
    "quality": _quality,
}
WEIGHTS_CLEAR: Final[Mapping[str, float]] = {
    "existence": 1.5, "absence": 1, "count": 4, "total": 1.8, "compare": 0.8, "colour": 3.5,
    "colours": 1.8, "everything": 0.8, "binding": 3, "position": 7, "instead": 0.3, "spot": 4,
    "size": 0.8, "ground": 1.5, "manner": 0.15, "drawn": 0.3, "quality": 0.6,
}  # fmt: skip
WEIGHTS_SPOILT: Final[Mapping[str, float]] = {"quality": 1.0}


def _shares(weights: Mapping[str, float]) -> tuple[list[str], NDArray[np.float64]]:
    values = np.array([*weights.values()], dtype=np.float64)
    return list(weights), values / values.sum()


_CLEAR: Final = _shares(WEIGHTS_CLEAR)
_SPOILT: Final = _shares(WEIGHTS_SPOILT)


def short_question(view: View, rng: np.random.Generator) -> tuple[str, str] | None:
    """A question whose answer is a word or two; says more about a picture than yes and no."""
    kind = one_choice(("colour", "colour", "count", "total", "spot", "spot", "place", "place"), rng)
    if kind == "colour" and view.tinted:
        item = one_choice(view.tinted, rng)
        return f"What colour is the {noun(item.category)}?", str(item.colour)
    if kind == "count" and view.counts:
        name = one_choice(sorted(view.counts), rng)
        return f"How many {noun(name, 2)} are there?", NUMBERS[view.counts[name]]
    if kind == "total" and view.total:
        return "How many objects are there?", NUMBERS[view.total]
    placed = [(one, spot) for one in view.single if (spot := _spot_of(one)) is not None]
    if kind == "spot" and placed:
        item, spot = one_choice(placed, rng)
        where = "in the middle" if spot == "middle" else f"at the {spot}"
        return f"Where is the {noun(item.category)}?", where
    pairs = [pair for pair in view.pairs if len(pair[2]) == 1]
    if kind == "place" and pairs:
        one, other, held = one_choice(pairs, rng)
        asked = f"Where is the {noun(one.category)}, seen from the {noun(other.category)}?"
        return asked, PLACED[held[0]]
    return None
