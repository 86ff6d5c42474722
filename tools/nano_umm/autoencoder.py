"""Trains the nano model's autoencoder on small scenes, from scratch; resumable.

    python -m tools.nano_umm.autoencoder WORK --steps 2000

WORK holds `autoencoder.pt` (the state to resume from) and, when done, `ae.safetensors` with the
scale and shift of its latents in `autoencoder.json`. A run that was stopped ends with the weights
of one that was not: images and noise of a step depend on its number alone.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from alphabench.models.bagel.autoencoder import Autoencoder
from alphabench.models.bagel.config import AutoencoderConfig
from alphabench.scenes.render import render
from alphabench.scenes.small_world import small_to_scene
from alphabench.scenes.small_world_sampling import random_small
from tools.cpu_precision import cpu_autocast
from tools.nano_umm.checkpointing import restore, save_training
from tools.nano_umm.muon import advance, optimizers

SIDE: Final = 64
DESIGN: Final = AutoencoderConfig(ch=32, ch_mult=(1, 2, 2, 2), num_res_blocks=1, norm_groups=8)
BATCH: Final = 8
PEAK_RATE: Final = 5e-3
RATE_WEIGHT: Final = 1e-2
"""Of the Kullback-Leibler term, per latent number: smooth latents matter more than details."""
POOL: Final = 20_000
"""Cached scenes; 64 x 64 pixels each."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    autoencoder = train_autoencoder(arguments.work, steps=arguments.steps, stop=arguments.steps)
    export_autoencoder(autoencoder, arguments.work)


def train_autoencoder(work: Path, *, steps: int, stop: int) -> Autoencoder:
    """The autoencoder after `stop` of `steps` steps, from where `work` left off."""
    torch.manual_seed(0)
    autoencoder = Autoencoder(DESIGN)
    network = autoencoder.network.train()
    _quicken(network)
    steppers = optimizers(network, PEAK_RATE)
    pool = scene_images(work / "pictures.npy", POOL)
    state: dict[str, Any] = {"network": network, **steppers}
    done = restore(work / "autoencoder.pt", state)
    began = time.time()
    for step in range(done, stop):
        losses = _step(autoencoder, pool, step)
        network.zero_grad()
        torch.autograd.backward(losses["loss"])
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        advance(steppers.values(), _rate_at(step, steps, PEAK_RATE))
        if step % 50 == 49:
            values = " ".join(f"{name} {value.item():.4f}" for name, value in losses.items())
            pace = (time.time() - began) / (step + 1 - done)
            print(f"{step + 1} {values} {pace:.2f} s/step", flush=True)
        if step % 200 == 199 or step + 1 == stop:
            save_training(work / "autoencoder.pt", state, step + 1)
    network.eval()
    return autoencoder


def _quicken(network: nn.Module) -> None:
    """Group normalisation as the same batch normalisation, whose backward pass is faster here."""
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.forward = partial(_group_norm, module)  # type: ignore[method-assign]


def _group_norm(norm: nn.GroupNorm, x_BC: Tensor) -> Tensor:
    rows, dims = len(x_BC) * norm.num_groups, x_BC.ndim - 2
    flat = x_BC.reshape(1, rows, -1, x_BC.shape[-1])
    normed = functional.batch_norm(flat, None, None, training=True, eps=norm.eps).view_as(x_BC)
    weight, bias = (
        values.to(x_BC.dtype).reshape(-1, *[1] * dims) for values in (norm.weight, norm.bias)
    )
    return normed * weight + bias


def _rate_at(step: int, steps: int, peak: float) -> float:
    """Learning rate: 100 steps of warm-up, flat, and down to 0 over the last half."""
    remaining = (steps - step) / (0.5 * steps)
    return peak * min((step + 1) / 100, 1.0, remaining)


def scene_images(path: Path, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Small scenes [count, 64, 64, 3], rendered once and cached in `path`."""
    if not path.is_file():
        images = np.empty((count, SIDE, SIDE, 3), np.uint8)
        for index in range(count):
            rng = np.random.default_rng([7, index])
            images[index] = np.asarray(
                render(small_to_scene(random_small(rng), rng), SIDE, SIDE).image
            )
        np.save(path, images)
    loaded: np.ndarray[Any, np.dtype[np.uint8]] = np.load(path, mmap_mode="r")
    return loaded


def to_batch(images_BYX3: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """[B, 3, Y, X] in [-1, 1]."""
    values = torch.from_numpy(np.array(images_BYX3)).permute(0, 3, 1, 2)
    return values.float() / 127.5 - 1.0


def _step(
    autoencoder: Autoencoder, pool: np.ndarray[Any, np.dtype[np.uint8]], step: int
) -> dict[str, Tensor]:
    rng = np.random.default_rng([11, step])
    batch = to_batch(pool[np.sort(rng.integers(len(pool), size=BATCH))])
    noise = torch.Generator().manual_seed(step)
    with cpu_autocast():
        mean, log_variance = autoencoder.moments(batch)
        mean, log_variance = mean.float(), log_variance.float().clamp(-12, 4)
        eps = torch.randn(mean.shape, generator=noise)
        seen = autoencoder.network.decoder(mean + torch.exp(log_variance / 2) * eps).float()
    rate = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    error = seen - batch
    flat = error.abs().mean() + error.square().mean()
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return {"loss": flat + edges + RATE_WEIGHT * rate, "flat": flat, "edges": edges, "rate": rate}


@torch.no_grad()
def export_autoencoder(autoencoder: Autoencoder, work: Path) -> None:
    """Writes the weights under BAGEL's names, and the statistics that scale the latents."""
    pool = scene_images(work / "pictures.npy", POOL)
    starts = range(0, min(2048, len(pool)), 64)
    means = torch.cat([autoencoder.moments(to_batch(pool[at : at + 64])).mean for at in starts])
    statistics = {"scale_factor": float(1 / means.std()), "shift_factor": float(means.mean())}
    (work / "autoencoder.json").write_text(json.dumps(statistics), encoding="utf-8")
    tensors = {
        autoencoder.stored_name(name): tensor.to(torch.float16).contiguous()
        for name, tensor in autoencoder.network.state_dict().items()
    }
    save_file(tensors, work / "ae.safetensors")


if __name__ == "__main__":
    main()
