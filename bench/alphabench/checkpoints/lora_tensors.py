"""Identifies the tensors of a LoRA file by their names and values; knows no model.

Every tensor is one part of one layer, or the file is refused with the first that is not: ignoring a
tensor would evaluate an incomplete LoRA. Reads the names of PEFT, of diffusers (old and new) and of
kohya's scripts, with the prefixes of training wrappers.

Shapes: R rank, I inputs, O outputs; a convolution's have two more dimensions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

Convert = Callable[[Mapping[str, "Tensor"]], Mapping[str, "Tensor"]]
"""Gives tensors the names that modules have; may raise any exception."""

_ADAPTER: Final = r"(?:\.[A-Za-z]\w*)??"
"""PEFT puts the adapter's name, often `default`, between a part and `.weight`."""
_PARTS: Final[Mapping[str, re.Pattern[str]]] = {
    "down": re.compile(
        rf"(.+?_lora\d(?=\.down)|.+?)"
        rf"(?:\.lora_A{_ADAPTER}\.weight|(?:[._]lora(?:_linear_layer)?[._]|\.)down\.weight)"
    ),
    "up": re.compile(
        rf"(.+?_lora\d(?=\.up)|.+?)"
        rf"(?:\.lora_B{_ADAPTER}\.weight|(?:[._]lora(?:_linear_layer)?[._]|\.)up\.weight)"
    ),
    "alpha": re.compile(r"(.+?)(?:[._]lora(?:_linear_layer)?[._]down\.weight)?\.alpha"),
    "magnitude": re.compile(
        rf"(.+?)(?:\.lora_magnitude_vector{_ADAPTER}(?:\.weight)?|\.dora_scale)"
    ),
}
_OTHER_KINDS: Final = {
    "lokr_": "LoKr, a Kronecker product",
    "hada_": "LoHa, a Hadamard product",
    "oft_": "OFT, a rotation",
    "boft_": "BOFT, a rotation",
    "lora_mid": "LoCon with a core tensor",
    "lora_embedding_": "a LoRA of an embedding",
    "lora_bias": "a LoRA with biases",
    ".bias": "a trained bias",
    ".diff": "a full difference of weights",
    "ia3_": "IA3",
    "bundle_emb": "a textual inversion beside a LoRA",
    "emb_params": "a textual inversion",
}
"""Part of a tensor's name -> the kind of adapter."""
_WRAPPERS: Final = ("base_model.model.", "module.", "_orig_mod.")


class UntrainedAdapterError(ValueError):
    """The adapter changes nothing: it was saved before its first training step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptedLayer:
    """The tensors of one adapted module, by their names in the file."""

    module: str
    """As the file names it, without wrappers."""
    down: str
    """`R I`."""
    up: str
    """`O R`."""
    alpha: str | None
    """The scale is alpha over rank; without it, 1 or as configured."""
    magnitude: str | None
    """DoRA's length of each output."""

    @property
    def names(self) -> list[str]:
        return [one for one in (self.down, self.up, self.alpha, self.magnitude) if one is not None]


def layers_of(names: Iterable[str]) -> list[AdaptedLayer]:
    """The layers of a file, in its order.

    Raises:
        ValueError: a tensor is no part of a LoRA, occurs twice, or has no counterpart.
    """
    parts_by_module: dict[str, dict[str, str]] = {}
    for name in names:
        module, part = _part_of(name)
        parts = parts_by_module.setdefault(module, {})
        if part in parts:
            raise ValueError(f"{name!r} and {parts[part]!r} are the same part of one layer")
        parts[part] = name
    for parts in parts_by_module.values():
        if "down" not in parts or "up" not in parts:
            raise ValueError(f"{next(iter(parts.values()))!r} has no counterpart")
    return [
        AdaptedLayer(
            module=module,
            down=parts["down"],
            up=parts["up"],
            alpha=parts.get("alpha"),
            magnitude=parts.get("magnitude"),
        )
        for module, parts in parts_by_module.items()
    ]


def _part_of(name: str) -> tuple[str, str]:
    bare = name.replace("._orig_mod.", ".")
    while wrapper := next((one for one in _WRAPPERS if bare.startswith(one)), None):
        bare = bare.removeprefix(wrapper)
    for part, pattern in _PARTS.items():
        if matched := pattern.fullmatch(bare):
            return matched[1], part
    kind = next((kind for mark, kind in _OTHER_KINDS.items() if mark in bare), None)
    if kind is not None:
        raise ValueError(f"{name!r} is no part of a LoRA but of {kind}, which is not supported")
    raise ValueError(f"{name!r} is no part of a LoRA")


def check_lora_values(tensors: Mapping[str, Tensor], layers: Sequence[AdaptedLayer]) -> None:
    """Refuse a LoRA with invalid values.

    Raises:
        ValueError: not finite, of incompatible shapes, or without any effect.
    """
    import torch

    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{name!r} is of type {str(tensor.dtype).removeprefix('torch.')}")
        if not torch.isfinite(tensor.float()).all():
            raise ValueError(f"{name!r} holds NaN or infinity")
    for layer in layers:
        down, up = tensors[layer.down], tensors[layer.up]
        if down.ndim not in (2, 4) or up.ndim not in (2, 4) or down.shape[0] != up.shape[1]:
            raise ValueError(
                f"{layer.down!r} has shape {list(down.shape)} and its counterpart {list(up.shape)}"
            )
        if 0 in down.shape or 0 in up.shape:
            raise ValueError(f"{layer.down!r} or its counterpart is empty")
        if layer.alpha is not None and tensors[layer.alpha].numel() != 1:
            raise ValueError(f"{layer.alpha!r} is not one number")
    if all(energy_of(tensors, layer) == 0.0 and layer.magnitude is None for layer in layers):
        raise UntrainedAdapterError("in each layer one factor is zero, as before the first step")


def scale_of(tensors: Mapping[str, Tensor], layer: AdaptedLayer) -> float:
    """The file's factor on `up @ down`."""
    if layer.alpha is None:
        return 1.0
    return float(tensors[layer.alpha].float()) / tensors[layer.down].shape[0]


def energy_of(tensors: Mapping[str, Tensor], layer: AdaptedLayer) -> float:
    """The squared Frobenius norm of the layer's change of its weight, magnitude aside.

    Splitting or joining layers, or moving a factor, does not change the sum over a file.
    """
    down_RI = tensors[layer.down].double().flatten(1)
    up_OR = tensors[layer.up].double().flatten(1)
    gram = (down_RI @ down_RI.T) * (up_OR.T @ up_OR)
    return math.pow(scale_of(tensors, layer), 2) * float(gram.sum())
