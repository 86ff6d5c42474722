"""A LoRA layer whose products are computed in the precision of its weights, in one operation less.

The adapter's own weights stay float32, since small steps of training vanish in half precision. peft
casts a layer's input and result between the two and multiplies in float32; over bfloat16 weights
this one casts the adapter's matrices instead, which are small. It adds the adapter's product to the
result in one operation: for weights in float32 on a CPU, and with a scaling that is a power of two,
which rounds nothing, exactly what peft's three operations give. All else is left to peft: float16,
too, whose small exponents would need a scaled loss. Knows no model and no optimizer.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from torch.nn import functional


class LoraLinear(Linear):
    """peft's layer, faster on bfloat16 weights and on those of a CPU; dropout is not supported."""

    held_matrices: dict[str, tuple[Tensor, Tensor]] | None = None
    """A and B in bfloat16 by adapter, while `lora_adapters.held_casts` is open."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """See `nn.Linear`; of any number of axes."""
        adapters = self.active_adapters
        plain = self.disable_adapters or self.merged or len(adapters) != 1 or args or kwargs
        if plain or self.lora_variant or not self._is_faster(x, adapters[0]):
            return torch.as_tensor(super().forward(x, *args, **kwargs))
        result = self.base_layer(x)
        if x.dtype == torch.bfloat16:
            down_RD, up_DR = self._matrices(adapters[0])
        else:
            down_RD, up_DR = (self.get_parameter(name) for name in _names(adapters[0]))
        inner_TR = functional.linear(x, down_RD).flatten(0, -2)
        added = torch.addmm(
            result.flatten(0, -2), inner_TR, up_DR.t(), alpha=self.scaling[adapters[0]]
        )
        return added.view_as(result)

    def _is_faster(self, x: Tensor, adapter: str) -> bool:
        """Whether one operation gives what peft's three give, or better."""
        if x.dtype == torch.bfloat16:
            return True
        exact = math.frexp(self.scaling[adapter])[0] == 0.5  # a power of two
        return (
            exact
            and x.dtype == torch.float32
            and x.device.type == "cpu"
            and not torch.is_autocast_enabled("cpu")
            and isinstance(self.lora_dropout[adapter], nn.Identity)
            and not self.lora_bias[adapter]
        )

    def _matrices(self, adapter: str) -> tuple[Tensor, Tensor]:
        """A and B in bfloat16: differentiable casts, or the one that is held."""
        held = None if torch.is_grad_enabled() else self.held_matrices
        if held is not None and adapter in held:
            return held[adapter]
        matrices = (self.get_parameter(name) for name in _names(adapter))
        down_RD, up_DR = (matrix.to(torch.bfloat16) for matrix in matrices)
        if held is not None:
            held[adapter] = down_RD, up_DR
        return down_RD, up_DR


def _names(adapter: str) -> tuple[str, str]:
    return f"lora_A.{adapter}.weight", f"lora_B.{adapter}.weight"
