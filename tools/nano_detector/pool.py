"""Training images of the nano detector: shards of rendered scenes with their truth as cells.

A shard is a pure function of (seed, index). Shards are drawn by a process of their own while the
network already trains on the first of them. Knows the synthetic world; knows no network.

Shapes: R images of a shard, S canonical side, H W cells, N object slots.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alphabench.core.writing import move_into_place
from alphabench.detections.objects import COLOURS
from alphabench.nano.detector_network import CELLS, SIDE, STRIDE, canonical_square
from alphabench.scenes.palette import random_background
from alphabench.scenes.render import Rendered, render
from alphabench.scenes.spec import CATEGORIES, Scene, SceneObject

NATURAL: Final = "natural"
"""What the detector says of an object in its icon's own colours."""
COLOUR_NAMES: Final = (*COLOURS, NATURAL)
SLOTS: Final = 10
SHARD: Final = 1000
COVERED: Final = 0.4
"""Share of a cell that objects must cover for it to be theirs."""
SIDES: Final = (64, 80, 96, 112, 128, 160, 192, 256)
SIDE_WEIGHTS: Final = (0.2, 0.12, 0.16, 0.08, 0.2, 0.08, 0.08, 0.08)
COUNTS: Final = (0, 1, 2, 3, 4, 5, 6, 7)
COUNT_WEIGHTS: Final = (0.02, 0.2, 0.28, 0.16, 0.14, 0.1, 0.07, 0.03)

Draw = Callable[[np.random.Generator], Scene]


class Shard(NamedTuple):
    """Images with their truth; unused slots have category 255."""

    picture_RSS3: NDArray[np.uint8]
    owner_RHW: NDArray[np.uint8]
    box_RN4: NDArray[np.float32]
    category_RN: NDArray[np.uint8]
    colour_RN: NDArray[np.uint8]

    def rows(self, part: slice) -> Shard:
        """Some of the images, as views."""
        return Shard._make(field[part] for field in self)


def joined(parts: Sequence[Shard]) -> Shard:
    """One shard of the images of many."""
    return Shard._make(np.concatenate(fields) for fields in zip(*parts, strict=True))


def scattered_scene(rng: np.random.Generator) -> Scene:
    """Objects anywhere, of any size that fits; a third of the scenes repeat one category."""
    count = int(rng.choice(COUNTS, p=COUNT_WEIGHTS))
    repeated = str(rng.choice(CATEGORIES)) if rng.random() < 0.35 else None
    plain = rng.random() < 0.3
    overlap = 0.25 if rng.random() < 0.25 else 0.02
    largest = min(0.9, 1.15 / max(count, 1) ** 0.5)
    objects: list[SceneObject] = []
    for _ in range(count * 12):
        if len(objects) == count:
            break
        size = float(np.exp(rng.uniform(np.log(0.13), np.log(largest))))
        margin = size * (0.5 if rng.random() < 0.85 else 0.3)
        x, y = rng.uniform(margin, max(1.0 - margin, margin + 1e-3), size=2).clip(0.0, 1.0)
        if any(_crowded(other, float(x), float(y), size, overlap) for other in objects):
            continue
        category = repeated if repeated and rng.random() < 0.9 else str(rng.choice(CATEGORIES))
        natural = plain or rng.random() < 0.25
        objects.append(
            SceneObject(
                category=category,
                colour=None if natural else str(rng.choice(COLOURS)),
                x=float(x),
                y=float(y),
                size=size,
                rotation_degrees=float(rng.normal(0.0, 12.0)),
                mirrored=bool(rng.random() < 0.5),
            )
        )
    background = random_background(rng, objects)
    return Scene(background=background, objects=tuple(objects), seed=int(rng.integers(2**31)))


def _crowded(other: SceneObject, x: float, y: float, size: float, overlap: float) -> bool:
    """Whether squares round both objects overlap by more than a share of the smaller."""
    width = (size + other.size) / 2 - abs(other.x - x)
    height = (size + other.size) / 2 - abs(other.y - y)
    return max(width, 0.0) * max(height, 0.0) > overlap * min(size, other.size) ** 2


def draw_shard(seed: int, index: int, draws: tuple[Draw, ...], *, count: int = SHARD) -> Shard:
    """Shard `index` of the endless sequence of `seed`; scenes come from `draws` in turn."""
    rng = np.random.default_rng([seed, index])
    shard = Shard(
        picture_RSS3=np.zeros((count, SIDE, SIDE, 3), np.uint8),
        owner_RHW=np.zeros((count, CELLS, CELLS), np.uint8),
        box_RN4=np.zeros((count, SLOTS, 4), np.float32),
        category_RN=np.full((count, SLOTS), 255, np.uint8),
        colour_RN=np.full((count, SLOTS), 255, np.uint8),
    )
    for row in range(count):
        width, height = _canvas(rng)
        rendered = render(draws[row % len(draws)](rng), width, height)
        _label(shard, row, rendered, _compressed(rendered.image, rng))
    return shard


def _canvas(rng: np.random.Generator) -> tuple[int, int]:
    side = int(rng.choice(SIDES, p=SIDE_WEIGHTS))
    if rng.random() < 0.9:
        return side, side
    short = max(48, round(side * rng.uniform(0.6, 1.0)))
    return (side, short) if rng.random() < 0.5 else (short, side)


def _compressed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A quarter of the images have been through JPEG."""
    if rng.random() > 0.25:
        return image
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(35, 96)))
    return Image.open(buffer).convert("RGB")


def _label(shard: Shard, row: int, rendered: Rendered, image: Image.Image) -> None:
    """Writes one image and its truth into the shard."""
    shard.picture_RSS3[row], placement = canonical_square(image)
    found = rendered.truth.objects[:SLOTS]
    share_NHW = np.zeros((len(found), CELLS, CELLS), np.float32)
    for slot, item in enumerate(found):
        assert item.mask is not None
        width, height = (round(side * placement.scale) for side in image.size)
        mask = Image.fromarray(item.mask).convert("L").resize((width, height), Image.Resampling.BOX)
        square = np.zeros((SIDE, SIDE), np.float32)
        square[:height, :width] = np.asarray(mask, np.float32) / 255
        share_NHW[slot] = square.reshape(CELLS, STRIDE, CELLS, STRIDE).mean(axis=(1, 3))
        shard.box_RN4[row, slot] = np.asarray(item.box) * placement.scale
        shard.category_RN[row, slot] = CATEGORIES.index(item.category)
        shard.colour_RN[row, slot] = COLOUR_NAMES.index(item.colour or NATURAL)
    if len(found):
        owned_HW = share_NHW.sum(axis=0) > COVERED
        shard.owner_RHW[row] = np.where(owned_HW, share_NHW.argmax(axis=0) + 1, 0)


def shard_path(folder: Path, index: int) -> Path:
    """Where shard `index` lies."""
    return folder / f"{index:05d}.npz"


def fill_pool(folder: Path, seed: int, draws: tuple[Draw, ...], shards: int) -> None:
    """Draws the shards that are not there yet, each replaced whole; the work of a process."""
    os.nice(5)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(shards):
        path = shard_path(folder, index)
        if path.exists():
            continue
        part = path.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as file:
            np.savez(file, **draw_shard(seed, index, draws)._asdict())
        move_into_place(part, path)


class Pool:
    """Reads shards as they appear; keeps them in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards: list[Shard] = []

    def ensure(self, count: int) -> None:
        """Waits until the first `count` shards are read."""
        while len(self.shards) < count:
            path = shard_path(self.folder, len(self.shards))
            if not path.exists():
                time.sleep(0.5)
                continue
            with np.load(path) as file:
                self.shards.append(Shard(**{name: file[name] for name in Shard._fields}))

    def pick(self, rng: np.random.Generator, count: int, *, among: int) -> Shard:
        """`count` random images of the first `among` shards."""
        self.ensure(among)
        places = zip(rng.integers(among, size=count), rng.integers(SHARD, size=count), strict=True)
        return joined([self.shards[shard].rows(slice(row, row + 1)) for shard, row in places])
