"""Converts names of LoRA tensors with diffusers, and checks that no tensor is lost.

Its converters support the layouts of many trainers and drop unknown tensors silently. So they are
run twice: on marker values that show where each tensor goes, and on the tensors themselves, whose
total squared change must stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from alphabench.checkpoints.lora_tensors import AdaptedLayer, Convert, energy_of, layers_of

_ROUNDING: Final = 0.02
"""Relative; converters multiply scales into half-precision tensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """The tensors under new names."""

    tensors: Mapping[str, Tensor]
    origins: Mapping[str, AdaptedLayer]
    """New name of a tensor -> the layer of the file that it comes from."""

    def origin(self, layer: AdaptedLayer) -> AdaptedLayer:
        """The layer of the file that a new one comes from; itself where that is unknown."""
        return self.origins.get(layer.down, layer)


def converted(
    tensors: Mapping[str, Tensor], layers: Sequence[AdaptedLayer], convert: Convert
) -> Converted | None:
    """The tensors under diffusers' names; None where it does not support their layout.

    Raises:
        ValueError: it drops a tensor, or changes a scale.
    """
    try:
        marked = convert(_marked(tensors, layers))
        renamed = dict(convert(dict(tensors)))
    except Exception:  # noqa: BLE001 - a boundary: converters raise any exception
        return None
    origins: dict[str, AdaptedLayer] = {}
    seen: set[int] = set()
    for name, tensor in marked.items():
        marks = {round(value) for value in torch.unique(tensor.float()).tolist()}
        seen |= marks
        number = min(marks, default=0)
        if not name.endswith(".alpha") and 0 < number <= 2 * len(layers):
            origins[name] = layers[(number - 1) // 2]
    for number, layer in enumerate(layers):
        for mark, name in ((2 * number + 1, layer.down), (2 * number + 2, layer.up)):
            if mark not in seen:
                raise ValueError(f"the model has no module for {name!r}")
        if layer.magnitude is not None and not any("magnitude" in name for name in renamed):
            raise ValueError(f"{layer.magnitude!r} of DoRA is not supported in this layout")
    before = sum(energy_of(tensors, layer) for layer in layers)
    after = sum(energy_of(renamed, layer) for layer in layers_of(renamed))
    if abs(after - before) > _ROUNDING * before:
        raise ValueError(
            f"diffusers would give it {after / before:.3f} times the strength that its file states"
        )
    return Converted(tensors=renamed, origins=origins)


def _marked(tensors: Mapping[str, Tensor], layers: Sequence[AdaptedLayer]) -> dict[str, Tensor]:
    """The same names and shapes; a layer's factors are filled with its number, its scale is 1."""
    marked: dict[str, Tensor] = {}
    for number, layer in enumerate(layers):
        rank = tensors[layer.down].shape[0]
        values: dict[str | None, float] = {
            layer.down: 2 * number + 1, layer.up: 2 * number + 2, layer.alpha: rank,
            layer.magnitude: 1.0,
        }  # fmt: skip
        for name, value in values.items():
            if name is not None:
                marked[name] = torch.full_like(tensors[name], value, dtype=torch.float32)
    return {name: marked[name] for name in tensors}


def pipeline_converter(pipeline: Any) -> Convert | None:
    """The converter of LoRA names of a diffusers pipeline; None where it takes no LoRA."""
    if not hasattr(pipeline, "lora_state_dict"):
        return None
    unet = getattr(pipeline, "unet", None)
    settings = {} if unet is None else {"unet_config": unet.config}

    def convert(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        returned = pipeline.lora_state_dict(dict(tensors), **settings)
        parts = returned if isinstance(returned, tuple) else (returned,)
        renamed = dict(parts[0])
        for extra in parts[1:]:
            # Scales that are returned separately, by the names of their layers.
            for name, alpha in (extra or {}).items():
                if name.endswith(".alpha"):
                    renamed[name] = torch.as_tensor(alpha, dtype=torch.float32)
        return renamed

    return convert
