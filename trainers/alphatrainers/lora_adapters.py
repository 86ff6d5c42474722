"""Selects the trained parameters and adds LoRA layers where the policy's experts say.

Uses peft's injection, so that the policy's module keeps its class and its names. A pattern that
matches no modules is refused: such a training would train nothing. Knows no optimizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from alphabench.core.errors import AlphaBenchError, unknown_name
from alphatrainers.settings import LoraSettings, OptimiserSettings

PEFT_ADAPTER = "default"


class Trainable(NamedTuple):
    """One parameter that is trained."""

    parameter: nn.Parameter
    expert: str


def learning_rates(experts: Mapping[str, str], optimiser: OptimiserSettings) -> dict[str, float]:
    """The learning rate of each of the policy's experts that is trained at all.

    Raises:
        AlphaBenchError: for a rate of an expert that the policy does not have, or if all are 0.
    """
    for name in optimiser.experts:
        if name not in experts:
            raise unknown_name("expert of this policy", name, experts)
    rates = {name: optimiser.experts.get(name, optimiser.lr) for name in experts}
    trained = {name: rate for name, rate in rates.items() if rate > 0.0}
    if not trained:
        raise AlphaBenchError("every expert has learning rate 0", hint="raise one of them")
    return trained


def select_trainable(
    module: nn.Module, experts: Mapping[str, str], *, lora: LoraSettings | None, seed: int
) -> dict[str, Trainable]:
    """Freezes everything but the experts' parameters, or their new LoRA layers; by dotted name.

    Args:
        module: of the policy; changed in place.
        experts: regex by name, only those that are trained.
        lora: None trains the parameters themselves.
        seed: of the LoRA layers' first values.

    Raises:
        AlphaBenchError: if an expert's regex matches nothing, two experts match one module, or
            full weights are in half precision.
    """
    targets = _targets(module, experts, linear_only=lora is not None)
    module.requires_grad_(False)
    module.eval()
    if lora is not None:
        _inject(module, targets, lora, seed)
        trainable = dict(_lora_parameters(module, targets))
    else:
        trainable = {
            f"{owner}.{name}": Trainable(parameter, expert)
            for owner, expert in targets.items()
            for name, parameter in module.get_submodule(owner).named_parameters(recurse=False)
        }
        _refuse_half(trainable)
    for one in trainable.values():
        one.parameter.requires_grad_(True)
    return trainable


def switch(module: nn.Module, *, enabled: bool) -> None:
    """Puts LoRA layers in or out of force; out of force they are the reference policy."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in module.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.enable_adapters(enabled)


@contextmanager
def held_casts(module: nn.Module) -> Iterator[None]:
    """Casts LoRA weights once inside the block, in which no weight may change.

    Without it, a pass that records no gradient casts them in every layer; see
    `alphabench.core.lora_layer`.
    """
    layers: list[Any] = [one for one in module.modules() if hasattr(one, "held_matrices")]
    for layer in layers:
        layer.held_matrices = {}
    try:
        yield
    finally:
        for layer in layers:
            layer.held_matrices = None


def peft_settings(targets: list[str], lora: LoraSettings) -> object:
    """What peft writes beside an adapter; loads with `PeftModel.from_pretrained`."""
    from peft import LoraConfig

    init: object = True if lora.init == "default" else lora.init
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        target_modules=targets,
        init_lora_weights=init,  # type: ignore[arg-type]
        lora_dropout=0.0,
    )


def exported(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters under the names that peft stores them with."""
    return {
        f"base_model.model.{name.replace(f'.{PEFT_ADAPTER}', '')}": v for name, v in values.items()
    }


def imported(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `exported`."""
    own = {key.removeprefix("base_model.model."): value for key, value in stored.items()}
    return {re.sub(r"(\.lora_[AB])\.", rf"\1.{PEFT_ADAPTER}.", key): v for key, v in own.items()}


def target_names(parameters: Iterable[str]) -> list[str]:
    """The modules that carry LoRA layers."""
    return sorted({re.sub(r"\.lora_[AB]\..*$", "", name) for name in parameters})


def _targets(module: nn.Module, experts: Mapping[str, str], *, linear_only: bool) -> dict[str, str]:
    targets: dict[str, str] = {}
    for expert, pattern in experts.items():
        matched = 0
        for name, part in module.named_modules():
            fits = isinstance(part, nn.Linear) if linear_only else _has_parameters(part)
            if not fits or not re.fullmatch(pattern, name):
                continue
            if name in targets:
                raise AlphaBenchError(
                    f"module {name!r} belongs to experts {targets[name]!r} and {expert!r}",
                    hint="make the policy's expert patterns exclude each other",
                )
            targets[name] = expert
            matched += 1
        if not matched:
            raise AlphaBenchError(
                f"expert {expert!r} matches no module by its pattern {pattern!r}",
                hint="correct the pattern, or set the expert's learning rate to 0",
            )
    return targets


def _refuse_half(trainable: Mapping[str, Trainable]) -> None:
    """Small steps vanish in half precision."""
    for name, one in trainable.items():
        if torch.finfo(one.parameter.dtype).bits < 32:
            kind = str(one.parameter.dtype).removeprefix("torch.")
            raise AlphaBenchError(
                f"{name!r} is in {kind}, in which small steps of training vanish",
                hint="open the checkpoint in float32, or train LoRA layers",
            )


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _inject(module: nn.Module, targets: Mapping[str, str], lora: LoraSettings, seed: int) -> None:
    from peft import inject_adapter_in_model

    from alphabench.core.lora_layer import LoraLinear

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        settings: Any = peft_settings(sorted(targets), lora)
        settings._register_custom_module({nn.Linear: LoraLinear})
        inject_adapter_in_model(settings, module, adapter_name=PEFT_ADAPTER)


def _lora_parameters(
    module: nn.Module, targets: Mapping[str, str]
) -> Iterator[tuple[str, Trainable]]:
    for name, parameter in module.named_parameters():
        owner, separator, _ = name.partition(".lora_")
        if separator and owner in targets:
            # Small steps vanish in half precision.
            parameter.data = parameter.data.float()
            yield name, Trainable(parameter, targets[owner])
