"""Measures BAGEL's sampler on random weights, and prints JSON lines with ratios.

    python tools/perf/bagel_sampling.py                      small, on the CPU, about a minute
    python tools/perf/bagel_sampling.py --large --device cuda   1.3 B parameters, 512 px, bfloat16

Each row of a batch edits an image: it reads latents, patches and an instruction, and is generated
with guidance by text and by image, which takes three branches. All methods run in one process on
the same weights, take turns, and must agree. The autoencoder is not part of it. On a CPU
seconds are those of the processor, so that other processes do not count.

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
UNGUIDED: Final = Guidance(text_scale=1.0)
SHIFT: Final = 3.0
MEBI: Final = 2**20
CLOSE: Final = {torch.float32: 1e-4, torch.bfloat16: 0.25}
"""The largest difference between methods, which round differently."""


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
    """Everything before the image."""
    contexts = new_contexts(setup.model, setup.rows)
    contexts = with_latents(setup.model, contexts, setup.latents, [setup.grid] * setup.rows)
    contexts = with_patches(setup.model, contexts, setup.patches, [setup.seen] * setup.rows)
    return with_text(setup.model, contexts, setup.ids)


def batched(setup: Setup) -> Tensor:
    """As the sampler does it: rows and branches together, contexts read once."""
    guided = GuidedVelocity(setup.model, read(setup), [setup.grid] * setup.rows, GUIDANCE)
    return denoise_latents(guided, setup.noise, points=setup.points, shift=SHIFT)


def one_at_a_time(setup: Setup) -> Tensor:
    """The same, one row after another."""
    return torch.cat([batched(setup.row(index)) for index in range(setup.rows)])


def recomputed(setup: Setup) -> Tensor:
    """Contexts are read again at every step."""
    x_LC = setup.noise
    for t, width in intervals(setup.points, SHIFT):
        guided = GuidedVelocity(setup.model, read(setup), [setup.grid] * setup.rows, GUIDANCE)
        x_LC = x_LC - guided.velocity(x_LC, t) * width
    return x_LC


def sequential(setup: Setup) -> Tensor:
    """Each branch of guidance goes through the model by itself."""
    contexts, grids = read(setup), [setup.grid] * setup.rows
    branches = [
        GuidedVelocity(
            setup.model, Contexts(full=one, text_free=one, image_free=one), grids, UNGUIDED
        )
        for one in (contexts.full, contexts.text_free, contexts.image_free)
    ]
    counts = [setup.grid.rows * setup.grid.columns] * setup.rows
    tokens = ragged(counts, setup.noise.device)
    x_LC = setup.noise
    for t, width in intervals(setup.points, SHIFT):
        full, text_free, image_free = (tokens.pad(one.velocity(x_LC, t)) for one in branches)
        x_LC = x_LC - tokens.unpad(apply_guidance(full, text_free, image_free, GUIDANCE)) * width
    return x_LC


METHODS: Final[dict[str, Callable[[Setup], Tensor]]] = {
    "batched": batched,
    "one at a time": one_at_a_time,
    "contexts recomputed": recomputed,
    "branches one by one": sequential,
}


def small() -> tuple[BagelConfig, int, int]:
    """A configuration, pixels on a side, points."""
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


def make_setup(
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
def measure_sampling(setup: Setup, repeats: int) -> dict[str, dict[str, float]]:
    """Method -> its metrics; the methods take turns, so that a busy machine slows all equally."""
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    peaks: dict[str, float] = dict.fromkeys(METHODS, 0.0)
    expected = batched(setup)
    for _ in range(repeats):
        for name, method in METHODS.items():
            _start_peak(setup.noise.device)
            clock = time.perf_counter if setup.noise.is_cuda else time.process_time
            began = clock()
            result = method(setup)
            if result.is_cuda:
                torch.cuda.synchronize()
            seconds[name].append((clock() - began) / setup.rows)
            peaks[name] = max(peaks[name], _peak(setup.noise.device))
            difference = float((result - expected).abs().max())
            assert difference <= CLOSE[setup.model.vae2llm.weight.dtype], (name, difference)
    return {
        name: {
            "seconds_per_image": median(seconds[name]),
            "gflop_per_image": _flops(method, setup) / setup.rows / 1e9,
            "peak_mib": peaks[name] / MEBI,
        }
        for name, method in METHODS.items()
    }


def _flops(method: Callable[[Setup], Tensor], setup: Setup) -> int:
    # Torch's table has no kernel for CPUs, and refuses grouped queries for the others.
    kernels = ("flash_attention_for_cpu", "flash_attention", "efficient_attention")
    mapping = {
        getattr(torch.ops.aten, f"_scaled_dot_product_{kernel}"): _attention_flops
        for kernel in (*kernels, "cudnn_attention")
    }
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        method(setup)
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
    """Stored keys and values of one row, all three branches."""
    contexts = read(setup.row(0))
    stacked = stack([contexts.full, contexts.text_free, contexts.image_free])
    return sum(one.nbytes for one in (*stacked.keys, *stacked.values)) / MEBI


def main() -> None:
    """Print the setting, one line for each method, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pixels", type=int, help="on a side, instead of the size's default")
    options = parser.parse_args()
    dtype = torch.bfloat16 if options.large else torch.float32
    config, pixels, points = large() if options.large else small()
    size = (config, options.pixels or pixels, points)
    setup = make_setup(size, options.rows, device=torch.device(options.device), dtype=dtype)
    print_row(
        device=_name(options.device), threads=torch.get_num_threads(), dtype=str(dtype),
        parameters=sum(one.numel() for one in setup.model.parameters()), pixels=size[1],
        steps=setup.points - 1, rows=setup.rows, context_mib_per_row=round(context_mib(setup), 2),
    )  # fmt: skip
    result = measure_sampling(setup, options.repeats)
    for name, metrics in result.items():
        rate = metrics["gflop_per_image"] / metrics["seconds_per_image"] / 1e3
        print_row(
            way=name,
            **{k: round(v, 4) for k, v in metrics.items()},
            tflop_per_second=round(rate, 4),
        )
    base = result.pop("batched")
    for name, metrics in result.items():
        print_row(
            batched_against=name,
            times_faster=round(metrics["seconds_per_image"] / base["seconds_per_image"], 2),
            share_of_flops=round(base["gflop_per_image"] / metrics["gflop_per_image"], 3),
        )


def _name(device: str) -> str:
    return torch.cuda.get_device_name() if device.startswith("cuda") else device


def print_row(**metrics: object) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(metrics) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
