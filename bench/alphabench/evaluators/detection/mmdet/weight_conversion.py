"""Reads a Mask2Former of mmdet (2.x or 3.x, Swin backbone) as weights for transformers' model.

Promises that every tensor is accounted for: one without a place and a place without a tensor are
refused by name, where mmdet itself only warns. Needs no mmdet: torch's restricted reader opens the
pickle, and what it may build beyond tensors is listed in `_ALLOWED`. Knows no image and no prompt.

The names that come out are those of the checkpoints on the hub, which every version of transformers
must keep reading. Two layers differ by more than their names: a Swin block of mmdet keeps queries,
keys and values in one matrix, and its patch merging unfolds channel by channel where Swin's authors
concatenate four neighbours.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import torch
from torch import Tensor

from alphabench.core.errors import AlphaBenchError

HEADS: Final = 8
"""Attention heads of pixel and transformer decoder; no tensor's shape implies it."""
LEVELS: Final = 3
POINTS: Final = 4
"""Sampling points of the deformable attention at each level."""

_HINT: Final = (
    "take the file that OpenMMLab published for mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco"
)


class _Unwanted:
    """Stands for whatever a training run recorded beside the weights; built from nothing."""

    def __new__(cls, *_: object) -> _Unwanted:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Discards everything."""


_ALLOWED: Final = tuple(
    (_Unwanted, name)
    for name in (
        "mmengine.logging.history_buffer.HistoryBuffer",
        "builtins.getattr",
        "numpy.ndarray",
        "numpy.dtype",
        *(
            f"numpy.{c}.multiarray.{n}"
            for c in ("core", "_core")
            for n in ("scalar", "_reconstruct")
        ),
    )
)
"""What mmdet 3.x keeps beside the weights: losses over time, as arrays and methods. None of these
names is looked up; a stand-in without content takes the place of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MmdetCheckpoint:
    """What a file of mmdet holds, under the names of mmdet 3.x."""

    tensors: Mapping[str, Tensor]
    classes: tuple[str, ...] | None
    """Label names; None where the file has none."""
    generation: int
    """2 or 3: whose names the file used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The sizes of a Mask2Former with a Swin backbone."""

    patch: int
    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    mlp_ratio: float
    features: int
    mask_features: int
    encoder_layers: int
    encoder_widening: int
    decoder_layers: int
    decoder_widening: int
    queries: int
    classes: int


def read_checkpoint(path: Path) -> MmdetCheckpoint:
    """The tensors of a file, unchanged, under mmdet 3.x's names.

    Raises:
        AlphaBenchError: not there, no checkpoint, or a pickle that would build other objects.
    """
    try:
        with torch.serialization.safe_globals(list(_ALLOWED)):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        _refuse(path, str(error), error)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it would build {named[1]!r}, which no weights need" if named else str(error)
        _refuse(path, what, error)
    if not isinstance(content, dict):
        _refuse(path, f"it holds a {type(content).__name__}")
    state = content.get("state_dict", content)
    if not isinstance(state, dict) or not all(isinstance(one, Tensor) for one in state.values()):
        _refuse(path, "it has no 'state_dict' of tensors")
    plain = {re.sub(r"^module\.", "", str(name)): tensor for name, tensor in state.items()}
    tensors = {_name_of_3(name): tensor for name, tensor in plain.items()}
    meta = content.get("meta")
    return MmdetCheckpoint(
        tensors=tensors,
        classes=_classes(meta if isinstance(meta, dict) else {}),
        generation=2 if any(".ffns." in name for name in plain) else 3,
    )


def architecture_of(tensors: Mapping[str, Tensor]) -> Architecture:
    """The sizes, read off the shapes.

    Raises:
        AlphaBenchError: a tensor that implies a size is missing.
    """

    def shape(name: str) -> tuple[int, ...]:
        if name not in tensors:
            raise AlphaBenchError(f"the checkpoint has no tensor {name!r}", hint=_HINT)
        return tuple(tensors[name].shape)

    def count(pattern: str) -> int:
        found = (re.match(pattern, name) for name in tensors)
        return 1 + max((int(one[1]) for one in found if one), default=-1)

    depths = tuple(
        count(rf"backbone\.stages\.{stage}\.blocks\.(\d+)\.")
        for stage in range(count(r"backbone\.stages\.(\d+)\."))
    )
    tables = [
        shape(f"{_block(stage, 0)}.attn.w_msa.relative_position_bias_table")
        for stage in range(len(depths))
    ]
    width, _, patch, _ = shape("backbone.patch_embed.projection.weight")
    mask_features, features, _, _ = shape(f"{_PIXEL}.mask_feature.weight")
    return Architecture(
        patch=patch,
        width=width,
        depths=depths,
        heads=tuple(table[1] for table in tables),
        window=(math.isqrt(tables[0][0]) + 1) // 2 if tables else 0,
        mlp_ratio=shape(f"{_block(0, 0)}.ffn.layers.0.0.weight")[0] / width,
        features=features,
        mask_features=mask_features,
        encoder_layers=count(rf"{_PIXEL}\.encoder\.layers\.(\d+)\."),
        encoder_widening=shape(f"{_PIXEL}.encoder.layers.0.ffn.layers.0.0.weight")[0],
        decoder_layers=count(rf"{_DECODER}\.layers\.(\d+)\."),
        decoder_widening=shape(f"{_DECODER}.layers.0.ffn.layers.0.0.weight")[0],
        queries=shape("panoptic_head.query_feat.weight")[0],
        classes=shape("panoptic_head.cls_embed.weight")[0] - 1,
    )


def convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers under the names of the hub's checkpoints.

    Raises:
        AlphaBenchError: a tensor that has no place, that is missing, of another shape or broken.
    """
    sizes = architecture_of(tensors)
    expected = dict(_expected(sizes))
    for name in tensors:
        if name not in expected:
            raise AlphaBenchError(
                f"the checkpoint has a tensor {name!r} that Mask2Former does not have",
                hint=_HINT,
            )
    found: dict[str, Tensor] = {}
    for name, (shape, targets) in expected.items():
        if name not in tensors:
            raise AlphaBenchError(f"the checkpoint has no tensor {name!r}", hint=_HINT)
        if (fault := _fault(name, tensors[name])) is not None:
            raise AlphaBenchError(f"the tensor {name!r} {fault}", hint=_HINT)
        if tuple(tensors[name].shape) != shape:
            raise AlphaBenchError(
                f"the tensor {name!r} is {tuple(tensors[name].shape)} and should be {shape}",
                hint=_HINT,
            )
        found.update(_placed(name, tensors[name], targets, sizes=sizes))
    return found


def _fault(name: str, tensor: Tensor) -> str | None:
    """Values that no training produces: not finite, all equal, or a norm of zeros."""
    if tensor.is_floating_point() and not tensor.isfinite().all():
        return "holds values that are not finite"
    if tensor.dim() > 1 and tensor.numel() > 1 and bool(tensor.min() == tensor.max()):
        return f"is {float(tensor.min()):g} throughout, as if it had never been filled"
    if tensor.dim() == 1 and name.endswith(".weight") and not tensor.any():
        return "is 0 throughout, as if it had never been filled"
    return None


def _placed(
    name: str, tensor: Tensor, targets: tuple[str, ...], *, sizes: Architecture
) -> Iterator[tuple[str, Tensor]]:
    """Each target with its part of the tensor."""
    if name.endswith("relative_position_index"):
        if not torch.equal(tensor.long(), _position_index(sizes.window)):
            raise AlphaBenchError(f"the tensor {name!r} orders a window otherwise", hint=_HINT)
        return
    if ".downsample." in name:
        tensor = _neighbour_major(tensor)
    parts = tensor.chunk(len(targets)) if len(targets) > 1 else (tensor,)
    for target, part in zip(targets, parts, strict=True):
        yield target, part.contiguous()


def _neighbour_major(tensor: Tensor) -> Tensor:
    """Patch merging's 4C inputs, from channel-major to the order of Swin's authors.

    mmdet unfolds: input 4c + 2y + x. Swin concatenates the neighbours (0, 0), (1, 0), (0, 1),
    (1, 1) as (y, x): input kC + c.
    """
    by_place = tensor.reshape(*tensor.shape[:-1], -1, 2, 2)  # ..., c, y, x
    return by_place.transpose(-1, -3).reshape(tensor.shape)  # ..., x, y, c


def _position_index(window: int) -> Tensor:
    """Which entry of the bias table each pair of a window's places uses."""
    y_P, x_P = np.divmod(np.arange(window**2), window)
    down_PP = y_P[:, None] - y_P[None, :] + window - 1
    right_PP = x_P[:, None] - x_P[None, :] + window - 1
    return torch.from_numpy(down_PP * (2 * window - 1) + right_PP)


_PIXEL: Final = "panoptic_head.pixel_decoder"
_DECODER: Final = "panoptic_head.transformer_decoder"
_TO_PIXEL: Final = "model.pixel_level_module.decoder"
_TO_SWIN: Final = "model.pixel_level_module.encoder"
_TO_DECODER: Final = "model.transformer_module.decoder"

_Place = tuple[str, tuple[tuple[int, ...], tuple[str, ...]]]
"""mmdet's name, its shape, and the names of what it becomes."""


def _block(stage: int, block: int) -> str:
    return f"backbone.stages.{stage}.blocks.{block}"


def _expected(sizes: Architecture) -> Iterator[_Place]:
    yield from _swin(sizes)
    yield from _pixel_decoder(sizes)
    yield from _transformer_decoder(sizes)


def _layer(
    name: str, target: str, *, out: int, into: tuple[int, ...] = (), bias: bool = True
) -> Iterator[_Place]:
    """A weight (out, *into), and its bias; with `into` empty a norm's."""
    yield f"{name}.weight", ((out, *into), (f"{target}.weight",))
    if bias:
        yield f"{name}.bias", ((out,), (f"{target}.bias",))


def _swin(sizes: Architecture) -> Iterator[_Place]:
    embed, to_embed = "backbone.patch_embed", f"{_TO_SWIN}.embeddings"
    pixels = (3, sizes.patch, sizes.patch)
    width = sizes.width
    yield from _layer(
        f"{embed}.projection", f"{to_embed}.patch_embeddings.projection", out=width, into=pixels
    )
    yield from _layer(f"{embed}.norm", f"{to_embed}.norm", out=width)
    for stage, depth in enumerate(sizes.depths):
        to_stage = f"{_TO_SWIN}.encoder.layers.{stage}"
        for block in range(depth):
            yield from _swin_block(sizes, stage, block, f"{to_stage}.blocks.{block}")
        if stage + 1 < len(sizes.depths):
            merge, to_merge = f"backbone.stages.{stage}.downsample", f"{to_stage}.downsample"
            yield from _layer(f"{merge}.norm", f"{to_merge}.norm", out=4 * width)
            yield from _layer(
                f"{merge}.reduction",
                f"{to_merge}.reduction",
                out=2 * width,
                into=(4 * width,),
                bias=False,
            )
        norm = f"{_TO_SWIN}.hidden_states_norms.stage{stage + 1}"
        yield from _layer(f"backbone.norm{stage}", norm, out=width)
        width *= 2


def _swin_block(sizes: Architecture, stage: int, block: int, target: str) -> Iterator[_Place]:
    name, width = _block(stage, block), sizes.width * 2**stage
    wide = int(width * sizes.mlp_ratio)
    attention, to_attention = f"{name}.attn.w_msa", f"{target}.attention"
    table = ((2 * sizes.window - 1) ** 2, sizes.heads[stage])
    places = sizes.window**2
    yield from _layer(f"{name}.norm1", f"{target}.layernorm_before", out=width)
    bias_table = "relative_position_bias_table"
    yield f"{attention}.{bias_table}", (table, (f"{to_attention}.self.{bias_table}",))
    yield f"{attention}.relative_position_index", ((places, places), ())
    for part, shape in (("weight", (3 * width, width)), ("bias", (3 * width,))):
        targets = tuple(f"{to_attention}.self.{one}.{part}" for one in ("query", "key", "value"))
        yield f"{attention}.qkv.{part}", (shape, targets)
    yield from _layer(f"{attention}.proj", f"{to_attention}.output.dense", out=width, into=(width,))
    yield from _layer(f"{name}.norm2", f"{target}.layernorm_after", out=width)
    ffn = f"{name}.ffn.layers"
    yield from _layer(f"{ffn}.0.0", f"{target}.intermediate.dense", out=wide, into=(width,))
    yield from _layer(f"{ffn}.1", f"{target}.output.dense", out=width, into=(wide,))


def _pixel_decoder(sizes: Architecture) -> Iterator[_Place]:
    f, stages = sizes.features, len(sizes.depths)
    widths = [sizes.width * 2**stage for stage in range(stages)]
    for level in range(LEVELS):
        name, target = f"{_PIXEL}.input_convs.{level}", f"{_TO_PIXEL}.input_projections.{level}"
        into = (widths[stages - 1 - level], 1, 1)
        yield from _layer(f"{name}.conv", f"{target}.0", out=f, into=into)
        yield from _layer(f"{name}.gn", f"{target}.1", out=f)
    for layer in range(sizes.encoder_layers):
        yield from _encoder_layer(sizes, layer)
    yield f"{_PIXEL}.level_encoding.weight", ((LEVELS, f), (f"{_TO_PIXEL}.level_embed",))
    for name, target, into in (
        ("lateral_convs", "adapter_1", (widths[0], 1, 1)),
        ("output_convs", "layer_1", (f, 3, 3)),
    ):
        conv, to_conv = f"{_PIXEL}.{name}.0", f"{_TO_PIXEL}.{target}"
        yield from _layer(f"{conv}.conv", f"{to_conv}.0", out=f, into=into, bias=False)
        yield from _layer(f"{conv}.gn", f"{to_conv}.1", out=f)
    yield from _layer(
        f"{_PIXEL}.mask_feature",
        f"{_TO_PIXEL}.mask_projection",
        out=sizes.mask_features,
        into=(f, 1, 1),
    )


def _encoder_layer(sizes: Architecture, layer: int) -> Iterator[_Place]:
    name, target = f"{_PIXEL}.encoder.layers.{layer}", f"{_TO_PIXEL}.encoder.layers.{layer}"
    f, wide, samples = sizes.features, sizes.encoder_widening, HEADS * LEVELS * POINTS
    for part, out in (
        ("sampling_offsets", 2 * samples),
        ("attention_weights", samples),
        ("value_proj", f),
        ("output_proj", f),
    ):
        yield from _layer(
            f"{name}.self_attn.{part}", f"{target}.self_attn.{part}", out=out, into=(f,)
        )
    yield from _feed_forward(name, target, width=f, wide=wide)
    for index, norm in enumerate(("self_attn_layer_norm", "final_layer_norm")):
        yield from _layer(f"{name}.norms.{index}", f"{target}.{norm}", out=f)


def _transformer_decoder(sizes: Architecture) -> Iterator[_Place]:
    f, head, module = sizes.features, "panoptic_head", "model.transformer_module"
    for layer in range(sizes.decoder_layers):
        yield from _decoder_layer(sizes, layer)
    yield from _layer(f"{_DECODER}.post_norm", f"{_TO_DECODER}.layernorm", out=f)
    for name, target, rows in (
        ("query_embed", "queries_embedder", sizes.queries),
        ("query_feat", "queries_features", sizes.queries),
        ("level_embed", "level_embed", LEVELS),
    ):
        yield f"{head}.{name}.weight", ((rows, f), (f"{module}.{target}.weight",))
    yield from _layer(f"{head}.cls_embed", "class_predictor", out=sizes.classes + 1, into=(f,))
    outs = (f, f, sizes.mask_features)
    for index, out in enumerate(outs):
        target = f"{_TO_DECODER}.mask_predictor.mask_embedder.{index}.0"
        yield from _layer(f"{head}.mask_embed.{2 * index}", target, out=out, into=(f,))


def _decoder_layer(sizes: Architecture, layer: int) -> Iterator[_Place]:
    name, target = f"{_DECODER}.layers.{layer}", f"{_TO_DECODER}.layers.{layer}"
    f = sizes.features
    for part, shape in (("weight", (3 * f, f)), ("bias", (3 * f,))):
        yield (
            f"{name}.cross_attn.attn.in_proj_{part}",
            (shape, (f"{target}.cross_attn.in_proj_{part}",)),
        )
        parts = tuple(f"{target}.self_attn.{one}_proj.{part}" for one in "qkv")
        yield f"{name}.self_attn.attn.in_proj_{part}", (shape, parts)
    for kind in ("cross_attn", "self_attn"):
        yield from _layer(
            f"{name}.{kind}.attn.out_proj", f"{target}.{kind}.out_proj", out=f, into=(f,)
        )
    yield from _feed_forward(name, target, width=f, wide=sizes.decoder_widening)
    norms = ("cross_attn_layer_norm", "self_attn_layer_norm", "final_layer_norm")
    for index, norm in enumerate(norms):
        yield from _layer(f"{name}.norms.{index}", f"{target}.{norm}", out=f)


def _feed_forward(name: str, target: str, *, width: int, wide: int) -> Iterator[_Place]:
    yield from _layer(f"{name}.ffn.layers.0.0", f"{target}.fc1", out=wide, into=(width,))
    yield from _layer(f"{name}.ffn.layers.1", f"{target}.fc2", out=width, into=(wide,))


_FROM_2: Final = (
    (r"(pixel_decoder\.encoder\.layers\.\d+)\.attentions\.0\.", r"\1.self_attn."),
    (r"(transformer_decoder\.layers\.\d+)\.attentions\.0\.", r"\1.cross_attn."),
    (r"(transformer_decoder\.layers\.\d+)\.attentions\.1\.", r"\1.self_attn."),
    (r"(_?decoder\.(?:encoder\.)?layers\.\d+)\.ffns\.0\.", r"\1.ffn."),
)
"""mmdet 2.x numbers the parts of a layer in the order in which they run."""


def _name_of_3(name: str) -> str:
    for pattern, replacement in _FROM_2:
        name = re.sub(pattern, replacement, name)
    return name


def _classes(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Label names: 2.x has them in `meta`, 3.x in its `dataset_meta`."""
    nested = meta.get("dataset_meta")
    for place in (nested if isinstance(nested, dict) else {}, meta):
        for key in ("classes", "CLASSES"):
            if key in place:
                return tuple(str(one) for one in place[key])
    return None


def _refuse(path: Path, why: str, cause: Exception | None = None) -> NoReturn:
    first = (why.strip().splitlines() or ["no reason given"])[0]
    raise AlphaBenchError(
        f"{str(path)!r} is no checkpoint of mmdet: {first}", hint=_HINT
    ) from cause
