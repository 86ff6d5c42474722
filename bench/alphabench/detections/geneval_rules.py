"""GenEval's rules: which detections count, and whether they show what the prompt asks for.

Pure functions over detections, equal to upstream's `evaluation/evaluate_images.py` at af4902f; the
reason lines are part of the published result format. Knows no model, no file and no score.

Where upstream leaves an order open, one is fixed here: equal scores by box from left to right, and
several relations as left of, right of, above, below (upstream prints them in hash order).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from alphabench.detections.objects import COLOURS, DetectedObject, Thresholds

QUESTION: Final = "correct"
"""The id of the one question about each image."""
CAP: Final = 16
"""Upstream's MAX_OBJECTS."""
MARGIN: Final = 0.1
"""Upstream's POSITION_THRESHOLD: the share of both objects' sizes that an offset must exceed."""
RELATIONS: Final = ("left of", "right of", "above", "below")
_OFFICIAL_THRESHOLDS: Final = Thresholds()

Selected = Mapping[str, Sequence[DetectedObject]]
"""Category -> its objects, best first; categories without any are absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One demand of a prompt: so many objects of a category, of a colour, somewhere."""

    category: str
    count: int
    colour: str | None = None
    relation: str | None = None
    """One of `RELATIONS`, to every object of the clause `target`; any other never holds."""
    target: int | None = None
    """Index of an earlier clause."""

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"a clause cannot ask for {self.count!r} objects")
        if (self.relation is None) != (self.target is None):
            raise ValueError("a position has a relation and a target")

    def check(self) -> None:
        """Refuse what no image, or every image, fulfils.

        Raises:
            ValueError: see there.
        """
        if self.count < 1:
            raise ValueError(f"a clause asks for one object at least, not {self.count!r}")
        if self.relation is not None and self.relation not in RELATIONS:
            raise ValueError(f"{self.relation!r} is no relation; one of {', '.join(RELATIONS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one prompt demands and forbids."""

    include: tuple[Clause, ...]
    exclude: tuple[Clause, ...]

    def __post_init__(self) -> None:
        for index, clause in enumerate(self.include):
            if clause.target is not None and not 0 <= clause.target < index:
                raise ValueError(f"clause {index} refers to {clause.target!r}, no earlier clause")

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Rules:
        """Read the `include` and `exclude` of facts that were written for the project.

        Raises:
            ValueError: as `published`, or a clause that no image, or every image, fulfils.
        """
        rules = cls.published(facts)
        for clause in (*rules.include, *rules.exclude):
            clause.check()
        return rules

    @classmethod
    def published(cls, facts: Mapping[str, Any]) -> Rules:
        """Read a metadata line as upstream does.

        A clause that asks for 0 objects holds (and fails as `exclude`), and a relation that is none
        of the four never holds.

        Raises:
            ValueError: a key is missing, or a value is of another type or out of range.
        """
        return cls(include=_clauses(facts, "include"), exclude=_clauses(facts, "exclude"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether an image shows what its prompt asks for, and what it lacks."""

    correct: bool
    reason: str
    """One line for each failed clause; empty when correct."""


def select(
    objects: Iterable[DetectedObject],
    *,
    tag: str,
    thresholds: Thresholds = _OFFICIAL_THRESHOLDS,
    cap: int = CAP,
    max_overlap: float = 1.0,
) -> dict[str, list[DetectedObject]]:
    """The detections that count, by category in alphabetical order, best first.

    Args:
        objects: all that the detector reports, in any order.
        tag: the prompt's task; `counting` has its own threshold.
        thresholds: a score must be strictly greater.
        cap: how many of a category are kept, before overlaps are removed.
        max_overlap: below 1, an object is dropped when its overlap (intersection over union with
            pixels counted inclusively) with a better one that is kept reaches this; 1 keeps all.
    """
    threshold = thresholds.counting if tag == "counting" else thresholds.score
    ranked: dict[str, list[DetectedObject]] = {}
    confident = [found for found in objects if _exceeds(found.score, threshold)]
    for found in sorted(confident, key=lambda o: (o.category, -o.score, o.box)):
        ranked.setdefault(found.category, []).append(found)
    return {category: _apart(of[:cap], max_overlap) for category, of in ranked.items()}


def colour_questions(facts: Mapping[str, Any], selected: Selected) -> list[DetectedObject]:
    """The objects whose colour `decide` will ask for, each once; known before any answer."""
    asked: dict[DetectedObject, None] = {}
    for clause in Rules.published(facts).include:
        found = selected.get(clause.category, ())[: clause.count]
        if clause.colour is not None and len(found) == clause.count:
            asked.update(dict.fromkeys(found))
    return list(asked)


def decide(
    facts: Mapping[str, Any],
    selected: Selected,
    colour_of: Callable[[DetectedObject], str],
) -> Decision:
    """Whether every clause of `include` holds and none of `exclude` does.

    Only the `count` most confident objects of a clause are looked at; `exclude` counts all.

    Args:
        facts: the metadata line.
        selected: what `select` returned for the image.
        colour_of: the colour of one of `colour_questions(facts, selected)`.

    Raises:
        ValueError: the facts are malformed.
    """
    rules = Rules.published(facts)
    reasons: list[str] = []
    matched: list[Sequence[DetectedObject] | None] = []
    for clause in rules.include:
        found = selected.get(clause.category, ())[: clause.count]
        complaint = (
            _lacking(clause, found)
            or _miscoloured(clause, found, colour_of)
            or _misplaced(clause, found, matched)
        )
        matched.append(None if complaint else found)
        if complaint:
            reasons.append(complaint)
    for clause in rules.exclude:
        n_found = len(selected.get(clause.category, ()))
        if n_found >= clause.count:
            reasons.append(f"expected {clause.category}<{clause.count}, found {n_found}")
    return Decision(correct=not reasons, reason="\n".join(reasons))


def relations(subject: DetectedObject, target: DetectedObject) -> tuple[str, ...]:
    """Where `subject` lies seen from `target`; two relations may hold at once, or none.

    In float32, as upstream computes on its detector's boxes (`relative_position`). The offset is
    reduced by the margin, yet divided by the norm of the whole offset.
    """
    corners = np.asarray([subject.box, target.box], dtype=np.float32).reshape(2, 2, 2)
    offset = corners[0].mean(axis=0) - corners[1].mean(axis=0)
    sizes = np.abs(corners[:, 1] - corners[:, 0]).sum(axis=0)
    beyond = np.maximum(np.abs(offset) - MARGIN * sizes, 0) * np.sign(offset)
    if bool(np.all(np.abs(beyond) < 1e-3)):
        return ()
    dx, dy = beyond / np.linalg.norm(offset)
    holds = (dx < -0.5, dx > 0.5, dy < -0.5, dy > 0.5)
    return tuple(name for name, true in zip(RELATIONS, holds, strict=True) if true)


def overlap(a: DetectedObject, b: DetectedObject) -> float:
    """Intersection over union of two boxes whose corner pixels both belong to them."""
    corners = (
        max(a.box[0], b.box[0]),
        max(a.box[1], b.box[1]),
        min(a.box[2], b.box[2]),
        min(a.box[3], b.box[3]),
    )
    shared = _area(corners)
    union = _area(a.box) + _area(b.box) - shared
    return shared / union if union else 0.0


def _area(box: tuple[float, float, float, float]) -> float:
    return max(box[2] - box[0] + 1, 0.0) * max(box[3] - box[1] + 1, 0.0)


def _exceeds(score: float, threshold: float) -> bool:
    """Strictly greater; a detector's float32 rendering of the threshold is the threshold."""
    return score > threshold and score != float(np.float32(threshold))


def _apart(ranked: list[DetectedObject], max_overlap: float) -> list[DetectedObject]:
    if max_overlap >= 1:
        return ranked
    kept: list[DetectedObject] = []
    for found in ranked:
        if all(overlap(better, found) < max_overlap for better in kept):
            kept.append(found)
    return kept


def _lacking(clause: Clause, found: Sequence[DetectedObject]) -> str:
    if len(found) == clause.count:
        return ""
    return f"expected {clause.category}>={clause.count}, found {len(found)}"


def _miscoloured(
    clause: Clause, found: Sequence[DetectedObject], colour_of: Callable[[DetectedObject], str]
) -> str:
    if clause.colour is None:
        return ""
    seen = [colour_of(one) for one in found]
    n_right = seen.count(clause.colour)
    if n_right >= clause.count:
        return ""
    others = sorted(set(seen).difference(COLOURS))
    counts = ", ".join(f"{seen.count(c)} {c}" for c in (*COLOURS, *others) if c in seen)
    wanted = f"{clause.colour} {clause.category}>={clause.count}"
    return f"expected {wanted}, found {n_right} {clause.colour}; and {counts}"


def _misplaced(
    clause: Clause,
    found: Sequence[DetectedObject],
    matched: Sequence[Sequence[DetectedObject] | None],
) -> str:
    if clause.relation is None or clause.target is None:
        return ""
    targets = matched[clause.target]
    if targets is None:
        return f"no target for {clause.category} to be {clause.relation}"
    for subject in found:
        for target in targets:
            true = relations(subject, target)
            if clause.relation not in true:
                seen = " and ".join(true)
                return f"expected {clause.category} {clause.relation} target, found {seen} target"
    return ""


def _clauses(facts: Mapping[str, Any], key: str) -> tuple[Clause, ...]:
    demands = facts.get(key, [])
    if not isinstance(demands, (list, tuple)):
        raise ValueError(f"{key!r} is not a list")
    return tuple(_clause(demand, key) for demand in demands)


def _clause(demand: Any, key: str) -> Clause:
    if not isinstance(demand, Mapping):
        raise ValueError(f"an entry of {key!r} is not an object")
    category, count, colour = demand.get("class"), demand.get("count"), demand.get("color")
    if not isinstance(category, str):
        raise ValueError(f"an entry of {key!r} has no 'class'")
    if not isinstance(count, int) or isinstance(count, bool):
        raise ValueError(f"an entry of {key!r} has no whole number 'count'")
    if not (colour is None or isinstance(colour, str)):
        raise ValueError(f"an entry of {key!r} has a 'color' that is no text")
    relation, target = _position(demand.get("position"), key)
    return Clause(category=category, count=count, colour=colour, relation=relation, target=target)


def _position(position: Any, key: str) -> tuple[str | None, int | None]:
    if position is None:
        return None, None
    match position:
        case [str(relation), int(target)] if not isinstance(target, bool):
            return relation, target
    raise ValueError(f"an entry of {key!r} has a 'position' that is not [relation, index]")
