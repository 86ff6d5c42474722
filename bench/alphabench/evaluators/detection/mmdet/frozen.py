"""A tiny Mask2Former in mmdet's terms whose numbers follow from its tensors' names alone.

The same weights and images on every machine, with every release of numpy. Runs in
mmdet's own environment too (`tools/reference/mmdet_reference.py`): imports numpy and nothing of
ours.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

import numpy as np

# Old environments run this file: nothing newer than Python 3.8 in it.
if TYPE_CHECKING:
    from numpy.typing import NDArray

GAINS = (
    (r"panoptic_head\.cls_embed\.weight", 4.0),
    (r"panoptic_head\.mask_embed\.4\.weight", 6.0),
    (r"panoptic_head\.query_(feat|embed)\.weight", 4.0),
    (r"panoptic_head\.transformer_decoder\..*(out_proj|ffn\.layers\.1)\.weight", 0.12),
    (r".*\.(w_msa\.proj|output_proj|ffn\.layers\.1)\.weight", 0.3),
)
"""Patterns of names, and the factor of the usual deviation 1 / sqrt(inputs); the first one counts.

The last two keep places and queries apart, which random attention would otherwise make alike.
"""
NO_OBJECT = 6.0
"""Added to the logit of no-object, so that most queries find nothing, as trained ones do."""
OUTSIDE = 4.0
"""Taken from all mask logits, so that masks are parts of an image."""
SCALE = (160, 96)
"""Long and short side, in place of 1333 and 800."""
SIZES = ((48, 64), (96, 96), (77, 31), (21, 90), (192, 192), (64, 107))
"""Height and width: with and without padding, both orientations, exactly twice the input."""


def random_tensor(name: str, shape: tuple[int, ...], *, seed: int = 0) -> NDArray[np.float32]:
    """Numbers that depend on the seed, the name under mmdet 3.x and the shape alone."""
    # RandomState's stream is frozen by numpy's promise; a Generator's is not.
    draw = np.random.RandomState(zlib.crc32(f"{seed}:{name}".encode()) % 2**32)
    values = draw.standard_normal(shape)
    gain = next((g for pattern, g in GAINS if re.fullmatch(pattern, name)), 1.0)
    if name.startswith("panoptic_head.query"):
        values *= gain / 4
    elif len(shape) > 1:
        is_table = name.endswith(("relative_position_bias_table", "level_embed.weight"))
        values *= 0.5 if is_table else gain / np.sqrt(np.prod(shape[1:]))
    elif name.endswith(".weight"):  # a norm's
        values = 1 + 0.2 * values
    else:
        values = _bias(name, 0.1 * values)
    return values.astype(np.float32)


def _bias(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a layer or norm, where some have a part to play."""
    if name.endswith("sampling_offsets.bias"):
        return 10 * values
    if name == "panoptic_head.cls_embed.bias":
        values[-1] += NO_OBJECT
    if name == "panoptic_head.pixel_decoder.mask_feature.bias":
        values += 1.0
    if name == "panoptic_head.mask_embed.4.bias":
        values -= OUTSIDE / len(values)
    return values


def name_of_3(name: str) -> str:
    """The name that mmdet 3.x has for a tensor of 2.x."""
    for part, now in (
        (".ffns.0.", ".ffn."),
        (".attentions.1.", ".self_attn."),
        (".attentions.0.", ".self_attn." if "pixel_decoder" in name else ".cross_attn."),
    ):
        if name.startswith("panoptic_head."):
            name = name.replace(part, now)
    return name


def frozen_image(index: int) -> NDArray[np.uint8]:
    """A small RGB image, from numpy's frozen stream alone."""
    height, width = SIZES[index]
    coarse = np.random.RandomState(index).randint(0, 200, (5, 6, 3))
    blocks = np.kron(coarse, np.ones((-(-height // 5), -(-width // 6), 1), dtype=int))
    ramp = np.arange(width)[None, :, None] * 55 // width
    return (blocks[:height, :width] + ramp).astype(np.uint8)
