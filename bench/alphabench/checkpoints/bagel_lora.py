"""A LoRA on BAGEL: PEFT's adapter folder, put on named modules of either expert.

Every tensor of the adapter must find its module and every module must be one of the model's: an
adapter that changes nothing, or only in part, would silently measure another model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor, nn

from alphabench.checkpoints.lora import Lora
from alphabench.errors import AlphaBenchError

_PEFT_PREFIX: Final = "base_model.model."
_ADAPTER: Final = "lora"
_DECODER: Final = "language_model."


def bind(model: nn.Module, lora: Lora) -> int:
    """Put the LoRA on a loaded model, unmerged.

    Returns:
        How many modules it changes; never 0.

    Raises:
        AlphaBenchError: no adapter_config.json, or it does not fit this model in whole.
    """
    if lora.config is None:
        raise AlphaBenchError(
            f"the LoRA {lora.name!r} has no adapter_config.json, which states its scale",
            hint="give the adapter folder that PEFT or our trainer wrote",
        )
    try:
        return _bind(model, lora)
    except ImportError as error:
        raise AlphaBenchError(
            f"a LoRA needs the package peft: {error}", hint="pip install -e '.[lora]'"
        ) from error
    except (ValueError, KeyError, RuntimeError, TypeError, OSError) as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise AlphaBenchError(
            f"the LoRA {lora.name!r} does not fit this model: {first}",
            hint="give a LoRA that was trained on this base model",
        ) from error


def _bind(model: nn.Module, lora: Lora) -> int:
    import safetensors.torch
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
    from peft.tuners.lora import LoraLayer

    assert lora.config is not None
    stored = safetensors.torch.load_file(lora.file)
    tensors = _named_as_in(model, stored)
    config: Any = LoraConfig.from_pretrained(str(lora.config.parent))
    config.target_modules = sorted({key.partition(".lora_")[0] for key in tensors})
    config.inference_mode = True
    inject_adapter_in_model(config, model, adapter_name=_ADAPTER)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            # As it was trained, and not in the base's precision, which PEFT gives it.
            parameter.data = parameter.data.float()
    found: Any = set_peft_model_state_dict(model, dict(tensors), adapter_name=_ADAPTER)
    if found.unexpected_keys:
        raise ValueError(f"there is no place for {found.unexpected_keys[0]!r}")
    missing = [key for key in found.missing_keys if ".lora_" in key]
    if missing:
        raise ValueError(f"it lacks {missing[0]!r}")
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    if not layers:
        raise ValueError("it changes no module")
    if lora.strength != 1.0:
        for layer in layers:
            layer.set_scale(_ADAPTER, lora.strength)
    return len(layers)


def _named_as_in(model: nn.Module, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The adapter's tensors under the model's own names.

    PEFT puts its prefix before them, once more for each wrapping; an adapter that was trained on
    the decoder alone starts inside it.
    """
    modules = {name for name, _ in model.named_modules()}
    renamed = {}
    for key, tensor in stored.items():
        name = key
        while name.startswith(_PEFT_PREFIX):
            name = name.removeprefix(_PEFT_PREFIX)
        target = name.partition(".lora_")[0]
        if target not in modules and f"{_DECODER}{target}" in modules:
            name, target = f"{_DECODER}{name}", f"{_DECODER}{target}"
        if target not in modules or target == name:
            raise ValueError(f"the model has no module for {key!r}")
        renamed[name] = tensor
    return renamed
