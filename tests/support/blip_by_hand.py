"""ImageReward written out in float64 from BLIP's and BERT's papers, with tiny random tensors.

An oracle: shares no code with transformers or with the project. Tensors have the names of the
published file. Shapes: L tokens, P image tokens, W width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tests.support.clip_by_hand import MEAN, STD

Array = NDArray[np.float64]
HEAD = 64
WIDTH, SIDE, PATCH, VOCABULARY = 128, 32, 16, 40


def tiny_tensors() -> dict[str, torch.Tensor]:
    """One layer of each tower, two heads; the text encoder is narrower than the vision tower."""
    chance = torch.Generator().manual_seed(11)
    found: dict[str, torch.Tensor] = {}

    def add(name: str, *shape: int) -> None:
        spread = 0.3 / math.sqrt(shape[-1]) if len(shape) == 2 else 0.2
        found[name] = torch.randn(*shape, generator=chance) * spread * 4

    def linear(name: str, n_in: int, n_out: int) -> None:
        add(f"{name}.weight", n_out, n_in)
        add(f"{name}.bias", n_out)

    def norm(name: str, width: int) -> None:
        add(f"{name}.weight", width)
        add(f"{name}.bias", width)

    vision = "blip.visual_encoder"
    add(f"{vision}.cls_token", 1, 1, WIDTH)
    add(f"{vision}.pos_embed", 1, 1 + (SIDE // PATCH) ** 2, WIDTH)
    add(f"{vision}.patch_embed.proj.weight", WIDTH, 3, PATCH, PATCH)
    add(f"{vision}.patch_embed.proj.bias", WIDTH)
    norm(f"{vision}.norm", WIDTH)
    for part in ("norm1", "norm2"):
        norm(f"{vision}.blocks.0.{part}", WIDTH)
    linear(f"{vision}.blocks.0.attn.qkv", WIDTH, 3 * WIDTH)
    linear(f"{vision}.blocks.0.attn.proj", WIDTH, WIDTH)
    linear(f"{vision}.blocks.0.mlp.fc1", WIDTH, 96)
    linear(f"{vision}.blocks.0.mlp.fc2", 96, WIDTH)
    text, layer = "blip.text_encoder", "blip.text_encoder.encoder.layer.0"
    add(f"{text}.embeddings.word_embeddings.weight", VOCABULARY, HEAD)
    add(f"{text}.embeddings.position_embeddings.weight", 50, HEAD)
    norm(f"{text}.embeddings.LayerNorm", HEAD)
    for part, width in (("attention", HEAD), ("crossattention", WIDTH)):
        linear(f"{layer}.{part}.self.query", HEAD, HEAD)
        linear(f"{layer}.{part}.self.key", width, HEAD)
        linear(f"{layer}.{part}.self.value", width, HEAD)
        linear(f"{layer}.{part}.output.dense", HEAD, HEAD)
        norm(f"{layer}.{part}.output.LayerNorm", HEAD)
    linear(f"{layer}.intermediate.dense", HEAD, 80)
    linear(f"{layer}.output.dense", 80, HEAD)
    norm(f"{layer}.output.LayerNorm", HEAD)
    linear("blip.vision_proj", WIDTH, 8)
    linear("blip.text_proj", HEAD, 8)
    for index, (n_in, n_out) in {0: (HEAD, 12), 2: (12, 6), 4: (6, 1)}.items():
        linear(f"mlp.layers.{index}", n_in, n_out)
    return found


def image_reward(weights: Mapping[str, Array], pixels_SS3: Array, tokens: Sequence[int]) -> float:
    """Of one image with values 0 to 1 and one text without padding."""
    seen_PW = _image_tokens(weights, pixels_SS3)
    text, layer = "blip.text_encoder", "blip.text_encoder.encoder.layer.0"
    x_LW = weights[f"{text}.embeddings.word_embeddings.weight"][list(tokens)]
    x_LW = x_LW + weights[f"{text}.embeddings.position_embeddings.weight"][: len(tokens)]
    x_LW = _norm(weights, f"{text}.embeddings.LayerNorm", x_LW, 1e-12)
    for part, context in (("attention", None), ("crossattention", seen_PW)):
        own = x_LW if context is None else context
        q = _linear(weights, f"{layer}.{part}.self.query", x_LW)
        k, v = (_linear(weights, f"{layer}.{part}.self.{one}", own) for one in ("key", "value"))
        mixed = _linear(weights, f"{layer}.{part}.output.dense", _attention(q, k, v))
        x_LW = _norm(weights, f"{layer}.{part}.output.LayerNorm", x_LW + mixed, 1e-12)
    inner = _gelu(_linear(weights, f"{layer}.intermediate.dense", x_LW))
    x_LW = _norm(
        weights,
        f"{layer}.output.LayerNorm",
        x_LW + _linear(weights, f"{layer}.output.dense", inner),
        1e-12,
    )
    x = x_LW[0]
    for index in (0, 2, 4):
        x = _linear(weights, f"mlp.layers.{index}", x)
    return (float(x[0]) - 0.16717362830052426) / 1.0333394966054072


def _image_tokens(weights: Mapping[str, Array], pixels_SS3: Array) -> Array:
    vision, block = "blip.visual_encoder", "blip.visual_encoder.blocks.0"
    kernel = weights[f"{vision}.patch_embed.proj.weight"]
    normal = (pixels_SS3 - np.array(MEAN)) / np.array(STD)
    patches = [
        np.einsum("hwc,ochw->o", normal[top : top + PATCH, left : left + PATCH], kernel)
        for top in range(0, SIDE, PATCH)
        for left in range(0, SIDE, PATCH)
    ]
    x = np.stack(patches) + weights[f"{vision}.patch_embed.proj.bias"]
    x = np.concatenate([weights[f"{vision}.cls_token"][0], x]) + weights[f"{vision}.pos_embed"][0]
    stacked = _linear(weights, f"{block}.attn.qkv", _norm(weights, f"{block}.norm1", x, 1e-6))
    q, k, v = np.split(stacked, 3, axis=-1)
    x = x + _linear(weights, f"{block}.attn.proj", _attention(q, k, v))
    h = _gelu(_linear(weights, f"{block}.mlp.fc1", _norm(weights, f"{block}.norm2", x, 1e-6)))
    return _norm(weights, f"{vision}.norm", x + _linear(weights, f"{block}.mlp.fc2", h), 1e-6)


def _attention(q: Array, k: Array, v: Array) -> Array:
    heads = []
    for start in range(0, q.shape[-1], HEAD):
        part = slice(start, start + HEAD)
        scores = q[:, part] @ k[:, part].T / math.sqrt(HEAD)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        heads.append(shares / shares.sum(axis=-1, keepdims=True) @ v[:, part])
    return np.concatenate(heads, axis=-1)


def _gelu(x: Array) -> Array:
    exact: Array = x * 0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))
    return exact


def _linear(weights: Mapping[str, Array], name: str, x: Array) -> Array:
    mapped: Array = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return mapped


def _norm(weights: Mapping[str, Array], name: str, x: Array, epsilon: float) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    normal: Array = centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return normal
