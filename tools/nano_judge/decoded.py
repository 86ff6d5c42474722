"""Small scenes as the nano model's decoder draws them, from latents that are more or less right.

Needs the autoencoder that `tools.nano_umm.autoencoder` trained. Shapes: N pictures, B of them at
once.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from alphabench.models.bagel.autoencoder import Autoencoder
from alphabench.scenes.render import render
from alphabench.scenes.small_world import small_to_scene
from tools.nano_judge.scene_images import SHARD, Pixels, cells_of, random_things, shrunk, truth_of
from tools.nano_umm.autoencoder import DESIGN, SIDE, to_batch

KIND: Final = "decoded"
_TOGETHER: Final = 50
_SPOILT: Final = 0.12
"""Share of latents that are too far off to show anything whole."""


def fill_decoded(work: Path, number: int) -> None:
    """Shard `number` beside the others in WORK/judge_pool, from WORK/ae.safetensors."""
    stem = work / "judge_pool" / f"{KIND}-{number:03}"
    if stem.with_suffix(".jsonl").is_file():
        return
    stem.parent.mkdir(parents=True, exist_ok=True)
    autoencoder = _autoencoder(work / "ae.safetensors")
    pixels, cells, lines = [], [], []
    for start in range(0, SHARD, _TOGETHER):
        rng = np.random.default_rng([53, number, start])
        images = []
        errors = np.where(rng.random(_TOGETHER) < _SPOILT, rng.uniform(0.7, 1.3, _TOGETHER),
                          rng.uniform(0.0, 0.4, _TOGETHER))  # fmt: skip
        for error in errors:
            scene = small_to_scene(random_things(rng), rng)
            rendered = render(scene, SIDE, SIDE)
            images.append(np.asarray(rendered.image))
            cells.append(cells_of(rendered))
            lines.append(json.dumps(asdict(truth_of(scene, rendered, _grade(error)))))
        pixels += _through(autoencoder, np.stack(images), errors, rng)
    np.save(stem.with_suffix(".pixels.npy"), np.stack(pixels))
    np.save(stem.with_suffix(".cells.npy"), np.stack(cells))
    stem.with_suffix(".jsonl").write_text("\n".join(lines), encoding="utf-8")


def redrawn(work: Path, pixels_NYX3: Pixels, rng: np.random.Generator) -> Pixels:
    """[N, Y, X, 3] pictures as the decoder draws them, from latents with a small error each."""
    autoencoder = _autoencoder(work / "ae.safetensors")
    shown = []
    for start in range(0, len(pixels_NYX3), _TOGETHER):
        some = pixels_NYX3[start : start + _TOGETHER]
        small = np.stack([np.asarray(Image.fromarray(one).resize((SIDE, SIDE))) for one in some])
        shown += _through(autoencoder, small, rng.uniform(0.0, 0.35, len(some)), rng)
    return np.stack(shown)


def _grade(error: float) -> int:
    return 10 if error < 0.1 else 9 if error < 0.25 else 8 if error < 0.41 else 3


@torch.no_grad()
def _through(
    autoencoder: Autoencoder,
    images_BYX3: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    errors_B: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    rng: np.random.Generator,
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    mean = autoencoder.moments(to_batch(images_BYX3)).mean
    noise = torch.from_numpy(rng.standard_normal(mean.shape, np.float32))
    off = torch.from_numpy(errors_B.astype(np.float32)).view(-1, 1, 1, 1)
    wrong = mean + noise * off * mean.std()
    seen: Tensor = autoencoder.network.decoder(wrong)
    levels = ((seen.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
    return [np.asarray(shrunk(Image.fromarray(one))) for one in levels.numpy()]


def _autoencoder(path: Path) -> Autoencoder:
    autoencoder = Autoencoder(DESIGN)
    stored = load_file(path)
    names = {name: autoencoder.stored_name(name) for name in autoencoder.network.state_dict()}
    autoencoder.network.load_state_dict({k: stored[name].float() for k, name in names.items()})
    return autoencoder
