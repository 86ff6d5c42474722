"""Renders a scene, with its true objects.

The same scene at the same size gives the same pixels on any machine with the same Pillow and NumPy.
Knows nothing of prompts. Shapes: H canvas height, W canvas width, h and w of one object's patch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from alphabench.detections.objects import DetectedObject
from alphabench.scenes.icons import Icon, load_icon
from alphabench.scenes.palette import TINTS
from alphabench.scenes.spec import Background, Scene, SceneObject

SMALLEST_SIDE: Final = 16
LARGEST_SIDE: Final = 4096
"""Pixels."""
_SUPERSAMPLING: Final = 2
_GRAIN: Final = 3
"""Greatest deviation of a ground pixel, in levels of 255: what makes any two seeds differ."""
_OUTLINE_STRENGTH: Final = 0.45
_TOUCHY: Final = ("black", "brown", "white")
"""Colours that a small change of hue turns into another."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """What a perfect detector would report."""

    objects: tuple[DetectedObject, ...]
    """In the scene's order, without those of which nothing can be seen; every score is 1."""


class Rendered(NamedTuple):
    """An image and the objects in it."""

    image: Image.Image
    """RGB."""
    truth: Truth


class _Patch(NamedTuple):
    """One object in pixels; (left, top) may lie off the canvas."""

    rgb_hw3: NDArray[np.float32]
    alpha_hw: NDArray[np.float32]
    outline_hw: NDArray[np.float32]
    left: int
    top: int


def render(scene: Scene, width: int, height: int) -> Rendered:
    """Renders `scene` on a canvas of `width` x `height` pixels.

    Raises:
        ValueError: a side out of range.
    """
    if min(width, height) < SMALLEST_SIDE or max(width, height) > LARGEST_SIDE:
        raise ValueError(f"a side of {width} x {height} is not in {SMALLEST_SIDE}..{LARGEST_SIDE}")
    ground_seed, shade_seed = np.random.SeedSequence(scene.seed).spawn(2)
    canvas_HW3 = _ground(scene.background, width, height, np.random.default_rng(ground_seed))
    outline_level = 0.0 if float(np.mean(scene.background.first)) > 100.0 else 255.0
    shades = np.random.default_rng(shade_seed)
    covered: list[NDArray[np.bool_]] = []
    for item in scene.objects:
        patch = _patch(item, width, height, shades)
        covered.append(_composite(canvas_HW3, patch, outline_level))
    image = Image.fromarray(np.clip(canvas_HW3 + 0.5, 0, 255).astype(np.uint8), "RGB")
    return Rendered(image, _truth(scene.objects, covered))


def _truth(objects: tuple[SceneObject, ...], covered: list[NDArray[np.bool_]]) -> Truth:
    found: list[DetectedObject] = []
    above: NDArray[np.bool_] | None = None
    for item, own in zip(reversed(objects), reversed(covered), strict=True):
        mask = own if above is None else own & ~above
        above = own if above is None else own | above
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        if not len(columns):
            continue
        box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        x1, y1, x2, y2 = (float(edge) for edge in box)
        found.append(
            DetectedObject(
                category=item.category,
                score=1.0,
                box=(x1, y1, x2, y2),
                mask=mask,
                colour=item.colour,
            )
        )
    return Truth(objects=tuple(reversed(found)))


def _ground(
    background: Background, width: int, height: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(H, W, 3) levels of 255, with grain."""
    first = np.asarray(background.first, dtype=np.float32)
    grain_HW3 = rng.integers(-_GRAIN, _GRAIN + 1, size=(height, width, 3), dtype=np.int8)
    if background.kind == "plain":
        return np.asarray(first + grain_HW3, dtype=np.float32)
    mix_HW1 = _mixture(background, width, height, rng)[..., None]
    second = np.asarray(background.second, dtype=np.float32)
    return np.asarray(first + (second - first) * mix_HW1 + grain_HW3, dtype=np.float32)


def _mixture(
    background: Background, width: int, height: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(H, W) share of the second colour, 0 to 1."""
    short = min(width, height)
    period = max(background.scale * short, 2.0)
    if background.kind == "noise":
        coarse = (max(2, round(height / period)), max(2, round(width / period)))
        blotches = Image.fromarray(rng.integers(0, 256, size=coarse, dtype=np.uint8), "L")
        smooth = blotches.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(smooth, dtype=np.float32) / np.float32(255)
    x_1W = np.arange(width, dtype=np.float32)[None]
    y_H1 = np.arange(height, dtype=np.float32)[:, None]
    if background.kind == "checker":
        squares_HW = (x_1W // period).astype(np.int32) + (y_H1 // period).astype(np.int32)
        return (squares_HW % 2).astype(np.float32)
    angle = math.radians(background.angle_degrees)
    along_HW = x_1W * np.float32(math.cos(angle)) + y_H1 * np.float32(math.sin(angle))
    if background.kind == "stripes":
        # A triangle wave, steepened and clipped: bars whose edges are one or two pixels soft.
        wave_HW = np.abs((along_HW / np.float32(period)) % 1.0 - 0.5) * 4.0 - 1.0
        return np.clip(wave_HW * np.float32(period / 4.0) + 0.5, 0.0, 1.0).astype(np.float32)
    low, high = along_HW.min(), along_HW.max()
    return np.asarray((along_HW - low) / max(high - low, 1.0), dtype=np.float32)


def _patch(item: SceneObject, width: int, height: int, rng: np.random.Generator) -> _Patch:
    """The object's pixels: scaled, turned and coloured."""
    icon = load_icon(item.category)
    longest = max(item.size * min(width, height), 3.0)
    centre_x, centre_y = item.x * width, item.y * height
    angle = math.radians(item.rotation_degrees)
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    object_w, object_h = longest * min(icon.aspect, 1.0), longest / max(icon.aspect, 1.0)
    half_w = (cos * object_w + sin * object_h) / 2 + 2
    half_h = (sin * object_w + cos * object_h) / 2 + 2
    left, top = math.floor(centre_x - half_w), math.floor(centre_y - half_h)
    size = math.ceil(centre_x + half_w) - left, math.ceil(centre_y + half_h) - top
    turned = _turned(item, longest, (centre_x - left, centre_y - top), size)
    alpha = turned.getchannel("A")
    outline = alpha.filter(ImageFilter.MaxFilter(3)) if longest >= 12 else alpha
    return _Patch(
        rgb_hw3=_coloured(turned, icon, item.colour, rng),
        alpha_hw=np.asarray(alpha, dtype=np.float32) / np.float32(255),
        outline_hw=np.asarray(outline, dtype=np.float32) * np.float32(_OUTLINE_STRENGTH / 255),
        left=left,
        top=top,
    )


def _turned(
    item: SceneObject, longest: float, centre: tuple[float, float], size: tuple[int, int]
) -> Image.Image:
    """The icon at its size and turn, its middle at `centre` of an RGBA image of `size`."""
    icon = load_icon(item.category)
    level = _level(icon, longest * _SUPERSAMPLING)
    per_pixel = max(level.size) / longest / _SUPERSAMPLING
    angle = math.radians(item.rotation_degrees)
    # Maps output to icon pixels; y grows downwards, hence the signs of a counter-clockwise turn.
    along, across = math.cos(angle) * per_pixel, -math.sin(angle) * per_pixel
    x, y = centre[0] * _SUPERSAMPLING, centre[1] * _SUPERSAMPLING
    flip = -1.0 if item.mirrored else 1.0
    matrix = (
        flip * along, flip * across, level.width / 2 - flip * (along * x + across * y),
        -across, along, level.height / 2 - (along * y - across * x),
    )  # fmt: skip
    return level.transform(
        (size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING),
        Image.Transform.AFFINE,
        matrix,
        resample=Image.Resampling.BILINEAR,
    ).reduce(_SUPERSAMPLING)


def _level(icon: Icon, longest: float) -> Image.Image:
    """The smallest version of the icon that need not be enlarged by more than a third."""
    fit = [level for level in icon.levels if max(level.size) >= 0.75 * longest]
    return fit[-1] if fit else icon.levels[0]


def _coloured(
    turned: Image.Image, icon: Icon, colour: str | None, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(h, w, 3) levels: the icon's own colours or its drawing in shades of one, slightly varied."""
    brightness = np.float32(rng.uniform(0.94, 1.06))
    hue_3 = rng.uniform(-7.0, 7.0, size=3).astype(np.float32)
    if colour is None:
        own_hw3 = np.asarray(turned.convert("RGB"), dtype=np.float32)
        return np.asarray(np.clip(own_hw3 * brightness + hue_3, 0, 255), dtype=np.float32)
    dark, base, light = (np.asarray(c, dtype=np.float32) for c in TINTS[colour])
    shade_256 = icon.shade[:, None]
    ramp_256x3 = np.where(
        shade_256 < 0, base + (base - dark) * shade_256, base + (light - base) * shade_256
    )
    if colour in _TOUCHY:
        hue_3 = hue_3 * np.float32(0.3)
    table_256x3 = np.clip(ramp_256x3 * brightness + hue_3, 0, 255)
    return np.asarray(table_256x3[np.asarray(turned.convert("L"))], dtype=np.float32)


def _composite(
    canvas_HW3: NDArray[np.float32], patch: _Patch, outline_level: float
) -> NDArray[np.bool_]:
    """Lays the patch on the canvas, in place; returns the (H, W) pixels that it covers."""
    height, width = canvas_HW3.shape[:2]
    h, w = patch.alpha_hw.shape
    top, bottom = max(patch.top, 0), min(patch.top + h, height)
    left, right = max(patch.left, 0), min(patch.left + w, width)
    mask_HW = np.zeros((height, width), dtype=np.bool_)
    if top >= bottom or left >= right:
        return mask_HW
    inside = np.s_[top - patch.top : bottom - patch.top, left - patch.left : right - patch.left]
    view_hw3 = canvas_HW3[top:bottom, left:right]
    alpha_hw1 = patch.alpha_hw[inside][..., None]
    view_hw3 += (np.float32(outline_level) - view_hw3) * patch.outline_hw[inside][..., None]
    view_hw3 += (patch.rgb_hw3[inside] - view_hw3) * alpha_hw1
    mask_HW[top:bottom, left:right] = alpha_hw1[..., 0] >= 0.5
    return mask_HW
