"""How much memory the judges of docs/judge_servers.md take, counted from their architectures.

    python -m tools.perf.judge_memory

Makes each model without memory (torch's meta device) in transformers' own classes and counts its
weights, then what a token and a conversation keep. Sizes are those of the models' published
`config.json`; AWQ stores a weight in 4 bits and, for each group of 128, a scale in 16 and a zero in
4. Prints the tables of that page; nothing is measured on a GPU.
"""

from __future__ import annotations

import argparse
import importlib
import math
from dataclasses import dataclass
from typing import Any

import torch

GIB = 2**30
AWQ_BITS = 4 + (16 + 4) / 128
MARGIN_GIB = 4.0
"""For activations, CUDA graphs and the context of each GPU; our guess, not a measurement."""
SHARE = 0.9
"""vLLM's default --gpu-memory-utilization."""
CARDS = ((24, 1), (24, 2), (48, 1), (48, 2), (80, 1), (80, 2), (80, 4), (141, 1))
"""GB and number; 1 GB is taken as 0.93 GiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """A model, and what it keeps for a conversation."""

    name: str
    config: Any
    model_class: str
    attention_layers: int
    """That keep keys and values."""
    kv_heads: int
    head_size: int
    pixels_per_token: int
    """Side of the square of pixels that becomes one token."""
    awq: bool = False
    state_bytes: int = 0
    """Of linear attention, for each conversation, whatever its length."""

    @property
    def token_bytes(self) -> int:
        return 2 * self.attention_layers * self.kv_heads * self.head_size * 2

    def image_tokens(self, side: int) -> int:
        return round(side / self.pixels_per_token) ** 2


_ROPE = {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6}


def judges() -> list[_Judge]:
    """All models of the page, with the sizes of their published configurations."""
    return [
        _qwen2_5_vl(
            "Qwen2.5-VL-7B-Instruct", hidden=3584, inner=18944, layers=28, heads=28, kv_heads=4
        ),
        _qwen2_5_vl(
            "Qwen2.5-VL-72B-Instruct", hidden=8192, inner=29568, layers=80, heads=64, kv_heads=8
        ),
        _qwen2_5_vl(
            "Qwen2.5-VL-72B-Instruct-AWQ", hidden=8192, inner=29696, layers=80, heads=64,
            kv_heads=8, awq=True,
        ),
        _qwen3_vl("Qwen3-VL-8B-Instruct", hidden=4096, inner=12288, layers=36, heads=32),
        _qwen3_vl("Qwen3-VL-32B-Instruct", hidden=5120, inner=25600, layers=64, heads=64),
        _mixture(),
        _qwen3_5("Qwen3.5-9B", "Qwen3_5", out_hidden=4096),
        _qwen3_5("Qwen3.5-35B-A3B", "Qwen3_5Moe", out_hidden=2048),
    ]  # fmt: skip


def _library() -> Any:
    return importlib.import_module("transformers")


def _qwen2_5_vl(
    name: str, *, hidden: int, inner: int, layers: int, heads: int, kv_heads: int, awq: bool = False
) -> _Judge:
    config = _library().Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 152064, "hidden_size": hidden, "intermediate_size": inner,
            "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "rope_parameters": _ROPE,
        },
        vision_config={
            "hidden_size": 1280, "intermediate_size": 3456 if awq else 3420,
            "out_hidden_size": hidden,
        },
        tie_word_embeddings=False,
    )  # fmt: skip
    return _Judge(
        name=name, config=config, model_class="Qwen2_5_VLForConditionalGeneration",
        attention_layers=layers, kv_heads=kv_heads, head_size=128, pixels_per_token=28, awq=awq,
    )  # fmt: skip


def _qwen3_vl(name: str, *, hidden: int, inner: int, layers: int, heads: int) -> _Judge:
    config = _library().Qwen3VLConfig(
        text_config={
            "vocab_size": 151936, "hidden_size": hidden, "intermediate_size": inner,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": 8,
            "head_dim": 128,
        },
        vision_config={"out_hidden_size": hidden, "deepstack_visual_indexes": [8, 16, 24]},
        tie_word_embeddings=False,
    )  # fmt: skip
    return _Judge(
        name=name, config=config, model_class="Qwen3VLForConditionalGeneration",
        attention_layers=layers, kv_heads=8, head_size=128, pixels_per_token=32,
    )  # fmt: skip


def _mixture() -> _Judge:
    config = _library().Qwen3VLMoeConfig(
        text_config={
            "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144,
            "moe_intermediate_size": 768, "num_hidden_layers": 48, "num_attention_heads": 32,
            "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128,
            "num_experts_per_tok": 8,
        },
        vision_config={"out_hidden_size": 2048, "deepstack_visual_indexes": [8, 16, 24]},
        tie_word_embeddings=False,
    )  # fmt: skip
    return _Judge(
        name="Qwen3-VL-30B-A3B-Instruct", config=config,
        model_class="Qwen3VLMoeForConditionalGeneration",
        attention_layers=48, kv_heads=4, head_size=128, pixels_per_token=32,
    )  # fmt: skip


def _qwen3_5(name: str, family: str, *, out_hidden: int) -> _Judge:
    """Both have the sizes that are the defaults of transformers' configuration."""
    config = getattr(_library(), f"{family}Config")(
        vision_config={"out_hidden_size": out_hidden}, tie_word_embeddings=False
    )
    words = config.text_config
    linear = sum(kind == "linear_attention" for kind in words.layer_types)
    return _Judge(
        name=name, config=config, model_class=f"{family}ForConditionalGeneration",
        attention_layers=words.num_hidden_layers - linear,
        kv_heads=words.num_key_value_heads, head_size=words.head_dim, pixels_per_token=32,
        state_bytes=linear * state_bytes(words),
    )  # fmt: skip


def state_bytes(words: Any) -> int:
    """One layer of gated delta rule: its matrices in float32, the convolution's past in 16 bits."""
    key = words.linear_num_key_heads * words.linear_key_head_dim
    value = words.linear_num_value_heads * words.linear_value_head_dim
    matrices = (
        words.linear_num_value_heads * words.linear_key_head_dim * words.linear_value_head_dim
    )
    past = (2 * key + value) * (words.linear_conv_kernel_dim - 1)
    return int(4 * matrices + 2 * past)


def weights(judge: _Judge) -> tuple[int, float]:
    """Number of weights, and their bytes."""
    library: Any = importlib.import_module("transformers")
    with torch.device("meta"):
        model = getattr(library, judge.model_class)(judge.config)
    count, quantised = 0, 0
    for name, one in model.named_parameters():
        count += one.numel()
        inside = "visual" not in name and "lm_head" not in name and "embed" not in name
        if judge.awq and inside and one.ndim == 2:
            quantised += one.numel()
    return count, quantised * AWQ_BITS / 8 + (count - quantised) * 2


def main() -> None:
    """Print the tables."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    found = [(judge, *weights(judge)) for judge in judges()]
    print(
        "| model | weights | GiB | KV cache per 1,000 tokens | state per conversation | "
        "tokens of a 1024 x 1024 image |"
    )
    print("|---|---|---|---|---|---|")
    for judge, count, size in found:
        print(
            f"| {judge.name} | {count / 1e9:.1f} billion | {size / GIB:.1f} | "
            f"{judge.token_bytes * 1000 / 2**20:.0f} MiB | {judge.state_bytes / 2**20:.0f} MiB | "
            f"{judge.image_tokens(1024):,} |"
        )
    print()
    print("| model | " + " | ".join(f"{number} x {size_gb} GB" for size_gb, number in CARDS) + " |")
    print("|---|" + "---|" * len(CARDS))
    for judge, _, size in found:
        cells = [_questions(judge, size, size_gb, number) for size_gb, number in CARDS]
        print(f"| {judge.name} | " + " | ".join(cells) + " |")


def _questions(judge: _Judge, size: float, card_gb: int, number: int) -> str:
    """How many questions with one 1024 x 1024 image fit at once."""
    room = number * (card_gb * 1e9 * SHARE - MARGIN_GIB * GIB) - size
    tokens = judge.image_tokens(1024) + 200
    each = tokens * judge.token_bytes + judge.state_bytes
    fit = math.floor(room / each)
    return f"{fit:,}" if fit > 0 else "too small"


if __name__ == "__main__":
    main()
