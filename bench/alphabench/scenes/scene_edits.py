"""Changes of small scenes: edits with their instructions, and mistakes with what mends them.

A change keeps every thing that it does not name where and as it was. Knows no pixel and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from alphabench.detections.objects import COLOURS
from alphabench.scenes.descriptions import NATURAL, one_of
from alphabench.scenes.scene_questions import a_noun, noun
from alphabench.scenes.small_world import (
    CORNERS,
    MOST_THINGS,
    SMALL_CATEGORIES,
    SmallScene,
    Thing,
    tones_for,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One step from a scene to another, in words."""

    kind: str
    before: SmallScene
    after: SmallScene
    instruction: str
    complaint: str
    """What is wrong with `before` for somebody who wanted `after`."""


Maker = Callable[[SmallScene, np.random.Generator], Change | None]
"""Makes a change of a scene or to it; None where it does not apply."""


def edit(before: SmallScene, rng: np.random.Generator) -> Change:
    """A random change of `before`.

    Raises:
        LookupError: nothing in it can be named without doubt.
    """
    return _first(before, _CHANGES, rng)


def mistake(wanted: SmallScene, rng: np.random.Generator) -> Change:
    """A picture that went wrong in one respect, and the change that leads to `wanted`.

    Raises:
        LookupError: nothing in it can be named without doubt.
    """
    return _first(wanted, _MISTAKES, rng)


def _first(scene: SmallScene, makers: Sequence[Maker], rng: np.random.Generator) -> Change:
    for index in rng.permutation(len(makers)):
        made: Change | None = makers[int(index)](scene, rng)
        if made is not None:
            return made
    raise LookupError("no change applies to this scene")


def _thing(scene: SmallScene, rng: np.random.Generator) -> Thing | None:
    """One that is alone of its category, so that it can be named."""
    names = [thing.category for thing in scene.things]
    alone = [thing for thing in scene.things if names.count(thing.category) == 1]
    return one_of(alone, rng) if alone else None


def _with(scene: SmallScene, old: Thing | None, new: Thing | None) -> SmallScene:
    things = [new if thing is old else thing for thing in scene.things]
    if old is None:
        things.append(new)
    kept = [thing for thing in things if thing is not None]
    order = {place: rank for rank, place in enumerate((*CORNERS, "middle"))}
    return replace(scene, things=tuple(sorted(kept, key=lambda thing: order[thing.place])))


def _other_colour(thing: Thing, rng: np.random.Generator) -> str:
    return one_of([colour for colour in COLOURS if colour != thing.colour], rng)


def _other_category(scene: SmallScene, rng: np.random.Generator) -> str:
    there = {thing.category for thing in scene.things}
    return one_of([name for name in SMALL_CATEGORIES if name not in there], rng)


def _recoloured(before: SmallScene, rng: np.random.Generator) -> Change | None:
    thing = _thing(before, rng)
    if thing is None:
        return None
    colour = _other_colour(thing, rng)
    return _recolouring(before, thing, colour, rng)


def _recolouring(
    before: SmallScene, thing: Thing, colour: str | None, rng: np.random.Generator
) -> Change:
    name, said = noun(thing.category), colour or NATURAL
    forms = (
        f"Make the {name} {said}.",
        f"Change the colour of the {name} to {said}.",
        f"Paint the {name} {said}.",
    )
    giving = f"Give the {name} {NATURAL}."
    return Change(
        kind="colour",
        before=before,
        after=_with(before, thing, replace(thing, colour=colour)),
        instruction=one_of(forms, rng) if colour else giving,
        complaint=f"the {name} is {_look(thing.colour)}, not {_look(colour)}",
    )


def _look(colour: str | None) -> str:
    return colour or f"in {NATURAL}"


def _replaced(before: SmallScene, rng: np.random.Generator) -> Change | None:
    thing = _thing(before, rng)
    if thing is None:
        return None
    name = _other_category(before, rng)
    colour = None if rng.random() < 0.6 else one_of(COLOURS, rng)
    return _replacing(before, thing, Thing(category=name, colour=colour, place=thing.place), rng)


def _replacing(before: SmallScene, old: Thing, new: Thing, rng: np.random.Generator) -> Change:
    forms = (
        f"Replace the {noun(old.category)} with {a_noun(new.category, new.colour)}.",
        f"Turn the {noun(old.category)} into {a_noun(new.category, new.colour)}.",
    )
    return Change(
        kind="replace",
        before=before,
        after=_with(before, old, new),
        instruction=one_of(forms, rng),
        complaint=f"there is {a_noun(old.category)} where {a_noun(new.category)} should be",
    )


def _removed(before: SmallScene, rng: np.random.Generator) -> Change | None:
    thing = _thing(before, rng)
    if thing is None or len(before.things) == 1:
        return None
    return _removing(before, thing, rng)


def _removing(before: SmallScene, thing: Thing, rng: np.random.Generator) -> Change:
    name = noun(thing.category)
    forms = (f"Remove the {name}.", f"Take the {name} away.", f"Delete the {name}.")
    return Change(
        kind="remove",
        before=before,
        after=_with(before, thing, None),
        instruction=one_of(forms, rng),
        complaint=f"the {name} should not be there",
    )


def _added(before: SmallScene, rng: np.random.Generator) -> Change | None:
    free = [place for place in CORNERS if place not in {thing.place for thing in before.things}]
    if len(before.things) >= MOST_THINGS or before.things[0].place == "middle":
        return None
    colour = None if rng.random() < 0.6 else one_of(COLOURS, rng)
    thing = Thing(category=_other_category(before, rng), colour=colour, place=one_of(free, rng))
    return _adding(before, thing, rng)


def _adding(before: SmallScene, thing: Thing, rng: np.random.Generator) -> Change:
    words = a_noun(thing.category, thing.colour)
    where = f" at the {thing.place}"
    forms = (f"Add {words}{where}.", f"Add {words}.", f"Put {words}{where}.")
    return Change(
        kind="add",
        before=before,
        after=_with(before, None, thing),
        instruction=one_of(forms, rng),
        complaint=f"{words} is missing",
    )


def _regrounded(before: SmallScene, rng: np.random.Generator) -> Change | None:
    others = [tone for tone in tones_for(before.things) if tone != before.tone]
    if not others:
        return None
    tone = one_of(others, rng)
    forms = (
        f"Change the background to {tone}.",
        f"Make the background {tone}.",
        f"Put it all on a {tone} background.",
    )
    return Change(
        kind="background",
        before=before,
        after=replace(before, tone=tone),
        instruction=one_of(forms, rng),
        complaint=f"the background is {before.tone}, not {tone}",
    )


def _wrong_colour(wanted: SmallScene, rng: np.random.Generator) -> Change | None:
    thing = _thing(wanted, rng)
    if thing is None or thing.colour is None:
        return None
    spoilt = replace(thing, colour=_other_colour(thing, rng))
    before = _with(wanted, thing, spoilt)
    return _recolouring(before, spoilt, thing.colour, rng)


def _wrong_thing(wanted: SmallScene, rng: np.random.Generator) -> Change | None:
    thing = _thing(wanted, rng)
    if thing is None:
        return None
    spoilt = replace(thing, category=_other_category(wanted, rng))
    return _replacing(_with(wanted, thing, spoilt), spoilt, thing, rng)


def _missing(wanted: SmallScene, rng: np.random.Generator) -> Change | None:
    if len(wanted.things) == 1:
        return None
    thing = one_of(wanted.things, rng)
    return _adding(_with(wanted, thing, None), thing, rng)


def _superfluous(wanted: SmallScene, rng: np.random.Generator) -> Change | None:
    free = [place for place in CORNERS if place not in {thing.place for thing in wanted.things}]
    if not free or wanted.things[0].place == "middle":
        return None
    place = one_of(free, rng)
    extra = Thing(category=_other_category(wanted, rng), colour=None, place=place)
    if rng.random() < 0.5:
        extra = replace(one_of(wanted.things, rng), place=place)
    return _removing_at(_with(wanted, None, extra), extra)


def _removing_at(before: SmallScene, thing: Thing) -> Change:
    words = f"the {noun(thing.category)} at the {thing.place}"
    return Change(
        kind="remove",
        before=before,
        after=_with(before, thing, None),
        instruction=f"Remove {words}.",
        complaint=f"{words} should not be there",
    )


def _swapped(wanted: SmallScene, rng: np.random.Generator) -> Change | None:
    if len(wanted.things) != 2 or len({thing.category for thing in wanted.things}) == 1:
        return None
    first, second = wanted.things
    changed = (replace(second, place=first.place), replace(first, place=second.place))
    one = one_of(wanted.things, rng)
    return Change(
        kind="swap",
        before=replace(wanted, things=changed),
        after=wanted,
        instruction=f"Swap the {noun(first.category)} and the {noun(second.category)}.",
        complaint=f"{a_noun(one.category)} should be at the {one.place}",
    )


def _bled(wanted: SmallScene, _: np.random.Generator) -> Change | None:
    """Two colours exchanged: what generators do when they mix up whose is which."""
    if len(wanted.things) != 2:
        return None
    first, second = wanted.things
    if first.category == second.category or first.colour == second.colour or not first.colour:
        return None
    if not second.colour:
        return None
    changed = (replace(first, colour=second.colour), replace(second, colour=first.colour))
    return Change(
        kind="colours",
        before=replace(wanted, things=changed),
        after=wanted,
        instruction=f"Make the {noun(first.category)} {first.colour} and the "
        f"{noun(second.category)} {second.colour}.",
        complaint=f"the colours of the {noun(first.category)} and the {noun(second.category)} "
        "are exchanged",
    )


_CHANGES: Final[tuple[Maker, ...]] = (
    _recoloured,
    _replaced,
    _removed,
    _added,
    _regrounded,
)
_MISTAKES: Final[tuple[Maker, ...]] = (
    _wrong_colour,
    _wrong_thing,
    _missing,
    _superfluous,
    _swapped,
    _bled,
)
