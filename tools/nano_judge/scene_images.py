"""Pictures that the judge learns from, each with all that is true of it.

Small scenes, random scenes of the small world's categories and of all, and edited pairs; some are
softened or spoilt as a generator's pictures are. A shard's content depends on its number alone, and
shards are kept on disk. Knows no question.

Shapes: N pictures of a shard, Y X pixels, C cells of 16 x 16 pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alphabench.detections.objects import COLOURS, DetectedObject
from alphabench.scenes.edit_ops import GROUND_TONES
from alphabench.scenes.render import Rendered, render
from alphabench.scenes.scene_sampling import random_scene
from alphabench.scenes.small_world import (
    CORNERS,
    SMALL_CATEGORIES,
    Location,
    SmallObject,
    SmallScene,
    small_to_scene,
    tones_for,
)
from alphabench.scenes.spec import CATEGORIES, Scene
from tools.nano_judge.corruptions import spoilt

SIDE: Final = 80
"""Pixels on a side of what the judge sees."""
CELL: Final = 16
CELLS: Final = (SIDE // CELL) ** 2
SHARD: Final = 2000
_SIZES: Final = ((64, 96, 128, 192, 256), (0.35, 0.15, 0.35, 0.05, 0.10))
"""Pixels that scenes are drawn at, and how often."""
_SMALLEST_SHARE: Final = 0.004
_COVERED: Final = 0.2
"""Share of a cell that an object must cover to be what the cell shows."""
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One object that can be seen; lengths are shares of the side."""

    category: str
    colour: str | None
    box: tuple[float, float, float, float]
    share: float
    """Of the picture's area."""

    def detected(self) -> DetectedObject:
        return DetectedObject(
            category=self.category,
            score=1.0,
            box=(self.box[0] * 512, self.box[1] * 512, self.box[2] * 512, self.box[3] * 512),
            mask=np.ones((1, 1), np.bool_),
            colour=self.colour,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """All that is true of one picture."""

    objects: tuple[Seen, ...]
    hidden: tuple[str, ...]
    """Categories of which something was drawn that cannot be seen: nothing is asked about them."""
    ground: str
    tone: str | None
    """A name of `GROUND_TONES` for plain grounds that have one."""
    grade: int
    """How well it is made, 1 to 10."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Shown:
        objects = tuple(Seen(**{**one, "box": tuple(one["box"])}) for one in values["objects"])
        return cls(**{**values, "objects": objects, "hidden": tuple(values["hidden"])})


class SceneShard(NamedTuple):
    """Pictures and truths; `cells_NC3` says what each cell shows (see `cells_of`)."""

    pixels_NYX3: Pixels
    cells_NC3: Pixels
    shown: list[Shown]


def shard(folder: Path, kind: str, number: int) -> SceneShard:
    """Made once and kept; kinds are `small`, `common` and `wide`."""
    stem = folder / f"{kind}-{number:03}"
    if not stem.with_suffix(".jsonl").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        content = [made_scene_image(kind, number, index) for index in range(SHARD)]
        np.save(stem.with_suffix(".pixels.npy"), np.stack([one[0] for one in content]))
        np.save(stem.with_suffix(".cells.npy"), np.stack([one[1] for one in content]))
        lines = [json.dumps(asdict(one[2])) for one in content]
        stem.with_suffix(".jsonl").write_text("\n".join(lines), encoding="utf-8")
    lines = stem.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    return SceneShard(
        pixels_NYX3=np.load(stem.with_suffix(".pixels.npy"), mmap_mode="r"),
        cells_NC3=np.load(stem.with_suffix(".cells.npy")),
        shown=[Shown.from_json(json.loads(line)) for line in lines],
    )


def made_scene_image(kind: str, number: int, index: int) -> tuple[Pixels, Pixels, Shown]:
    """Picture `index` of a shard, what its cells show, and what is true of it."""
    rng = np.random.default_rng([31, _KINDS.index(kind), number, index])
    scene = scene_of(kind, rng)
    side = 64 if kind == "small" else int(rng.choice(_SIZES[0], p=_SIZES[1]))
    rendered = render(scene, side, side)
    image, grade = spoilt(shrunk(rendered.image), rng)
    return np.asarray(image), cells_of(rendered), truth_of(scene, rendered, grade)


_KINDS: Final = ("small", "common", "wide")


def scene_of(kind: str, rng: np.random.Generator) -> Scene:
    """A random scene: of the small world, of its categories anywhere, or of all categories."""
    if kind == "small":
        return small_to_scene(random_things(rng), rng)
    categories: Sequence[str] = SMALL_CATEGORIES if kind == "common" else CATEGORIES
    return random_scene(rng, categories=categories, max_objects=int(rng.choice([2, 4, 6])))


def random_things(rng: np.random.Generator) -> SmallScene:
    """One to four things; often several of a category, and those often of one colour."""
    number = int(rng.choice([1, 2, 3, 4], p=[0.22, 0.33, 0.22, 0.23]))
    alike, one_colour = rng.random() < 0.45, rng.random() < 0.5
    first = (random_category(rng), _random_colour(rng))
    middle = number == 1 and rng.random() < 0.7
    things = []
    for place in sorted(rng.permutation(len(CORNERS))[:number]):
        category = first[0] if alike and rng.random() < 0.75 else random_category(rng)
        colour = first[1] if one_colour and category == first[0] else _random_colour(rng)
        spot: Location = "middle" if middle else CORNERS[int(place)]
        things.append(SmallObject(category=category, colour=colour, place=spot))
    tones = tones_for(things)
    return SmallScene(objects=tuple(things), tone=tones[rng.integers(len(tones))])


def random_category(rng: np.random.Generator) -> str:
    """One of the small world's."""
    return SMALL_CATEGORIES[rng.integers(len(SMALL_CATEGORIES))]


def _random_colour(rng: np.random.Generator) -> str | None:
    """The icon's own in two fifths of the cases."""
    return None if rng.random() < 0.4 else COLOURS[rng.integers(len(COLOURS))]


def shrunk(image: Image.Image) -> Image.Image:
    """In the size that the judge sees, as its processor makes it."""
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def truth_of(scene: Scene, rendered: Rendered, grade: int) -> Shown:
    """What is true of a rendered scene."""
    width, height = rendered.image.size
    objects, hidden = [], [item.category for item in scene.objects]
    for one in rendered.truth.objects:
        assert one.mask is not None, "the renderer gives every object a mask"
        share = float(one.mask.mean())
        if share < _SMALLEST_SHARE:
            continue
        hidden.remove(one.category)
        x1, y1, x2, y2 = one.box
        box = (x1 / width, y1 / height, x2 / width, y2 / height)
        objects.append(Seen(category=one.category, colour=one.colour, box=box, share=share))
    ground = scene.background
    tones = [name for name, rgb in GROUND_TONES.items() if rgb == ground.first]
    return Shown(
        objects=tuple(objects),
        hidden=tuple(sorted(set(hidden))),
        ground=ground.kind,
        tone=tones[0] if tones and ground.kind == "plain" else None,
        grade=grade,
    )


def cells_of(rendered: Rendered) -> Pixels:
    """[C, 3]: category + 1 or 0 for ground, colour (10 is the icon's own, 11 none), is a centre."""
    per_side = SIDE // CELL
    cells_C3 = np.zeros((CELLS, 3), np.uint8)
    cells_C3[:, 1] = len(COLOURS) + 1
    most_C = np.full(CELLS, _COVERED)
    width, height = rendered.image.size
    for one in rendered.truth.objects:
        assert one.mask is not None, "the renderer gives every object a mask"
        mask = Image.fromarray(one.mask.astype(np.uint8) * 255)
        covered = mask.resize((per_side, per_side), Image.Resampling.BOX)
        covered_C = np.asarray(covered, np.float32).reshape(-1) / 255.0
        wins_C = covered_C > most_C
        most_C = np.where(wins_C, covered_C, most_C)
        cells_C3[wins_C, 0] = CATEGORIES.index(one.category) + 1
        cells_C3[wins_C, 1] = len(COLOURS) if one.colour is None else COLOURS.index(one.colour)
        x1, y1, x2, y2 = one.box
        column = min(int((x1 + x2) / 2 / width * per_side), per_side - 1)
        row = min(int((y1 + y2) / 2 / height * per_side), per_side - 1)
        cells_C3[row * per_side + column, 2] = 1
    return cells_C3
