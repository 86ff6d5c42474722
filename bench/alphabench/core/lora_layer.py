"""A LoRA layer whose products are computed in the precision of bfloat16 weights.

The adapter's own weights stay float32, since small steps of training vanish in half precision. peft
casts a layer's input and result between the two and multiplies in float32; this one casts the
adapter's matrices instead, which are small, and adds its product to the result in one operation.
For weights in float32 it calculates exactly as peft's own layer does; float16 is left to peft too,
for its small exponents would need a scaled loss. Knows no model and no optimizer.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor
from torch.nn import functional


class LoraLinear(Linear):
    """peft's layer, faster on bfloat16 weights; dropout is not supported there."""

    held_matrices: dict[str, tuple[Tensor, Tensor]] | None = None
    """A and B in bfloat16 by adapter, while `lora_adapters.held_casts` is open."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """See `nn.Linear`; of any number of axes."""
        adapters = self.active_adapters
        plain = self.disable_adapters or self.merged or len(adapters) != 1 or args or kwargs
        if plain or x.dtype != torch.bfloat16 or self.lora_variant:
            return torch.as_tensor(super().forward(x, *args, **kwargs))
        result = self.base_layer(x)
        down_RD, up_DR = self._matrices(adapters[0])
        inner_TR = functional.linear(x, down_RD).flatten(0, -2)
        added = torch.addmm(
            result.flatten(0, -2), inner_TR, up_DR.t(), alpha=self.scaling[adapters[0]]
        )
        return added.view_as(result)

    def _matrices(self, adapter: str) -> tuple[Tensor, Tensor]:
        """A and B in bfloat16: differentiable casts, or the one that is held."""
        held = None if torch.is_grad_enabled() else self.held_matrices
        if held is not None and adapter in held:
            return held[adapter]
        names = (f"lora_A.{adapter}.weight", f"lora_B.{adapter}.weight")
        down_RD, up_DR = (self.get_parameter(name).to(torch.bfloat16) for name in names)
        if held is not None:
            held[adapter] = down_RD, up_DR
        return down_RD, up_DR
