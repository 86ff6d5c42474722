"""Changes of small scenes: edits with their instructions, and mistakes with what mends them.

A change keeps every object that it does not name where and as it was. Knows no pixel and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from alphabench.detections.objects import COLOURS
from alphabench.scenes.descriptions import NATURAL, random_choice
from alphabench.scenes.scene_questions import a_noun, noun
from alphabench.scenes.small_world import (
    CORNERS,
    MAX_SMALL_OBJECTS,
    SMALL_CATEGORIES,
    SmallObject,
    SmallScene,
    tones_for,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneChange:
    """One step from a scene to another, in words."""

    kind: str
    before: SmallScene
    after: SmallScene
    instruction: str
    complaint: str
    """What is wrong with `before`, compared with `after`."""


Maker = Callable[[SmallScene, np.random.Generator], SceneChange | None]
"""Makes a change of a scene or to it; None where it does not apply."""


def edit(before: SmallScene, rng: np.random.Generator) -> SceneChange:
    """A random change of `before`.

    Raises:
        LookupError: nothing in it can be named without doubt.
    """
    return _first(before, _CHANGES, rng)


def mistake(wanted: SmallScene, rng: np.random.Generator) -> SceneChange:
    """An image with one error, and the change that leads to `wanted`.

    Raises:
        LookupError: nothing in it can be named without doubt.
    """
    return _first(wanted, _MISTAKES, rng)


def _first(scene: SmallScene, makers: Sequence[Maker], rng: np.random.Generator) -> SceneChange:
    for index in rng.permutation(len(makers)):
        made: SceneChange | None = makers[int(index)](scene, rng)
        if made is not None:
            return made
    raise LookupError("no change applies to this scene")


def _random_object(scene: SmallScene, rng: np.random.Generator) -> SmallObject | None:
    """One that is alone of its category, so that it can be named."""
    names = [item.category for item in scene.objects]
    alone = [item for item in scene.objects if names.count(item.category) == 1]
    return random_choice(alone, rng) if alone else None


def _with(scene: SmallScene, old: SmallObject | None, new: SmallObject | None) -> SmallScene:
    objects = [new if item is old else item for item in scene.objects]
    if old is None:
        objects.append(new)
    kept = [item for item in objects if item is not None]
    order = {place: rank for rank, place in enumerate((*CORNERS, "middle"))}
    return replace(scene, objects=tuple(sorted(kept, key=lambda item: order[item.place])))


def _other_colour(item: SmallObject, rng: np.random.Generator) -> str:
    return random_choice([colour for colour in COLOURS if colour != item.colour], rng)


def _other_category(scene: SmallScene, rng: np.random.Generator) -> str:
    there = {item.category for item in scene.objects}
    return random_choice([name for name in SMALL_CATEGORIES if name not in there], rng)


def _recoloured(before: SmallScene, rng: np.random.Generator) -> SceneChange | None:
    item = _random_object(before, rng)
    if item is None:
        return None
    colour = _other_colour(item, rng)
    return _recolouring(before, item, colour, rng)


def _recolouring(
    before: SmallScene, item: SmallObject, colour: str | None, rng: np.random.Generator
) -> SceneChange:
    name, said = noun(item.category), colour or NATURAL
    forms = (
        f"Make the {name} {said}.",
        f"Change the colour of the {name} to {said}.",
        f"Paint the {name} {said}.",
    )
    giving = f"Give the {name} {NATURAL}."
    return SceneChange(
        kind="colour",
        before=before,
        after=_with(before, item, replace(item, colour=colour)),
        instruction=random_choice(forms, rng) if colour else giving,
        complaint=f"the {name} is {_look(item.colour)}, not {_look(colour)}",
    )


def _look(colour: str | None) -> str:
    return colour or f"in {NATURAL}"


def _replaced(before: SmallScene, rng: np.random.Generator) -> SceneChange | None:
    item = _random_object(before, rng)
    if item is None:
        return None
    name = _other_category(before, rng)
    colour = None if rng.random() < 0.6 else random_choice(COLOURS, rng)
    return _replacing(
        before, item, SmallObject(category=name, colour=colour, place=item.place), rng
    )


def _replacing(
    before: SmallScene, old: SmallObject, new: SmallObject, rng: np.random.Generator
) -> SceneChange:
    forms = (
        f"Replace the {noun(old.category)} with {a_noun(new.category, new.colour)}.",
        f"Turn the {noun(old.category)} into {a_noun(new.category, new.colour)}.",
    )
    return SceneChange(
        kind="replace",
        before=before,
        after=_with(before, old, new),
        instruction=random_choice(forms, rng),
        complaint=f"there is {a_noun(old.category)} where {a_noun(new.category)} should be",
    )


def _removed(before: SmallScene, rng: np.random.Generator) -> SceneChange | None:
    item = _random_object(before, rng)
    if item is None or len(before.objects) == 1:
        return None
    return _removing(before, item, rng)


def _removing(before: SmallScene, item: SmallObject, rng: np.random.Generator) -> SceneChange:
    name = noun(item.category)
    forms = (f"Remove the {name}.", f"Take the {name} away.", f"Delete the {name}.")
    return SceneChange(
        kind="remove",
        before=before,
        after=_with(before, item, None),
        instruction=random_choice(forms, rng),
        complaint=f"the {name} should not be there",
    )


def _added(before: SmallScene, rng: np.random.Generator) -> SceneChange | None:
    free = [place for place in CORNERS if place not in {item.place for item in before.objects}]
    if len(before.objects) >= MAX_SMALL_OBJECTS or before.objects[0].place == "middle":
        return None
    colour = None if rng.random() < 0.6 else random_choice(COLOURS, rng)
    item = SmallObject(
        category=_other_category(before, rng), colour=colour, place=random_choice(free, rng)
    )
    return _adding(before, item, rng)


def _adding(before: SmallScene, item: SmallObject, rng: np.random.Generator) -> SceneChange:
    words = a_noun(item.category, item.colour)
    where = f" at the {item.place}"
    forms = (f"Add {words}{where}.", f"Add {words}.", f"Put {words}{where}.")
    return SceneChange(
        kind="add",
        before=before,
        after=_with(before, None, item),
        instruction=random_choice(forms, rng),
        complaint=f"{words} is missing",
    )


def _regrounded(before: SmallScene, rng: np.random.Generator) -> SceneChange | None:
    others = [tone for tone in tones_for(before.objects) if tone != before.tone]
    if not others:
        return None
    tone = random_choice(others, rng)
    forms = (
        f"Change the background to {tone}.",
        f"Make the background {tone}.",
        f"Put it all on a {tone} background.",
    )
    return SceneChange(
        kind="background",
        before=before,
        after=replace(before, tone=tone),
        instruction=random_choice(forms, rng),
        complaint=f"the background is {before.tone}, not {tone}",
    )


def _wrong_colour(wanted: SmallScene, rng: np.random.Generator) -> SceneChange | None:
    item = _random_object(wanted, rng)
    if item is None or item.colour is None:
        return None
    spoilt = replace(item, colour=_other_colour(item, rng))
    before = _with(wanted, item, spoilt)
    return _recolouring(before, spoilt, item.colour, rng)


def _wrong_object(wanted: SmallScene, rng: np.random.Generator) -> SceneChange | None:
    item = _random_object(wanted, rng)
    if item is None:
        return None
    spoilt = replace(item, category=_other_category(wanted, rng))
    return _replacing(_with(wanted, item, spoilt), spoilt, item, rng)


def _missing(wanted: SmallScene, rng: np.random.Generator) -> SceneChange | None:
    if len(wanted.objects) == 1:
        return None
    item = random_choice(wanted.objects, rng)
    return _adding(_with(wanted, item, None), item, rng)


def _superfluous(wanted: SmallScene, rng: np.random.Generator) -> SceneChange | None:
    free = [place for place in CORNERS if place not in {item.place for item in wanted.objects}]
    if not free or wanted.objects[0].place == "middle":
        return None
    place = random_choice(free, rng)
    extra = SmallObject(category=_other_category(wanted, rng), colour=None, place=place)
    if rng.random() < 0.5:
        extra = replace(random_choice(wanted.objects, rng), place=place)
    return _removing_at(_with(wanted, None, extra), extra)


def _removing_at(before: SmallScene, item: SmallObject) -> SceneChange:
    words = f"the {noun(item.category)} at the {item.place}"
    return SceneChange(
        kind="remove",
        before=before,
        after=_with(before, item, None),
        instruction=f"Remove {words}.",
        complaint=f"{words} should not be there",
    )


def _swapped(wanted: SmallScene, rng: np.random.Generator) -> SceneChange | None:
    if len(wanted.objects) != 2 or len({item.category for item in wanted.objects}) == 1:
        return None
    first, second = wanted.objects
    changed = (replace(second, place=first.place), replace(first, place=second.place))
    one = random_choice(wanted.objects, rng)
    return SceneChange(
        kind="swap",
        before=replace(wanted, objects=changed),
        after=wanted,
        instruction=f"Swap the {noun(first.category)} and the {noun(second.category)}.",
        complaint=f"{a_noun(one.category)} should be at the {one.place}",
    )


def _bled(wanted: SmallScene, _: np.random.Generator) -> SceneChange | None:
    """Two colours exchanged: what generators do when they mix up whose is which."""
    if len(wanted.objects) != 2:
        return None
    first, second = wanted.objects
    if first.category == second.category or first.colour == second.colour or not first.colour:
        return None
    if not second.colour:
        return None
    changed = (replace(first, colour=second.colour), replace(second, colour=first.colour))
    return SceneChange(
        kind="colours",
        before=replace(wanted, objects=changed),
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
    _wrong_object,
    _missing,
    _superfluous,
    _swapped,
    _bled,
)
