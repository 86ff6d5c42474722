"""Scenes and changes by number, and their images and latents, cached in files.

A scene is a function of its number alone, so only pixels and latents are stored.

Shapes: N scenes; two images a change, before and after.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from alphabench.models.bagel.autoencoder import Autoencoder
from alphabench.scenes.render import render
from alphabench.scenes.scene_edits import SceneChange
from alphabench.scenes.small_world import SmallScene, small_to_scene
from alphabench.scenes.small_world_sampling import random_change, random_small_scene
from tools.cpu_precision import cpu_autocast

SIDE: Final = 64
SCENES, CHANGES = "scenes", "changes"
_SEEDS: Final = {SCENES: 101, CHANGES: 202}
HELD_OUT: Final = 10_000_000
"""Numbers from here on are never trained on."""


def scene(number: int) -> SmallScene:
    """The scene of this number."""
    return random_small_scene(_rng(SCENES, number))


def change(number: int) -> SceneChange:
    """One that applies; edits and mistakes alternate at random."""
    return random_change(_rng(CHANGES, number))


def scene_pixels(small: SmallScene, kind: str, number: int) -> NDArray[np.uint8]:
    """[64, 64, 3]; both images of a change share every pose."""
    rng = np.random.default_rng([_SEEDS[kind], number, 1])
    return np.asarray(render(small_to_scene(small, rng), SIDE, SIDE).image)


def cached_images(path: Path, kind: str, count: int) -> NDArray[np.uint8]:
    """Images [N, 64, 64, 3] of scenes or [N, 2, 64, 64, 3] of changes, rendered once."""
    if not path.is_file():
        each = (2,) if kind == CHANGES else ()
        rendered = np.empty((count, *each, SIDE, SIDE, 3), np.uint8)
        for number in range(count):
            if kind == SCENES:
                rendered[number] = scene_pixels(scene(number), kind, number)
            else:
                both = change(number)
                for index, small in enumerate((both.before, both.after)):
                    rendered[number, index] = scene_pixels(small, kind, number)
        np.save(path, rendered)
    loaded: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return loaded


@torch.no_grad()
def cached_latents(
    path: Path, images: NDArray[np.uint8], autoencoder: Autoencoder
) -> NDArray[np.float16]:
    """Mean and standard deviation [N.., 2, Z, y, x] of the posterior, not yet scaled."""
    if not path.is_file():
        flat = images.reshape(-1, SIDE, SIDE, 3)
        parts: list[NDArray[Any]] = []
        for index in range(0, len(flat), 64):
            values = torch.from_numpy(np.array(flat[index : index + 64])).permute(0, 3, 1, 2)
            with cpu_autocast():
                mean, log_variance = autoencoder.moments(values.float() / 127.5 - 1.0)
            both = torch.stack([mean.float(), (log_variance.float() / 2).exp()], dim=1)
            parts.append(both.to(torch.float16).numpy())
        joined = np.concatenate(parts)
        np.save(path, joined.reshape(*images.shape[:-3], *joined.shape[1:]))
    loaded: NDArray[np.float16] = np.load(path, mmap_mode="r")
    return loaded


def _rng(kind: str, number: int) -> np.random.Generator:
    return np.random.default_rng([_SEEDS[kind], number])
