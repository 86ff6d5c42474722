"""Counts what models of full size take, without their weights and without a GPU.

    python tools/perf/full_size.py                 all tables, some ten minutes on one core
    python tools/perf/full_size.py generation      BAGEL-7B generates
    python tools/perf/full_size.py training        one update of BAGEL-7B
    python tools/perf/full_size.py pipelines       SD3.5 medium, FLUX.1 and Qwen-Image generate

The project's own code runs on tensors that have shapes and no values (`alphabench.tracing`), and
every operator is counted. The tables are the same on every machine with the same versions of torch,
peft and diffusers. The bound is the time of one H100 at its peak: what kernels, waits and messages
between devices take comes on top. Writes markdown to the terminal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Final

import torch

from alphabench.models.bagel.config import BAGEL_7B
from alphabench.models.bagel.generation_trace import (
    KV_CACHE,
    WEIGHTS,
    GenerationLoad,
    trace_generation,
)
from alphabench.models.bagel.sampling_config import BagelSampling
from alphabench.tracing.bounds import least_seconds
from alphabench.tracing.extrapolation import repeated_phase
from alphabench.tracing.ledger import LOGITS, TEMPORARY, PhaseCounts
from alphabench.tracing.shapes_only import shapes_only, without_values
from alphabench.weights.memory import GIB
from alphagrpo.policies.bagel_training_trace import (
    ADAPTERS,
    COPIES,
    GRADIENTS,
    OPTIMISER,
    TrainingLoad,
    trace_update,
)
from alphagrpo.policies.factory import guidance
from alphagrpo.recipe import TrainingRecipe, load_recipe
from alphatrainers.settings import TrainingSettings

THOUGHT: Final = 400
"""Tokens of a thought in the table of generation."""
PIPELINES: Final[Mapping[str, Mapping[str, Any]]] = {
    "SD3.5 medium": {
        "class": "SD3Transformer2DModel",
        "transformer": {
            "sample_size": 128, "patch_size": 2, "in_channels": 16, "num_layers": 24,
            "attention_head_dim": 64, "num_attention_heads": 24, "joint_attention_dim": 4096,
            "caption_projection_dim": 1536, "pooled_projection_dim": 2048, "out_channels": 16,
            "pos_embed_max_size": 384, "dual_attention_layers": tuple(range(13)),
            "qk_norm": "rms_norm",
        },
        "steps": 40, "text_tokens": 333, "text_width": 4096, "passes": 2,
    },
    "FLUX.1 dev": {
        "class": "FluxTransformer2DModel",
        "transformer": {
            "patch_size": 1, "in_channels": 64, "num_layers": 19, "num_single_layers": 38,
            "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 4096,
            "pooled_projection_dim": 768, "guidance_embeds": True,
        },
        "steps": 50, "text_tokens": 512, "text_width": 4096, "passes": 1,
    },
    "Qwen-Image": {
        "class": "QwenImageTransformer2DModel",
        "transformer": {
            "patch_size": 2, "in_channels": 64, "out_channels": 16, "num_layers": 60,
            "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 3584,
            "axes_dims_rope": (16, 56, 56),
        },
        "steps": 50, "text_tokens": 60, "text_width": 3584, "passes": 2,
    },
}  # fmt: skip
"""The published configurations of the transformers, and how the models are usually sampled: steps,
tokens of the prompt, and passes a step (2 with guidance by a negative prompt)."""


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return "\n".join([_row(head), _row(["---"] + ["--:"] * (len(head) - 1)), *map(_row, rows)])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _gib(counts: PhaseCounts, *categories: str) -> str:
    return f"{sum(counts.peak.get(name, 0.0) for name in categories) / GIB:.1f}"


def _sums(counts: PhaseCounts) -> list[str]:
    return [
        _number(counts.flops / 1e12),
        _number(counts.bytes_moved / 1e9),
        f"{least_seconds(counts):.3g}",
    ]


def _generation() -> str:
    rows = []
    for side in (512, 1024):
        found = trace_generation(
            BAGEL_7B,
            BagelSampling(width=side, height=side),
            GenerationLoad(thought_tokens=THOUGHT),
            dtype=torch.bfloat16,
        )
        for name, counts in found.items():
            peak = [f"{counts.peak_bytes / GIB:.1f}"]
            peak += [_gib(counts, one) for one in (WEIGHTS, KV_CACHE)]
            peak.append(_gib(counts, TEMPORARY, LOGITS))
            rows.append([f"{side} px, {name}", *_sums(counts), *peak])
    head = ["phase", "TFLOP", "GB moved", "H100, s at least", "peak GiB", "weights", "KV cache",
            "activations"]  # fmt: skip
    return _table(head, rows)


def _training() -> str:
    recipe, rows = load_recipe("bagel-rt2i"), []
    full = replace(recipe.training, lora=None)
    for training, dtype, fleet in (
        (recipe.training, torch.bfloat16, (1,)),
        (full, torch.float32, (1, 8, 64)),
        (replace(full, compute="bfloat16"), torch.float32, (1, 8, 64)),
    ):
        for side, recompute, processes in product((512, 1024), (False, True), fleet):
            settings = replace(
                training,
                recompute=recompute,
                parallel="shard" if processes > 1 else "replicate",
            )
            load = _load(recipe, side)
            found = trace_update(BAGEL_7B, settings, load, dtype=dtype, processes=processes)
            rows.append([_name(settings, processes, side), *_update(found)])
            print(_row(rows[-1]), file=sys.stderr, flush=True)
    head = ["update", "TFLOP", "GB moved", "H100, s at least", "peak GiB", "weights",
            "adapters", "gradients", "optimiser", "KV cache", "logits", "activations"]  # fmt: skip
    return _table(head, rows)


def _name(settings: TrainingSettings, processes: int, side: int) -> str:
    what = "LoRA" if settings.lora else f"full, {processes}"
    note = "recomputed" if settings.recompute else "stored"
    compute = "" if settings.compute == "float32" else f", `compute={settings.compute}`"
    return f"{what}, {side} px, {note}{compute}"


def _load(recipe: TrainingRecipe, side: int) -> TrainingLoad:
    draw = recipe.task.draw
    return TrainingLoad(
        width=side,
        height=side,
        sigmas=draw.sigmas(),
        window=range(draw.window.size),
        guidance=guidance(draw.guidance),
        thought_tokens=recipe.task.thought.max_tokens,
        top_p=recipe.task.thought.top_p,
    )


def _update(found: Mapping[str, PhaseCounts]) -> list[str]:
    highest = max(found.values(), key=lambda counts: counts.peak_bytes)
    flops = sum(counts.flops for counts in found.values())
    moved = sum(counts.bytes_moved for counts in found.values())
    bound = sum(map(least_seconds, found.values()))
    peak = [f"{highest.peak_bytes / GIB:.1f}", _gib(highest, WEIGHTS, COPIES)]
    peak += [_gib(highest, one) for one in (ADAPTERS, GRADIENTS, OPTIMISER, KV_CACHE, LOGITS)]
    return [
        _number(flops / 1e12),
        _number(moved / 1e9),
        f"{bound:.3g}",
        *peak,
        _gib(highest, TEMPORARY),
    ]


def _pipelines() -> str:
    rows = []
    for name, plan in PIPELINES.items():
        for side in (512, 1024):
            step, weights = _step(plan, side)
            denoising = repeated_phase(step, plan["steps"])
            rows.append(
                [f"{name}, {side} px", *_sums(denoising), f"{step.peak_bytes / GIB:.1f}",
                 f"{weights / GIB:.1f}", _gib(step, TEMPORARY)]
            )  # fmt: skip
    head = ["transformer", "TFLOP", "GB moved", "H100, s at least", "peak GiB", "weights",
            "activations"]  # fmt: skip
    return _table(head, rows)


@torch.no_grad()
def _step(plan: Mapping[str, Any], side: int) -> tuple[PhaseCounts, int]:
    """One denoising step of one image, and the bytes of the weights."""
    import diffusers

    found: dict[str, PhaseCounts] = {}
    with shapes_only() as ledger:
        model: Any = getattr(diffusers, plan["class"])(**plan["transformer"])
        without_values(model, torch.bfloat16)
        ledger.book(WEIGHTS, [*model.parameters(), *model.buffers()])
        weights = ledger.alive[WEIGHTS]
        inputs = _inputs(plan, side)
        with ledger.phase(found, "step"):
            model(**inputs, return_dict=False)
    return found["step"], weights


def _inputs(plan: Mapping[str, Any], side: int) -> dict[str, Any]:
    """What the pipelines of diffusers give the transformer at one step."""
    passes, words, cells = plan["passes"], plan["text_tokens"], side // 8
    half = torch.bfloat16
    text = torch.empty(passes, words, plan["text_width"], dtype=half)
    time = torch.empty(passes, dtype=half)
    given: dict[str, Any] = {"encoder_hidden_states": text, "timestep": time}
    tokens = (cells // 2) ** 2
    if plan["class"] == "SD3Transformer2DModel":
        pooled = torch.empty(passes, 2048, dtype=half)
        image = torch.empty(passes, 16, cells, cells, dtype=half)
        return {**given, "hidden_states": image, "pooled_projections": pooled}
    image = torch.empty(passes, tokens, 64, dtype=half)
    if plan["class"] == "FluxTransformer2DModel":
        return {
            **given,
            "hidden_states": image,
            "pooled_projections": torch.empty(passes, 768, dtype=half),
            "guidance": torch.empty(passes),
            "img_ids": torch.zeros(tokens, 3),
            "txt_ids": torch.zeros(words, 3),
        }
    shape = [(1, cells // 2, cells // 2)]
    return {
        **given,
        "hidden_states": image,
        "img_shapes": [shape] * passes,
        "encoder_hidden_states_mask": torch.ones(passes, words, dtype=torch.bool),
    }


TABLES: Final = {"generation": _generation, "training": _training, "pipelines": _pipelines}


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], default=list(TABLES))
    for name in parser.parse_args().tables:
        print(f"## {name}\n\n{TABLES[name]()}\n", flush=True)


if __name__ == "__main__":
    main()
