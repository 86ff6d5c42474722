"""Composes a scene that satisfies the facts of a GenEval sample, or fails them in a known way.

Knows the demands of a prompt (`alphabench.detections.geneval_rules.Rules`), never its words. What
it composes satisfies or fails the rules with room to spare, so that a detector's small errors in a
box do not decide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np

from alphabench.detections.geneval_rules import MARGIN, Clause, Rules
from alphabench.detections.objects import COLOURS
from alphabench.scenes.layout import Extent, Look, Spot, canvas_extent, scatter
from alphabench.scenes.palette import random_background
from alphabench.scenes.scene_sampling import place_objects, random_colour, random_looks
from alphabench.scenes.spec import CATEGORIES, Scene

ErrorKind = Literal["missing", "count", "colour", "position"]
"""missing: one object asked for is not there. count: one too many or too few where the number is
checked. colour: an asked colour is another. position: the objects stand otherwise."""
ERROR_KINDS: Final[tuple[ErrorKind, ...]] = get_args(ErrorKind)

MOST_OBJECTS: Final = 5
_SMALLEST: Final = 0.2
_GAP: Final = 0.03
_DISTRACTOR_SHARE: Final = 0.1
_HOLDS: Final = 0.62
"""A relation that shall hold has at least this component; GenEval asks for more than 0.5."""
_FAILS: Final = 0.3
"""Every other relation has at most this one."""
_AXES: Final[Mapping[str, tuple[float, float]]] = {
    "left of": (-1.0, 0.0),
    "right of": (1.0, 0.0),
    "above": (0.0, -1.0),
    "below": (0.0, 1.0),
}


class _Cast(NamedTuple):
    """One object to be rendered, and the clause it is there for (None: a distractor)."""

    category: str
    colour: str | None
    clause: int | None


def why_not_renderable(facts: Mapping[str, Any]) -> str | None:
    """Why the world cannot draw a sample with these facts; None when it can."""
    try:
        rules = Rules.from_facts(facts)
    except ValueError as error:
        return f"its facts are not GenEval's: {error}"
    return next(_obstacles(rules), None)


def _obstacles(rules: Rules) -> Iterator[str]:
    asked = [clause.category for clause in rules.include]
    named = {*asked, *(clause.category for clause in rules.exclude)}
    colours = {clause.colour for clause in rules.include if clause.colour is not None}
    if not asked:
        yield "its facts name no object to draw"
    if strange := sorted(named.difference(CATEGORIES)):
        yield f"the world has no {' and no '.join(map(repr, strange))}"
    if strange := sorted(colours.difference(COLOURS)):
        yield f"the world has no colour {' and no '.join(map(repr, strange))}"
    if len(set(asked)) < len(asked):
        yield "it asks for one class in two clauses"
    if sum(clause.count for clause in rules.include) > MOST_OBJECTS:
        yield f"it asks for more than {MOST_OBJECTS} objects"
    if any(_forbids(clause, rules) for clause in rules.include):
        yield "it forbids what it asks for"
    related = [i for i, clause in enumerate(rules.include) if clause.relation is not None]
    related += [rules.include[i].target or 0 for i in related]
    if any(rules.include[i].count > 1 for i in related) or (related and rules.exclude):
        yield "it places groups of objects"


def applicable_errors(facts: Mapping[str, Any]) -> tuple[ErrorKind, ...]:
    """The kinds that can be planted in a scene for these facts; `missing` always can."""
    rules = Rules.from_facts(facts)
    counted = {clause.category for clause in rules.exclude}
    applies: dict[ErrorKind, bool] = {
        "missing": True,
        "count": any(clause.category in counted for clause in rules.include),
        "colour": any(clause.colour is not None for clause in rules.include),
        "position": any(clause.relation is not None for clause in rules.include),
    }
    return tuple(kind for kind in ERROR_KINDS if applies[kind])


def compose(
    facts: Mapping[str, Any],
    rng: np.random.Generator,
    *,
    error: ErrorKind | None = None,
    aspect: float = 1.0,
) -> Scene:
    """A scene for these facts.

    Args:
        facts: of a sample for which `why_not_renderable` is None.
        rng: decides all that the facts leave open, the scene's own seed included.
        error: planted so that GenEval's rules must fail the true scene; one of
            `applicable_errors(facts)`. None: the scene satisfies them.
        aspect: width over height of the canvas.

    Raises:
        ValueError: facts that cannot be rendered, or an error that does not apply.
    """
    reason = why_not_renderable(facts)
    if reason is not None:
        raise ValueError(reason)
    if error is not None and error not in applicable_errors(facts):
        raise ValueError(f"an error of kind {error!r} does not apply to these facts")
    asked = Rules.from_facts(facts)
    shown = asked.include if error is None else _plant(asked, error, rng)
    cast = _cast(shown, rng)
    wants_distractor = rng.random() < (0.5 if error == "missing" else _DISTRACTOR_SHARE)
    if wants_distractor and len(cast) <= MOST_OBJECTS:
        cast.append(_distractor(asked, rng))
    looks, spots = _arrange(shown, cast, canvas_extent(aspect), rng)
    objects = place_objects(looks, spots, canvas_extent(aspect))
    return Scene(
        background=random_background(rng, objects), objects=objects, seed=int(rng.integers(2**62))
    )


def _forbids(clause: Clause, rules: Rules) -> bool:
    limits = [limit.count for limit in rules.exclude if limit.category == clause.category]
    return any(clause.count >= limit for limit in limits)


def _plant(asked: Rules, error: ErrorKind, rng: np.random.Generator) -> tuple[Clause, ...]:
    """The clauses to be rendered instead of the required ones."""
    if error == "missing":
        return _with_count(asked.include, int(rng.integers(len(asked.include))), -1)
    if error == "count":
        return _miscounted(asked, rng)
    if error == "colour":
        return _recoloured(asked.include, rng)
    related = [i for i, clause in enumerate(asked.include) if clause.relation is not None]
    index = related[rng.integers(len(related))]
    others = [name for name in _AXES if name != asked.include[index].relation]
    wrong = replace(asked.include[index], relation=others[rng.integers(len(others))])
    return (*asked.include[:index], wrong, *asked.include[index + 1 :])


def _miscounted(asked: Rules, rng: np.random.Generator) -> tuple[Clause, ...]:
    limits = {limit.category: limit.count for limit in asked.exclude}
    counted = [i for i, clause in enumerate(asked.include) if clause.category in limits]
    index = counted[rng.integers(len(counted))]
    clause = asked.include[index]
    excess = limits[clause.category] - clause.count
    n_others = sum(other.count for other in asked.include) - clause.count
    too_many_fit = clause.count + excess + n_others <= MOST_OBJECTS
    change = excess if too_many_fit and rng.random() < 0.5 else -1
    return _with_count(asked.include, index, change)


def _with_count(include: tuple[Clause, ...], index: int, change: int) -> tuple[Clause, ...]:
    """The clauses with another number at `index`; one left without an object goes."""
    clause = include[index]
    if clause.count + change > 0:
        changed = replace(clause, count=clause.count + change)
        return (*include[:index], changed, *include[index + 1 :])
    return tuple(_without_target(other, index) for i, other in enumerate(include) if i != index)


def _without_target(clause: Clause, gone: int) -> Clause:
    if clause.target is None or clause.target < gone:
        return clause
    if clause.target == gone:
        return replace(clause, relation=None, target=None)
    return replace(clause, target=clause.target - 1)


def _recoloured(include: tuple[Clause, ...], rng: np.random.Generator) -> tuple[Clause, ...]:
    """One asked colour is another, or two are exchanged."""
    coloured = [i for i, clause in enumerate(include) if clause.colour is not None]
    changed = list(include)
    index = coloured[rng.integers(len(coloured))]
    partners = [i for i in coloured if include[i].colour != include[index].colour]
    if partners and rng.random() < 0.5:
        partner = partners[rng.integers(len(partners))]
        changed[index] = replace(include[index], colour=include[partner].colour)
        changed[partner] = replace(include[partner], colour=include[index].colour)
    else:
        others = [colour for colour in COLOURS if colour != include[index].colour]
        changed[index] = replace(include[index], colour=others[rng.integers(len(others))])
    return tuple(changed)


def _cast(shown: Sequence[Clause], rng: np.random.Generator) -> list[_Cast]:
    return [
        _Cast(clause.category, clause.colour or random_colour(rng), index)
        for index, clause in enumerate(shown)
        for _ in range(clause.count)
    ]


def _distractor(asked: Rules, rng: np.random.Generator) -> _Cast:
    named = {clause.category for clause in (*asked.include, *asked.exclude)}
    others = [category for category in CATEGORIES if category not in named]
    return _Cast(others[rng.integers(len(others))], random_colour(rng), None)


class _Arrangement(NamedTuple):
    looks: list[Look]
    spots: list[Spot]


def _arrange(
    shown: Sequence[Clause], cast: Sequence[_Cast], canvas: Extent, rng: np.random.Generator
) -> _Arrangement:
    """Places that keep every relation; sizes shrink while none are found."""
    categories, colours = [member.category for member in cast], [member.colour for member in cast]
    shrink = 1.0
    while shrink > 0.2:
        for _ in range(100):
            looks = random_looks(rng, categories, colours, smallest=_SMALLEST)
            looks = [replace(look, size=look.size * shrink) for look in looks]
            footprints = [look.footprint for look in looks]
            spots = scatter(rng, footprints, canvas, gap=_GAP)
            if spots is not None and _relations_hold(shown, cast, spots, footprints):
                return _Arrangement(looks, spots)
        shrink *= 0.9
    raise ValueError("no arrangement keeps every relation of these facts")


def _relations_hold(
    shown: Sequence[Clause],
    cast: Sequence[_Cast],
    spots: Sequence[Spot],
    footprints: Sequence[Extent],
) -> bool:
    """Every subject stands to every target as its clause says, and in no other relation."""
    members: dict[int | None, list[int]] = {}
    for i, member in enumerate(cast):
        members.setdefault(member.clause, []).append(i)
    return all(
        relation_holds(clause.relation, (spots[a], footprints[a]), (spots[b], footprints[b]))
        for index, clause in enumerate(shown)
        if clause.relation is not None
        for a in members[index]
        for b in members[clause.target]
    )


def relation_holds(
    relation: str, subject: tuple[Spot, Extent], target: tuple[Spot, Extent]
) -> bool:
    """GenEval's relative position, from footprints, with stricter bounds."""
    (spot, own), (other, extent) = subject, target
    offset = (spot.x - other.x, spot.y - other.y)
    margins = (MARGIN * (own.width + extent.width), MARGIN * (own.height + extent.height))
    norm = math.hypot(*offset)
    beyond = [
        math.copysign(max(abs(o) - margin, 0.0), o) / norm
        for o, margin in zip(offset, margins, strict=True)
    ]

    def component(name: str) -> float:
        axis_x, axis_y = _AXES[name]
        return beyond[0] * axis_x + beyond[1] * axis_y

    return component(relation) >= _HOLDS and all(
        component(name) <= _FAILS for name in _AXES if name != relation
    )
