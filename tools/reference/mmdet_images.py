"""Fifty images that a detector's input code may get wrong: sizes, proportions, file formats.

Promises the same images for the same count, from the bundled photographs, drawn scenes and smooth
noise. Knows no detector.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from alphabench.evaluators.detection.detector_self_test import EXPECTATIONS, _photograph
from alphabench.scenes.render import render
from alphabench.scenes.spec import Background, Scene, SceneObject

SIZES = (
    (512, 512), (1024, 1024), (640, 480), (768, 1344), (1600, 1600), (333, 333), (1248, 832),
    (800, 800), (256, 256), (1333, 800), (801, 1334), (1500, 500), (97, 33), (1360, 768),
    (299, 401), (1024, 768), (200, 1400), (720, 1280), (64, 64), (400, 400), (1152, 896),
    (513, 767), (480, 640), (1920, 1080), (1000, 1000),
)  # fmt: skip
"""Width and height: squares, both orientations, far beyond 1333 : 800, exactly twice, odd."""
KINDS = (
    "png", "jpg", "exif6", "grey", "rgba", "png", "palette", "exif3", "grey-alpha", "jpg",
    "exif8", "bilevel", "grey-jpg", "exif5", "png",
)  # fmt: skip
ORIENTATION = 0x0112
"""The EXIF tag."""


def write_pictures(folder: Path, count: int, *, shrink: int = 1) -> list[Path]:
    """Write the first `count` images and return their paths.

    Args:
        folder: is created.
        count: sizes and kinds repeat with different periods, so that each meets most others.
        shrink: divides all sides, for small networks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(count):
        width, height = (max(side // shrink, 8) for side in SIZES[index % len(SIZES)])
        kind = KINDS[(index + index // len(SIZES)) % len(KINDS)]
        content = _content(index).resize((width, height), Image.Resampling.BICUBIC)
        path = folder / f"{index:02}-{kind}-{width}x{height}.{_suffix(kind)}"
        _save(content, kind, path)
        paths.append(path)
    return paths


def _suffix(kind: str) -> str:
    return "jpg" if kind.endswith("jpg") or kind.startswith("exif") else "png"


def _content(index: int) -> Image.Image:
    """A photograph, a scene or noise, in turn."""
    draw = np.random.default_rng(index)
    if index % 3 == 0:
        photograph = _photograph(EXPECTATIONS[index // 3 % len(EXPECTATIONS)].file)
        return photograph.rotate(15 * (index // 9), resample=Image.Resampling.BICUBIC)
    if index % 3 == 1:
        things = [
            SceneObject(category=str(category), colour=str(colour), x=x, y=0.5, size=0.3)
            for category, colour, x in zip(
                draw.choice(["pizza", "elephant", "umbrella"], 3),
                draw.choice(["red", "blue", "green", "yellow"], 3),
                (0.2, 0.5, 0.8),
                strict=True,
            )
        ]
        background = Background(first=(200, 205, 190))
        scene = Scene(background=background, objects=tuple(things), seed=index)
        return Image.fromarray(np.asarray(render(scene, 384, 384).image))
    coarse = draw.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((220, 180), Image.Resampling.BICUBIC)


def _save(image: Image.Image, kind: str, path: Path) -> None:
    if kind.startswith("exif"):
        exif = Image.Exif()
        exif[ORIENTATION] = int(kind[-1])
        image.save(path, exif=exif, quality=92)
    elif kind.endswith("jpg"):
        (image.convert("L") if kind.startswith("grey") else image).save(path, quality=90)
    elif kind in {"rgba", "grey-alpha"}:
        ramp = np.linspace(0, 255, image.width, dtype=np.uint8)
        alpha = Image.fromarray(np.tile(ramp, (image.height, 1)))
        image = image.convert("L" if kind == "grey-alpha" else "RGB")
        image.putalpha(alpha)
        image.save(path)
    elif kind == "palette":
        image.quantize(64).save(path, transparency=0)
    else:
        modes = {"grey": "L", "bilevel": "1"}
        image.convert(modes.get(kind, "RGB")).save(path)
