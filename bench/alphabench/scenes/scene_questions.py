"""Yes/no questions with known answers: about a rendered scene, and about a prompt's facts.

`scene_questions` measures a judge: it asks about what was rendered. `fact_questions` is what a
perfect decomposer would write for a prompt, and `check_holds` answers it for any rendered image, so
that decomposing and judging can be measured apart. Knows no judge and no image file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, get_args

import numpy as np

from alphabench.detections.geneval_rules import Clause, Rules, decide, relations, select
from alphabench.detections.objects import COLOURS, DetectedObject
from alphabench.scenes.render import Truth
from alphabench.scenes.spec import CATEGORIES, GROUND_KINDS, GroundKind, Scene

T = TypeVar("T")
QuestionKind = Literal[
    "existence", "absence", "count", "total", "colour", "binding", "position", "size", "ground"
]
"""existence: is such an object there. absence: is none there, so that yes confirms a lack.
count: how many of a category. total: how many objects. colour: of one object. binding: has this
object this colour, where both occur but perhaps not together. position: where one object lies seen
from another. size: which of two takes up more of the image. ground: the background's pattern."""
QUESTION_KINDS: Final[tuple[QuestionKind, ...]] = get_args(QuestionKind)

_OPPOSITE: Final = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}
_PLACES: Final = {
    "left of": "to the left of",
    "right of": "to the right of",
    "above": "above",
    "below": "below",
}
_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven")
_PARTS: Final = {"scissors": "pair", "broccoli": "head"}
"""Nouns that are counted in something."""
_GROUNDS: Final[Mapping[GroundKind, str]] = {
    "plain": "one plain colour",
    "gradient": "a smooth gradient from one colour to another",
    "noise": "soft cloudy blotches",
    "stripes": "stripes",
    "checker": "a checkerboard",
}
_SMALLEST_SHARE: Final = 0.004
"""Of the canvas: an object of which less is seen is asked about in no question."""
_LARGER: Final = 2.0
"""Ratio of visible areas from which on one object is plainly the larger."""
_OFFSET: Final = 0.15
"""Least distance of two centres along the axis of a relation, as a share of that side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneQuestion:
    """A question about one rendered scene, and its true answer."""

    kind: QuestionKind
    text: str
    truth: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FactQuestion:
    """A question that follows from a prompt; yes means that the image satisfies it."""

    kind: QuestionKind
    text: str
    check: Mapping[str, Any]
    """GenEval facts (`include`, `exclude`) that hold for an image exactly when yes is true."""


def scene_questions(scene: Scene, truth: Truth, *, seed: int) -> tuple[SceneQuestion, ...]:
    """For every kind that applies to the scene one question whose answer is yes and one that is no.

    Objects that are hidden, tiny, or ambiguous in the asked respect are left out, so that the true
    answer is plain to see.

    Args:
        scene: what was rendered.
        truth: from rendering it.
        seed: decides which objects and which wrong values are asked about.
    """
    view = _View(scene, truth)
    found: list[SceneQuestion] = []
    for index, kind in enumerate(QUESTION_KINDS):
        rng = np.random.default_rng([seed, index])
        pair = _PAIRS[kind](view, rng)
        if pair is not None:
            found += [
                SceneQuestion(kind=kind, text=text, truth=answer)
                for text, answer in zip(pair, (True, False), strict=True)
            ]
    return tuple(found)


def fact_questions(facts: Mapping[str, Any]) -> tuple[FactQuestion, ...]:
    """What a perfect decomposer would ask about an image for these GenEval facts.

    One question for each demand: that an object is there or how many, its colour, its place, and
    what must not be there.

    Raises:
        ValueError: the facts are malformed.
    """
    rules = Rules.from_facts(facts)
    limits = {clause.category: clause.count for clause in rules.exclude}
    found: list[FactQuestion] = []
    for clause in rules.include:
        found += _about(clause, rules, limits.get(clause.category))
    asked = {clause.category for clause in rules.include}
    for clause in rules.exclude:
        if clause.category not in asked:
            found.append(_forbidden(clause))
    return tuple(found)


def check_holds(check: Mapping[str, Any], truth: Truth) -> bool:
    """Whether a rendered image satisfies a `check`, by GenEval's rules on its true objects.

    Raises:
        ValueError: the check is malformed.
    """
    selected = select(truth.objects, tag="")
    return decide(check, selected, lambda found: found.colour or "").correct


def noun(category: str, count: int = 1) -> str:
    """`dog`, `dogs`, `pair of scissors`: a category for so many of it, without an article."""
    part = _PARTS.get(category)
    if part is not None:
        return f"{part if count == 1 else part + 's'} of {category}"
    if count == 1:
        return category
    return f"{category}es" if category.endswith(("s", "sh", "ch", "x")) else f"{category}s"


def a_noun(category: str, colour: str | None = None) -> str:
    """`a dog`, `an apple`, `an orange dog`."""
    words = f"{colour} {noun(category)}" if colour else noun(category)
    return f"{'an' if words[0] in 'aeio' or words.startswith('umb') else 'a'} {words}"


class _View:
    """What of a scene can be asked about without doubt."""

    def __init__(self, scene: Scene, truth: Truth) -> None:
        present = Counter(item.category for item in scene.objects)
        seen = [one for one in truth.objects if _share(one) >= _SMALLEST_SHARE]
        clear = Counter(one.category for one in seen)
        self.ground = scene.background.kind
        self.counts = {name: n for name, n in present.items() if clear[name] == n}
        """Category -> number, of those categories that are wholly in sight."""
        self.absent = [name for name in CATEGORIES if name not in present]
        self.single = [one for one in seen if self.counts.get(one.category) == 1]
        """Objects that are alone of their category."""
        self.total = len(seen) if len(seen) == len(scene.objects) else None


_Pair = tuple[str, str] | None
"""A question to be answered yes, and one to be answered no; None where the kind does not apply."""


def _existence(view: _View, rng: np.random.Generator) -> _Pair:
    if not view.counts:
        return None
    there, gone = _one(sorted(view.counts), rng), _one(view.absent, rng)
    # Singular for many too: the wording must not give the answer away.
    text = "Is there {} in the picture?"
    return text.format(a_noun(there)), text.format(a_noun(gone))


def _absence(view: _View, rng: np.random.Generator) -> _Pair:
    if not view.counts:
        return None
    there, gone = _one(sorted(view.counts), rng), _one(view.absent, rng)
    text = "Is the picture free of {}?"
    return text.format(noun(gone, 2)), text.format(noun(there, 2))


def _count(view: _View, rng: np.random.Generator) -> _Pair:
    if not view.counts:
        return None
    name = _one(sorted(view.counts), rng)
    right = view.counts[name]
    return _exactly(name, right), _exactly(name, _near(right, rng))


def _total(view: _View, rng: np.random.Generator) -> _Pair:
    if not view.total:
        return None
    text = "Counting all objects, {} in the picture?"
    wrong = _near(view.total, rng)
    return text.format(_are(view.total, "object")), text.format(_are(wrong, "object"))


def _colour(view: _View, rng: np.random.Generator) -> _Pair:
    coloured = [one for one in view.single if one.colour is not None]
    if not coloured:
        return None
    item = _one(coloured, rng)
    wrong = _one([colour for colour in COLOURS if colour != item.colour], rng)
    text = f"Is the {noun(item.category)} {{}}?"
    return text.format(item.colour), text.format(wrong)


def _binding(view: _View, rng: np.random.Generator) -> _Pair:
    pairs = [
        (one, other)
        for one in view.single
        for other in view.single
        if one.colour and other.colour and one.colour != other.colour
    ]
    if not pairs:
        return None
    one, other = _one(pairs, rng)
    text = "Can {} be seen in the picture?"
    return (
        text.format(a_noun(one.category, one.colour)),
        text.format(a_noun(one.category, other.colour)),
    )


def _position(view: _View, rng: np.random.Generator) -> _Pair:
    pairs = [
        (one, other, relation)
        for one in view.single
        for other in view.single
        if one is not other and (relation := _plain_relation(one, other)) is not None
    ]
    if not pairs:
        return None
    one, other, relation = _one(pairs, rng)
    text = f"Is the {noun(one.category)} {{}} the {noun(other.category)}?"
    return text.format(_PLACES[relation]), text.format(_PLACES[_OPPOSITE[relation]])


def _size(view: _View, rng: np.random.Generator) -> _Pair:
    pairs = [
        (one, other)
        for one in view.single
        for other in view.single
        if _share(one) >= _LARGER * _share(other)
    ]
    if not pairs:
        return None
    large, small = (noun(item.category) for item in _one(pairs, rng))
    text = "Does the {} take up more of the picture than the {}?"
    return text.format(large, small), text.format(small, large)


def _ground(view: _View, rng: np.random.Generator) -> _Pair:
    wrong = _one([kind for kind in GROUND_KINDS if kind != view.ground], rng)
    text = "Is the background {}?"
    return text.format(_GROUNDS[view.ground]), text.format(_GROUNDS[wrong])


_PAIRS: Final = {
    "existence": _existence,
    "absence": _absence,
    "count": _count,
    "total": _total,
    "colour": _colour,
    "binding": _binding,
    "position": _position,
    "size": _size,
    "ground": _ground,
}


def _about(clause: Clause, rules: Rules, limit: int | None) -> Iterator[FactQuestion]:
    bare = {"class": clause.category, "count": clause.count}
    exclude = [] if limit is None else [{"class": clause.category, "count": limit}]
    kind: QuestionKind = "existence" if clause.count == 1 and limit is None else "count"
    yield FactQuestion(
        kind=kind, text=_amount(clause, limit), check={"include": [bare], "exclude": exclude}
    )
    if clause.colour is not None:
        verb = "Is" if clause.count == 1 else "Are"
        yield FactQuestion(
            kind="colour",
            text=f"{verb} {_the(clause)} {clause.colour}?",
            check={"include": [{**bare, "color": clause.colour}], "exclude": []},
        )
    if clause.relation is not None and clause.target is not None:
        other = rules.include[clause.target]
        target = {"class": other.category, "count": other.count}
        verb = "Is" if clause.count == 1 else "Are"
        placed = {**bare, "position": [clause.relation, 0]}
        yield FactQuestion(
            kind="position",
            text=f"{verb} {_the(clause)} {_PLACES[clause.relation]} {_the(other)}?",
            check={"include": [target, placed], "exclude": []},
        )


def _amount(clause: Clause, limit: int | None) -> str:
    if limit is not None and limit == clause.count + 1:
        return _exactly(clause.category, clause.count)
    if limit is not None:
        span = f"at least {clause.count} but fewer than {limit}"
        return f"Are there {span} {noun(clause.category, 2)} in the picture?"
    if clause.count == 1:
        return f"Is there {a_noun(clause.category)} in the picture?"
    number = _NUMBERS[clause.count] if clause.count < len(_NUMBERS) else str(clause.count)
    return f"Are there at least {number} {noun(clause.category, 2)} in the picture?"


def _forbidden(clause: Clause) -> FactQuestion:
    if clause.count == 1:
        text = f"Is the picture free of {noun(clause.category, 2)}?"
    else:
        text = f"Are there fewer than {clause.count} {noun(clause.category, 2)} in the picture?"
    check = {"include": [], "exclude": [{"class": clause.category, "count": clause.count}]}
    return FactQuestion(kind="absence", text=text, check=check)


def _the(clause: Clause) -> str:
    if clause.count == 1:
        return f"the {noun(clause.category)}"
    return f"the {_NUMBERS[clause.count]} {noun(clause.category, clause.count)}"


def _exactly(category: str, count: int) -> str:
    verb = "Is" if count == 1 else "Are"
    return f"{verb} there exactly {_NUMBERS[count]} {noun(category, count)} in the picture?"


def _are(count: int, name: str) -> str:
    if count == 1:
        return f"is there exactly one {name}"
    return f"are there exactly {_NUMBERS[count]} {name}s"


def _near(count: int, rng: np.random.Generator) -> int:
    """A number from 1 on that is one off."""
    return count + 1 if count == 1 or rng.random() < 0.5 else count - 1


def _plain_relation(one: DetectedObject, other: DetectedObject) -> str | None:
    """The one relation that plainly holds; None where two or none do."""
    found = relations(one, other)
    if len(found) != 1:
        return None
    axis = 0 if found[0] in ("left of", "right of") else 1
    assert one.mask is not None
    side = one.mask.shape[1 - axis]
    offset = abs(one.box[axis] + one.box[axis + 2] - other.box[axis] - other.box[axis + 2]) / 2
    return found[0] if offset >= _OFFSET * side else None


def _share(item: DetectedObject) -> float:
    assert item.mask is not None, "true objects of a rendered scene have masks"
    return float(item.mask.mean())


def _one(choices: Sequence[T], rng: np.random.Generator) -> T:
    return choices[int(rng.integers(len(choices)))]
