"""Measures BAGEL's sampler on random weights, and prints JSON lines with ratios.

    python tools/perf/bagel_sampling.py                      small, on the CPU, about a minute
    python tools/perf/bagel_sampling.py --large --device cuda   1.3 B parameters, 512 px, bfloat16

Each row of a batch edits a picture: it reads latents, patches and an instruction, and is drawn with
guidance by text and by picture, which takes three branches. All ways to do that work run in one
process on the same weights, take turns, and must agree. The autoencoder is not part of it. On a CPU
seconds are those of the processor, so that what else runs on the machine does not count.

The large configuration was written for a GPU and has not been measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from alphabench.models.bagel.config import (
    AutoencoderConfig,
    BagelConfig,
    BagelTextConfig,
    BagelVisionConfig,
)
from alphabench.models.bagel.guidance import Guidance, apply_guidance, intervals
from alphabench.models.bagel.kv_cache import stack
from alphabench.models.bagel.model import Bagel, Grid, ImageMarks
from alphabench.models.bagel.packed_sequences import ragged
from alphabench.models.bagel.sampler import (
    Contexts,
    GuidedVelocity,
    denoise_latents,
    new_contexts,
    with_latents,
    with_patches,
    with_text,
)

GUIDANCE: Final = Guidance(image_scale=2.0, low=0.0, renorm="text_channel")
ALONE: Final = Guidance(text_scale=1.0)
SHIFT: Final = 3.0
MEBI: Final = 2**20
CLOSE: Final = {torch.float32: 1e-4, torch.bfloat16: 0.25}
"""How far apart, at most, the ways may end: they round differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The work: a model, what its rows read, and the noise they start from."""

    model: Bagel
    ids: Sequence[Sequence[int]]
    latents: Tensor
    patches: Tensor
    noise: Tensor
    grid: Grid
    seen: Grid
    points: int

    @property
    def rows(self) -> int:
        return len(self.ids)

    def row(self, index: int) -> Setup:
        """One row of it."""
        n, m = self.grid.rows * self.grid.columns, self.seen.rows * self.seen.columns
        return replace(
            self,
            ids=[self.ids[index]],
            latents=self.latents[index * n : (index + 1) * n],
            patches=self.patches[index * m : (index + 1) * m],
            noise=self.noise[index * n : (index + 1) * n],
        )


def read(setup: Setup) -> Contexts:
    """Everything before the picture."""
    said = new_contexts(setup.model, setup.rows)
    said = with_latents(setup.model, said, setup.latents, [setup.grid] * setup.rows)
    said = with_patches(setup.model, said, setup.patches, [setup.seen] * setup.rows)
    return with_text(setup.model, said, setup.ids)


def batched(setup: Setup) -> Tensor:
    """As the sampler does it: rows and branches together, contexts read once."""
    guided = GuidedVelocity(setup.model, read(setup), [setup.grid] * setup.rows, GUIDANCE)
    return denoise_latents(guided, setup.noise, points=setup.points, shift=SHIFT)


def one_at_a_time(setup: Setup) -> Tensor:
    """The same, one row after another."""
    return torch.cat([batched(setup.row(index)) for index in range(setup.rows)])


def recomputed(setup: Setup) -> Tensor:
    """Contexts are read anew at every step."""
    x_LC = setup.noise
    for t, width in intervals(setup.points, SHIFT):
        guided = GuidedVelocity(setup.model, read(setup), [setup.grid] * setup.rows, GUIDANCE)
        x_LC = x_LC - guided.velocity(x_LC, t) * width
    return x_LC


def sequential(setup: Setup) -> Tensor:
    """Each branch of guidance goes through the model by itself."""
    said, grids = read(setup), [setup.grid] * setup.rows
    painters = [
        GuidedVelocity(setup.model, Contexts(full=one, text_free=one, image_free=one), grids, ALONE)
        for one in (said.full, said.text_free, said.image_free)
    ]
    counts = [setup.grid.rows * setup.grid.columns] * setup.rows
    tokens = ragged(counts, setup.noise.device)
    x_LC = setup.noise
    for t, width in intervals(setup.points, SHIFT):
        full, text_free, image_free = (tokens.pad(one.velocity(x_LC, t)) for one in painters)
        x_LC = x_LC - tokens.unpad(apply_guidance(full, text_free, image_free, GUIDANCE)) * width
    return x_LC


WAYS: Final[dict[str, Callable[[Setup], Tensor]]] = {
    "batched": batched,
    "one at a time": one_at_a_time,
    "contexts recomputed": recomputed,
    "branches one by one": sequential,
}


def small() -> tuple[BagelConfig, int, int]:
    """A design, pixels on a side, points."""
    language = BagelTextConfig(
        hidden_size=384, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=6,
        num_key_value_heads=2, vocab_size=512, rope_theta=1e6, rms_norm_eps=1e-6,
    )  # fmt: skip
    return _design(language, vit_width=128, vit_layers=4), 128, 6


def large() -> tuple[BagelConfig, int, int]:
    """1.3 B parameters with both experts, as many active for a token as in a 0.65 B decoder."""
    language = BagelTextConfig(
        hidden_size=1536, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=12,
        num_key_value_heads=2, vocab_size=32000, rope_theta=1e6, rms_norm_eps=1e-6,
    )  # fmt: skip
    return _design(language, vit_width=768, vit_layers=12), 512, 50


def _design(language: BagelTextConfig, *, vit_width: int, vit_layers: int) -> BagelConfig:
    vision = BagelVisionConfig(
        hidden_size=vit_width, intermediate_size=4 * vit_width, declared_layers=vit_layers + 1,
        num_attention_heads=vit_width // 64, patch_size=14, image_size=980,
    )  # fmt: skip
    return BagelConfig(
        language=language, vision=vision, autoencoder=AutoencoderConfig(), latent_side=64
    )


def set_up(
    size: tuple[BagelConfig, int, int], rows: int, *, device: torch.device, dtype: torch.dtype
) -> Setup:
    """Random weights and inputs, the same at every call."""
    config, pixels, points = size
    torch.manual_seed(0)
    with torch.device(device):
        model = Bagel(config, ImageMarks(start=3, end=4)).to(dtype).eval()
    side = pixels // config.token_pixels
    seen = round(pixels / config.vision.patch_size)
    generator = torch.Generator().manual_seed(1)

    def noise(count: int, features: int) -> Tensor:
        return torch.randn(rows * count, features, generator=generator).to(device)

    # Instructions of unequal length, so that batching has gaps to mask.
    ids = [[1, *range(10, 22 + 3 * row), 2] for row in range(rows)]
    return Setup(
        model=model, ids=ids, grid=Grid(side, side), seen=Grid(seen, seen), points=points,
        latents=noise(side**2, config.latent_features),
        patches=noise(seen**2, config.vision.patch_features),
        noise=noise(side**2, config.latent_features),
    )  # fmt: skip


@torch.no_grad()
def _measure(setup: Setup, repeats: int) -> dict[str, dict[str, float]]:
    """Way -> its figures; the ways take turns, so that a busy machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    peaks: dict[str, float] = dict.fromkeys(WAYS, 0.0)
    wanted = batched(setup)
    for _ in range(repeats):
        for name, way in WAYS.items():
            _start_peak(setup.noise.device)
            clock = time.perf_counter if setup.noise.is_cuda else time.process_time
            began = clock()
            found = way(setup)
            if found.is_cuda:
                torch.cuda.synchronize()
            seconds[name].append((clock() - began) / setup.rows)
            peaks[name] = max(peaks[name], _peak(setup.noise.device))
            apart = float((found - wanted).abs().max())
            assert apart <= CLOSE[setup.model.vae2llm.weight.dtype], (name, apart)
    return {
        name: {
            "seconds_per_image": median(seconds[name]),
            "gflop_per_image": _flops(way, setup) / setup.rows / 1e9,
            "peak_mib": peaks[name] / MEBI,
        }
        for name, way in WAYS.items()
    }


def _flops(way: Callable[[Setup], Tensor], setup: Setup) -> int:
    # Torch's own table lacks the kernel for CPUs, and refuses grouped queries for the others.
    kernels = ("flash_attention_for_cpu", "flash_attention", "efficient_attention")
    mapping = {
        getattr(torch.ops.aten, f"_scaled_dot_product_{kernel}"): _attention_flops
        for kernel in (*kernels, "cudnn_attention")
    }
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        way(setup)
    return int(counter.get_total_flops())


def _attention_flops(q: Sequence[int], k: Sequence[int], *_: object, **__: object) -> int:
    """Of scores and of mixing values; all scores count, masked or not."""
    rows, heads, queries, width = q
    return 4 * rows * heads * queries * k[2] * width


def _start_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    # Linux: the highest resident size so far becomes the present one.
    Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> float:
    """Bytes at most since `_start_peak`, weights included."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@torch.no_grad()
def context_mib(setup: Setup) -> float:
    """Keys and values that are kept for one row, all three branches."""
    said = read(setup.row(0))
    kept = stack([said.full, said.text_free, said.image_free])
    return sum(one.nbytes for one in (*kept.keys, *kept.values)) / MEBI


def main() -> None:
    """Print the setting, one line for each way, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pixels", type=int, help="on a side, in the place of the size's own")
    options = parser.parse_args()
    dtype = torch.bfloat16 if options.large else torch.float32
    config, pixels, points = large() if options.large else small()
    size = (config, options.pixels or pixels, points)
    setup = set_up(size, options.rows, device=torch.device(options.device), dtype=dtype)
    _say(
        device=_name(options.device), threads=torch.get_num_threads(), dtype=str(dtype),
        parameters=sum(one.numel() for one in setup.model.parameters()), pixels=size[1],
        steps=setup.points - 1, rows=setup.rows, context_mib_per_row=round(context_mib(setup), 2),
    )  # fmt: skip
    found = _measure(setup, options.repeats)
    for name, figures in found.items():
        rate = figures["gflop_per_image"] / figures["seconds_per_image"] / 1e3
        _say(
            way=name,
            **{k: round(v, 4) for k, v in figures.items()},
            tflop_per_second=round(rate, 4),
        )
    base = found.pop("batched")
    for name, figures in found.items():
        _say(
            batched_against=name,
            times_faster=round(figures["seconds_per_image"] / base["seconds_per_image"], 2),
            share_of_flops=round(base["gflop_per_image"] / figures["gflop_per_image"], 3),
        )


def _name(device: str) -> str:
    return torch.cuda.get_device_name() if device.startswith("cuda") else device


def _say(**figures: object) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
