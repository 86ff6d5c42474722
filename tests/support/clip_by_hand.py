"""CLIP's forward pass written out in float64 from its papers: an oracle for metrics on a CLIP.

Shares no code with transformers or with the project: tensors come in by name, embeddings go out.
Shapes: L tokens, W width, H heads, D embedding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def image_embedding(weights: Mapping[str, Array], pixels_SS3: Array, *, heads: int) -> Array:
    """Of one image with values 0 to 1, whose side is that of the input."""
    kernel = weights["vision_model.embeddings.patch_embedding.weight"]
    side, patch = pixels_SS3.shape[0], kernel.shape[-1]
    normal = (pixels_SS3 - np.array(MEAN)) / np.array(STD)
    patches = [
        np.einsum("hwc,ochw->o", normal[top : top + patch, left : left + patch], kernel)
        for top in range(0, side - patch + 1, patch)
        for left in range(0, side - patch + 1, patch)
    ]
    x_LW = np.stack([weights["vision_model.embeddings.class_embedding"], *patches])
    x_LW = x_LW + weights["vision_model.embeddings.position_embedding.weight"]
    x_LW = _norm(weights, "vision_model.pre_layrnorm", x_LW)
    x_LW = _layers(weights, "vision_model", x_LW, heads=heads, causal=False)
    pooled = _norm(weights, "vision_model.post_layernorm", x_LW[:1])[0]
    embedding: Array = weights["visual_projection.weight"] @ pooled
    return embedding


def text_embedding(weights: Mapping[str, Array], tokens: Sequence[int], *, heads: int) -> Array:
    """Of one text, whose last token is the end of the text."""
    x_LW = weights["text_model.embeddings.token_embedding.weight"][list(tokens)]
    x_LW = x_LW + weights["text_model.embeddings.position_embedding.weight"][: len(tokens)]
    x_LW = _layers(weights, "text_model", x_LW, heads=heads, causal=True)
    pooled = _norm(weights, "text_model.final_layer_norm", x_LW)[-1]
    embedding: Array = weights["text_projection.weight"] @ pooled
    return embedding


def cosine_of(one: Array, other: Array) -> float:
    return float(one @ other / math.sqrt((one @ one) * (other @ other)))


def _layers(
    weights: Mapping[str, Array], tower: str, x_LW: Array, *, heads: int, causal: bool
) -> Array:
    layer = 0
    while f"{tower}.encoder.layers.{layer}.layer_norm1.weight" in weights:
        name = f"{tower}.encoder.layers.{layer}"
        x_LW = x_LW + _attention(
            weights, name, _norm(weights, f"{name}.layer_norm1", x_LW), heads=heads, causal=causal
        )
        h = _linear(weights, f"{name}.mlp.fc1", _norm(weights, f"{name}.layer_norm2", x_LW))
        x_LW = x_LW + _linear(weights, f"{name}.mlp.fc2", h / (1.0 + np.exp(-1.702 * h)))
        layer += 1
    return x_LW


def _attention(
    weights: Mapping[str, Array], name: str, x_LW: Array, *, heads: int, causal: bool
) -> Array:
    length, width = x_LW.shape
    q, k, v = (
        _linear(weights, f"{name}.self_attn.{part}_proj", x_LW).reshape(length, heads, -1)
        for part in "qkv"
    )
    scores_HLL = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(width / heads)
    if causal:
        scores_HLL = np.where(np.tri(length, dtype=bool), scores_HLL, -np.inf)
    shares_HLL = np.exp(scores_HLL - scores_HLL.max(axis=-1, keepdims=True))
    shares_HLL /= shares_HLL.sum(axis=-1, keepdims=True)
    mixed = np.einsum("hqk,khd->qhd", shares_HLL, v).reshape(length, width)
    return _linear(weights, f"{name}.self_attn.out_proj", mixed)


def _linear(weights: Mapping[str, Array], name: str, x: Array) -> Array:
    mapped: Array = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return mapped


def _norm(weights: Mapping[str, Array], name: str, x: Array) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    normal: Array = centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return normal
