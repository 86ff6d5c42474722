"""Adds the layers of a LoRA to named modules of loaded networks, unmerged: all of them or none.

Every layer of the file must match a module with the shapes of its tensors, and every adapted module
has exactly the file's values and scale. Pipelines and unified models share it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from alphabench.checkpoints.lora_config import Scaling
from alphabench.checkpoints.lora_tensors import AdaptedLayer, scale_of

ADAPTER: Final = "lora"
_KOHYA: Final = {
    "lora_unet_": ("transformer", "unet"), "lora_transformer_": ("transformer",),
    "lora_te_": ("text_encoder",), "lora_te1_": ("text_encoder",),
    "lora_te2_": ("text_encoder_2",), "lora_te3_": ("text_encoder_3",),
}  # fmt: skip
"""Prefix of kohya's names, in which every dot is an underscore -> the components it can mean."""
_DENOISERS: Final = ("transformer", "unet")
"""The component of names without one; the first that a pipeline has."""
_COMPONENT: Final = re.compile(r"((?:unet|transformer|text_encoder)(?:_\d)?)\.")
_TEXT: Final = (
    ("text_model.", ""), ("to_q", "q_proj"), ("to_k", "k_proj"), ("to_v", "v_proj"),
    ("to_out.0", "out_proj"),
)  # fmt: skip
"""Older names in CLIP's text model -> its current ones."""


class ModuleLocation(NamedTuple):
    """A module of a loaded network or of its weights file."""

    component: str
    module: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundLayer:
    """One layer and its module."""

    layer: AdaptedLayer
    target: ModuleLocation


def find_module(module: str, modules: Mapping[str, Collection[str]]) -> ModuleLocation | None:
    """The module that a name in a LoRA file means.

    Args:
        module: as `Layer.module`.
        modules: component -> the names of its modules; sets, for a fast search.
    """
    component, _, inside = module.partition(".")
    if component in modules:
        choices = [(component, inside)]
    else:
        meant = next((one for one in _DENOISERS if one in modules), next(iter(modules)))
        bare = module.removeprefix("model.") if "diffusion_model." in module else module
        choices = [(meant, module), (meant, bare.removeprefix("diffusion_model."))]
    for prefix, components in _KOHYA.items():
        if module.startswith(prefix):
            flat = module.removeprefix(prefix)
            choices = [
                (one, name)
                for one in components
                if one in modules and (name := _unflattened(flat, modules[one])) is not None
            ]
    for chosen, name in choices:
        for spelling in _spellings(name):
            if spelling in modules[chosen]:
                return ModuleLocation(chosen, spelling)
    return None


def lacks_component(module: str, components: Collection[str]) -> bool:
    """Whether a name in a LoRA file is for a component that does not exist."""
    if named := _COMPONENT.match(module):
        return named[1] not in components
    meant = next((them for prefix, them in _KOHYA.items() if module.startswith(prefix)), None)
    return meant is not None and not set(meant) & set(components)


def is_spelled_out(module: str) -> bool:
    """Whether a name in a LoRA file is `component.path`, which needs no conversion."""
    return _COMPONENT.match(module) is not None


def _unflattened(flat: str, names: Collection[str]) -> str | None:
    """The one name that is `flat` with underscores for its dots."""
    for wanted in (flat, flat.removeprefix("text_model_")):
        matches = [one for one in names if one.replace(".", "_") == wanted]
        if len(matches) == 1:
            return matches[0]
    return None


def _spellings(name: str) -> list[str]:
    older = re.sub(r"\.to_out$", ".to_out.0", name.replace(".processor.", "."))
    text = older
    for before, after in _TEXT:
        text = text.replace(before, after)
    # The last: an adapter that was trained only on the decoder of a unified model.
    return [name, f"text_model.{name}", older, text, f"text_model.{text}", f"language_model.{name}"]


def add_adapters(
    networks: Mapping[str, nn.Module],
    bound: Sequence[BoundLayer],
    tensors: Mapping[str, Tensor],
    *,
    scalings: Mapping[str, Scaling],
    strength: float,
    dtype: torch.dtype | None,
) -> None:
    """Adapt the modules; everything is checked before the first is changed.

    Args:
        networks: by component.
        bound: every layer of the file, with its module.
        tensors: of the file.
        scalings: component -> scale by configuration; others have their scale in the file.
        strength: a further factor.
        dtype: of the adapter; None takes that of each module's weight.

    Raises:
        ValueError: two layers have the same module, or tensors do not fit it.
    """
    by_component: dict[str, dict[str, _Values]] = defaultdict(dict)
    for one in bound:
        component, name = one.target
        module = networks[component].get_submodule(name)
        if name in by_component[component]:
            raise ValueError(f"{one.layer.down!r} and another layer both adapt {name!r}")
        values = _values_for(module, one.layer, tensors, name)
        scale = _scale(one, tensors, scalings.get(component), values.down.shape[0])
        by_component[component][name] = values._replace(scale=scale * strength)
    for component, layers in by_component.items():
        if len({values.magnitude is None for values in layers.values()}) > 1:
            raise ValueError(f"only some of its layers in the {component} have DoRA's magnitude")
    for component, layers in by_component.items():
        _inject(networks[component], layers, dtype)


class _Values(NamedTuple):
    down: Tensor
    up: Tensor
    magnitude: Tensor | None
    scale: float = 1.0


def _values_for(
    module: nn.Module, layer: AdaptedLayer, tensors: Mapping[str, Tensor], name: str
) -> _Values:
    """The layer's tensors in the shapes of the module's adapter."""
    if type(module) not in (nn.Linear, nn.Conv2d):
        raise ValueError(f"{layer.down!r} is for {name!r}, a {type(module).__name__}")
    weight: Tensor = module.weight  # type: ignore[assignment]
    down, up = tensors[layer.down], tensors[layer.up]
    rank = down.shape[0]
    if isinstance(module, nn.Conv2d) and module.groups != 1:
        raise ValueError(f"{layer.down!r} is for {name!r}, a convolution in groups")
    down_shape = (rank, *weight.shape[1:])
    up_shape = (weight.shape[0], rank, *(1 for _ in weight.shape[2:]))
    for key, tensor, shape in ((layer.down, down, down_shape), (layer.up, up, up_shape)):
        # A linear layer and a 1x1 convolution may be stored as either.
        if [n for n in tensor.shape[2:] if n != 1] != [n for n in shape[2:] if n != 1] or (
            tuple(tensor.shape[:2]) != tuple(shape[:2])
        ):
            raise ValueError(
                f"{key!r} has shape {list(tensor.shape)}, where {name!r} needs {list(shape)}"
            )
    magnitude = None if layer.magnitude is None else tensors[layer.magnitude]
    if magnitude is not None:
        if not isinstance(module, nn.Linear) or magnitude.shape not in (
            (weight.shape[0],), (weight.shape[0], 1),
        ):  # fmt: skip
            raise ValueError(
                f"{layer.magnitude!r} of shape {list(magnitude.shape)} is no length for each of "
                f"the {weight.shape[0]} outputs of a linear layer, as PEFT's DoRA has it"
            )
        magnitude = magnitude.flatten()
    return _Values(down.reshape(down_shape), up.reshape(up_shape), magnitude)


def _scale(
    one: BoundLayer, tensors: Mapping[str, Tensor], scaling: Scaling | None, rank: int
) -> float:
    if scaling is None:
        return scale_of(tensors, one.layer)
    if one.layer.alpha is not None:
        raise ValueError(f"{one.layer.alpha!r} and its configuration both give a scale")
    if scaling.dora is (one.layer.magnitude is None):
        raise ValueError(
            f"its configuration has use_dora={str(scaling.dora).lower()}, which does "
            f"not fit {one.layer.down!r} and its counterparts"
        )
    return scaling.of(one.target.module, rank)


def _inject(network: nn.Module, layers: Mapping[str, _Values], dtype: torch.dtype | None) -> None:
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    from alphabench.core.lora_layer import LoraLinear

    ranks = {name: values.down.shape[0] for name, values in layers.items()}
    usual = Counter(ranks.values()).most_common(1)[0][0]
    config = LoraConfig(
        r=usual,
        lora_alpha=usual,
        # As one pattern: PEFT would match names in a list as suffixes of others.
        target_modules="|".join(re.escape(name) for name in layers),
        rank_pattern={f"^{re.escape(name)}": r for name, r in ranks.items() if r != usual},
        use_dora=any(values.magnitude is not None for values in layers.values()),
        inference_mode=True,
    )
    if dtype == torch.float32:
        # As the trainer computes, so that its validations and later runs generate the same images.
        config._register_custom_module({nn.Linear: LoraLinear})
    inject_adapter_in_model(config, network, adapter_name=ADAPTER)
    adapted = {name: one for name, one in network.named_modules() if isinstance(one, LoraLayer)}
    if adapted.keys() != layers.keys():
        raise ValueError(f"PEFT adapted {len(adapted)} modules where {len(layers)} were named")
    for name, values in layers.items():
        module: Any = adapted[name]
        weight = module.get_base_layer().weight
        factors = [(module.lora_A[ADAPTER], values.down), (module.lora_B[ADAPTER], values.up)]
        if values.magnitude is not None:
            factors.append((module.lora_magnitude_vector[ADAPTER], values.magnitude))
        for owner, tensor in factors:
            if owner.weight.shape != tensor.shape:
                raise ValueError(f"PEFT made a factor of another shape in {name!r}")
            owner.weight.data = tensor.to(weight.device, dtype or weight.dtype)
        module.scaling[ADAPTER] = values.scale
