"""LoRA products in the precision of the weights, with masters in float32."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from alphatrainers.lora_adapters import held_casts, select_trainable, switch
from alphatrainers.settings import LoraSettings

ANY = {"all": "layer"}


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 12)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.layer(x))


def adapted(dtype: torch.dtype, *, alpha: float = 6.0) -> tuple[_Model, Any]:
    """A model of one layer, with a LoRA that is not zero."""
    torch.manual_seed(0)
    model = _Model().to(dtype)
    trainable = select_trainable(model, ANY, lora=LoraSettings(rank=4, alpha=alpha), seed=1)
    with torch.no_grad():
        for one in trainable.values():
            one.parameter.normal_(std=0.3)
    return model, {name.split(".")[1]: one.parameter for name, one in trainable.items()}


def inputs(dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(3, 5, 16, generator=generator).to(dtype)


@pytest.mark.parametrize("alpha", [6.0, 8.0])
def test_in_float32_a_layer_calculates_as_pefts_own_to_the_last_bit(alpha: float) -> None:
    found = []
    for forward in (type(adapted(torch.float32)[0].layer).forward, PeftLinear.forward):
        model, parameters = adapted(torch.float32, alpha=alpha)
        x = inputs(torch.float32).requires_grad_()
        y = forward(model.layer, x)  # type: ignore[arg-type]
        y.square().sum().backward()  # type: ignore[no-untyped-call]
        found.append([y.detach(), x.grad, *(one.grad for one in parameters.values())])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_in_float32_a_scaling_that_rounds_nothing_saves_two_operations_of_pefts() -> None:
    def operations(alpha: float) -> int:
        model, _ = adapted(torch.float32, alpha=alpha)
        with profile(activities=[ProfilerActivity.CPU]) as measured:
            model(inputs(torch.float32))
        every = Counter(event.name for event in measured.events())
        return every["aten::mul"] + every["aten::add"]

    assert operations(8.0) < operations(6.0)


def test_in_bfloat16_a_layer_differs_from_the_exact_result_by_rounding_alone() -> None:
    model, parameters = adapted(torch.bfloat16)
    x = inputs(torch.bfloat16)
    base: Any = model.layer.base_layer
    down, up = parameters["lora_A"].double(), parameters["lora_B"].double()
    exact = x.double() @ base.weight.double().T + base.bias.double()
    exact += 1.5 * (x.double() @ down.T) @ up.T
    assert model(x).dtype == torch.bfloat16
    assert (model(x).double() - exact).norm() < 2**-8 * exact.norm()


def test_gradients_reach_the_float32_masters() -> None:
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        model, parameters = adapted(dtype)
        model(inputs(torch.bfloat16).to(dtype)).float().square().sum().backward()
        found.append([parameters[name].grad for name in ("lora_A", "lora_B")])
    for half, full in zip(*found, strict=True):
        assert half.dtype == torch.float32
        assert (half - full).norm() < 0.02 * full.norm()


def test_casts_are_held_inside_the_block_only_and_change_nothing() -> None:
    model, parameters = adapted(torch.bfloat16)
    x = inputs(torch.bfloat16)
    recorded = model(x)
    with torch.no_grad():
        with held_casts(model):
            assert torch.equal(model(x), recorded)
            assert torch.equal(model(x), recorded)
        parameters["lora_B"].mul_(2.0)
        changed = model(x)
        with held_casts(model):
            assert torch.equal(model(x), changed)
    assert not torch.equal(changed, recorded)


def test_a_layer_out_of_force_is_its_base() -> None:
    model, _ = adapted(torch.bfloat16)
    base: Any = model.layer.base_layer
    switch(model, enabled=False)
    assert torch.equal(model(inputs(torch.bfloat16)), base(inputs(torch.bfloat16)))
