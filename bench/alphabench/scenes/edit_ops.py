"""Edits of synthetic scenes, applied to their spec before rendering, so that their truth is known.

An editing sample's facts say what the source shows (`source`, in GenEval's clauses), what is to be
done (`edit`, in machine form) and what must then be seen (`check`: GenEval's clauses and a
`ground`). Knows no words of an instruction and no score.

    {"op": "add", "class": "dog", "color": "red", "position": ["left of", "car"]}
    {"op": "remove", "class": "dog"}              {"op": "replace", "class": "dog", "with": "cow"}
    {"op": "recolour", "class": "car", "color": "blue"}
    {"op": "move", "class": "dog", "position": ["right of", "car"]}
    {"op": "style", "color": "black"}             every object in one colour
    {"op": "ground", "ground": {"tone": "dark"}}  what of the ground changes; see `GROUND_TONES`
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, cast, get_args

import numpy as np

from alphabench.detections.geneval_rules import RELATIONS, Rules
from alphabench.detections.objects import COLOURS
from alphabench.scenes.geneval_scenes import compose, relation_holds, why_not_renderable
from alphabench.scenes.layout import Extent, Look, Spot, canvas_extent, random_spots
from alphabench.scenes.palette import grounds_for
from alphabench.scenes.render import Truth
from alphabench.scenes.scene_questions import check_holds
from alphabench.scenes.spec import CATEGORIES, GROUND_KINDS, RGB, Background, Scene, SceneObject

Operation = Literal["add", "remove", "replace", "recolour", "move", "style", "ground"]
OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)
EditErrorKind = Literal["unedited", "wrong", "overedited"]
"""unedited: the source comes back. wrong: another edit of the same kind, or on another object.
overedited: the edit is right, and something else changed as well."""
EDIT_ERROR_KINDS: Final[tuple[EditErrorKind, ...]] = get_args(EditErrorKind)

GROUND_TONES: Final[Mapping[str, RGB]] = {
    "white": (250, 250, 248),
    "grey": (165, 165, 165),
    "dark": (26, 27, 32),
    "sand": (236, 222, 186),
    "sky": (188, 220, 246),
    "navy": (34, 46, 84),
    "forest": (30, 66, 52),
    "wine": (84, 32, 44),
}
"""Names for some of the palette's grounds."""
_TEXTURE_STEP: Final = 34
"""How far apart the two colours of a rendered texture are: visible, and no object."""
_ATTEMPTS: Final = 60
_SHRINK: Final = 0.8
_GAP: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneEdit:
    """One edit in machine form."""

    op: Operation
    category: str | None = None
    colour: str | None = None
    """None leaves the icon its own."""
    into: str | None = None
    """What a replaced object becomes."""
    relation: str | None = None
    target: str | None = None
    """Category of the object that `relation` refers to."""
    tone: str | None = None
    texture: str | None = None

    def __post_init__(self) -> None:
        named = [name for name in (self.category, self.into, self.target) if name is not None]
        if strange := [name for name in named if name not in CATEGORIES]:
            raise ValueError(f"the world has no {strange[0]!r}")
        if self.colour is not None and self.colour not in COLOURS:
            raise ValueError(f"the world has no colour {self.colour!r}")
        if self.tone is not None and self.tone not in GROUND_TONES:
            raise ValueError(f"the world has no ground {self.tone!r}")
        if self.texture is not None and self.texture not in GROUND_KINDS:
            raise ValueError(f"the world has no ground in {self.texture!r}")
        if (self.relation is None) != (self.target is None):
            raise ValueError("a position has a relation and a target")
        if self.relation is not None and self.relation not in RELATIONS:
            raise ValueError(f"{self.relation!r} is no relation")
        if lacking := [n for n in _NEEDS[self.op] if getattr(self, n) is None]:
            raise ValueError(f"an edit {self.op!r} needs {lacking[0]!r}")
        if self.op == "ground" and self.tone is None and self.texture is None:
            raise ValueError("an edit of the ground names a tone or a texture")

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> SceneEdit:
        """Read the `edit` of a sample.

        Raises:
            ValueError: there is none, or it is none that the world can draw.
        """
        fields = facts.get("edit")
        if not isinstance(fields, Mapping) or fields.get("op") not in OPERATIONS:
            raise ValueError(f"an edit has an 'op', one of {', '.join(OPERATIONS)}")
        relation, target = fields.get("position") or (None, None)
        ground = fields.get("ground") or {}
        return cls(
            op=cast("Operation", fields["op"]),
            category=fields.get("class"),
            colour=fields.get("color"),
            into=fields.get("with"),
            relation=relation,
            target=target,
            tone=ground.get("tone"),
            texture=ground.get("texture"),
        )


_NEEDS: Final[Mapping[Operation, tuple[str, ...]]] = {
    "add": ("category",),
    "remove": ("category",),
    "replace": ("category", "into"),
    "recolour": ("category", "colour"),
    "move": ("category", "relation"),
    "style": ("colour",),
    "ground": (),
}


def is_edit(facts: Mapping[str, Any]) -> bool:
    """Whether a sample asks for an edit of a synthetic scene."""
    return "edit" in facts


def why_uneditable(facts: Mapping[str, Any]) -> str | None:
    """Why the world cannot draw source and edit of these facts; None when it can."""
    source = facts.get("source")
    if not isinstance(source, Mapping):
        return "its facts name no source scene"
    try:
        SceneEdit.from_facts(facts)
    except (ValueError, TypeError, AttributeError) as error:
        return f"its edit cannot be rendered: {error}"
    return why_not_renderable(source)


def source_scene(facts: Mapping[str, Any]) -> Scene:
    """The scene to be edited: one in which the edit has room, the same for equal facts.

    Raises:
        ValueError: facts for which `why_uneditable` is not None, or an edit without room.
    """
    if (reason := why_uneditable(facts)) is not None:
        raise ValueError(reason)
    return _source_with_room(json.dumps(facts["source"]), SceneEdit.from_facts(facts))


@functools.lru_cache(maxsize=256)
def _source_with_room(source_json: str, edit: SceneEdit) -> Scene:
    """Kept, because each image, its truth and its source need it, and some take 50 attempts."""
    source = json.loads(source_json)
    n_objects = sum(clause.count for clause in Rules.from_facts(source).include)
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([int(source.get("seed", 0)), attempt])
        scene = _with_last(_with_room(compose(source, rng)), edit.category)
        if len(scene.objects) > n_objects:
            continue  # with something that nobody asked for
        scene = _on_ground(scene, source.get("ground") or {})
        if apply_edit(scene, edit, np.random.default_rng(0)) is not None:
            return scene
    raise ValueError("no arrangement of the source leaves room for the edit")


def edited_scene(
    facts: Mapping[str, Any], rng: np.random.Generator, *, error: EditErrorKind | None = None
) -> Scene:
    """The source scene after the edit, or after what went wrong with it.

    Raises:
        ValueError: as `source_scene`.
    """
    scene, edit = source_scene(facts), SceneEdit.from_facts(facts)
    if error == "unedited":
        return scene
    if error == "wrong":
        return _wrongly(scene, edit, rng)
    done = apply_edit(scene, edit, rng) or apply_edit(scene, edit, np.random.default_rng(0))
    assert done is not None, "the source was chosen so that the edit has room"
    return done if error is None else _overdone(done, edit, rng)


def apply_edit(scene: Scene, edit: SceneEdit, rng: np.random.Generator) -> Scene | None:
    """The scene after the edit; all else stays as it is. None where the edit finds no room.

    Raises:
        ValueError: the scene has no single object of a category that the edit names.
    """
    match edit.op:
        case "ground":
            ground = {"tone": edit.tone, "texture": edit.texture}
            return _on_ground(scene, {k: v for k, v in ground.items() if v is not None})
        case "style":
            every = tuple(replace(item, colour=edit.colour) for item in scene.objects)
            return replace(scene, objects=every)
        case "add":
            return _added(scene, edit, rng)
    item = _only(scene, str(edit.category))
    if edit.op == "move":
        return _placed(scene, item, edit, rng)
    changed = {
        "remove": (),
        "replace": (replace(item, category=edit.into or item.category),),
        "recolour": (replace(item, colour=edit.colour),),
    }[edit.op]
    at = scene.objects.index(item)
    return replace(scene, objects=(*scene.objects[:at], *changed, *scene.objects[at + 1 :]))


def edit_holds(check: Mapping[str, Any], scene: Scene, truth: Truth) -> bool:
    """Whether a rendered scene satisfies a `check`: objects by GenEval's rules, and ground.

    Raises:
        ValueError: the check is malformed.
    """
    ground = check.get("ground") or {}
    return _has_ground(scene.background, ground) and check_holds(
        {"include": check.get("include", []), "exclude": check.get("exclude", [])}, truth
    )


def rest_is_unchanged(source: Scene, edited: Scene, edit: SceneEdit) -> bool:
    """Whether nothing changed but what the edit speaks of."""
    if source.seed != edited.seed:
        return False
    if edit.op in ("ground", "style"):
        same_objects = [_but_colour(i, edit) for i in source.objects] == [
            _but_colour(i, edit) for i in edited.objects
        ]
        return same_objects and (edit.op == "ground" or source.background == edited.background)
    spoken_of = {edit.category, edit.into}
    before = [item for item in source.objects if item.category not in spoken_of]
    after = [item for item in edited.objects if item.category not in spoken_of]
    return before == after and source.background == edited.background


def _but_colour(item: SceneObject, edit: SceneEdit) -> SceneObject:
    return replace(item, colour=None) if edit.op == "style" else item


def _on_ground(scene: Scene, ground: Mapping[str, Any]) -> Scene:
    """With another tone, which is plain unless said otherwise, another texture, or both."""
    if not ground:
        return scene
    old = scene.background
    first = GROUND_TONES[ground["tone"]] if "tone" in ground else old.first
    kind = ground.get("texture", "plain" if "tone" in ground else old.kind)
    step = _TEXTURE_STEP if sum(first) < 384 else -_TEXTURE_STEP
    red, green, blue = (min(max(level + step, 0), 255) for level in first)
    changed = Background(
        kind=kind, first=first, second=(red, green, blue), scale=0.2, angle_degrees=0.0
    )
    return replace(scene, background=changed)


def _with_room(scene: Scene) -> Scene:
    """Smaller objects at their places: relations still hold, and there is room between them."""
    smaller = tuple(replace(item, size=item.size * _SHRINK) for item in scene.objects)
    return replace(scene, objects=smaller)


def _with_last(scene: Scene, category: str | None) -> Scene:
    """The object to be edited rendered last: shades are dealt out in order, and none may shift."""
    last = [item for item in scene.objects if item.category == category]
    return replace(scene, objects=(*(i for i in scene.objects if i not in last), *last))


def _has_ground(background: Background, ground: Mapping[str, Any]) -> bool:
    toned = "tone" not in ground or background.first == GROUND_TONES[ground["tone"]]
    return toned and background.kind == ground.get("texture", background.kind)


def _only(scene: Scene, category: str) -> SceneObject:
    found = [item for item in scene.objects if item.category == category]
    if len(found) != 1:
        raise ValueError(f"the scene has {len(found)} of {category!r} instead of one")
    return found[0]


def _added(scene: Scene, edit: SceneEdit, rng: np.random.Generator) -> Scene | None:
    sizes = sorted(item.size for item in scene.objects)
    size = sizes[len(sizes) // 2] if sizes else 0.4
    item = SceneObject(category=str(edit.category), colour=edit.colour, x=0.5, y=0.5, size=size)
    return _placed(replace(scene, objects=(*scene.objects, item)), item, edit, rng)


def _placed(
    scene: Scene, item: SceneObject, edit: SceneEdit, rng: np.random.Generator
) -> Scene | None:
    """The scene with `item` at a free place that keeps the edit's relation; None without one."""
    canvas = canvas_extent(1.0)
    others = [other for other in scene.objects if other is not item]
    taken = [(Spot(other.x, other.y), _extent(other)) for other in others]
    target = None
    if edit.target is not None:
        named = _only(scene, edit.target)
        target = (Spot(named.x, named.y), _extent(named))
    own = _extent(item)
    for spot in random_spots(rng, own, canvas, attempts=600):
        if not all(_apart(spot, own, other, extent) for other, extent in taken):
            continue
        if target and not relation_holds(str(edit.relation), (spot, own), target):
            continue
        moved = replace(item, x=spot.x, y=spot.y)
        objects = tuple(moved if other is item else other for other in scene.objects)
        return replace(scene, objects=objects)
    return None


def _apart(spot: Spot, own: Extent, other: Spot, extent: Extent) -> bool:
    beside = abs(spot.x - other.x) >= (own.width + extent.width) / 2 + _GAP
    return beside or abs(spot.y - other.y) >= (own.height + extent.height) / 2 + _GAP


def _extent(item: SceneObject) -> Extent:
    return Look(
        category=item.category,
        colour=item.colour,
        size=item.size,
        rotation_degrees=item.rotation_degrees,
        mirrored=item.mirrored,
    ).footprint


def _wrongly(scene: Scene, edit: SceneEdit, rng: np.random.Generator) -> Scene:
    """Another edit of the kind; the source where no such edit finds room."""
    present = {item.category for item in scene.objects}
    other = _one([c for c in CATEGORIES if c not in {*present, edit.category, edit.into}], rng)
    colours = [colour for colour in COLOURS if colour != edit.colour]
    changes: Mapping[Operation, dict[str, str]] = {
        "add": {"category": other},
        "remove": {},
        "replace": {"into": other},
        "recolour": {"colour": _one(colours, rng)},
        "move": {"relation": _one([r for r in RELATIONS if r != edit.relation], rng)},
        "style": {"colour": _one(colours, rng)},
        "ground": _other_ground(edit, scene, rng),
    }
    wrong = replace(edit, **changes[edit.op])  # type: ignore[arg-type]
    if edit.op == "remove":
        bystanders = sorted(present - {edit.category})
        if not bystanders:
            return scene
        wrong = replace(edit, category=_one(bystanders, rng))
    return apply_edit(scene, wrong, rng) or scene


def _other_ground(edit: SceneEdit, scene: Scene, rng: np.random.Generator) -> dict[str, str]:
    changes: dict[str, str] = {}
    if edit.tone is not None:
        taken = {edit.tone, *(n for n, c in GROUND_TONES.items() if c == scene.background.first)}
        changes["tone"] = _one([name for name in GROUND_TONES if name not in taken], rng)
    if edit.texture is not None:
        taken = {edit.texture, scene.background.kind}
        changes["texture"] = _one([kind for kind in GROUND_KINDS if kind not in taken], rng)
    return changes


def _overdone(scene: Scene, edit: SceneEdit, rng: np.random.Generator) -> Scene:
    """Something that the edit does not speak of is changed as well."""
    if edit.op == "ground":
        turned = tuple(
            replace(item, rotation_degrees=item.rotation_degrees + 180.0) for item in scene.objects
        )
        return replace(scene, objects=turned)
    tones = [rgb for rgb in grounds_for(scene.objects) if rgb != scene.background.first]
    first = _one(tones, rng) if tones else GROUND_TONES["grey"]
    return replace(scene, background=replace(scene.background, first=first, kind="plain"))


def _one(choices: Any, rng: np.random.Generator) -> Any:
    return choices[int(rng.integers(len(choices)))]
