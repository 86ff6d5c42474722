"""Muon for every weight with a matrix in it, kernels of convolutions included; AdamW for the rest.

Muon (Jordan et al., 2024, github.com/KellerJordan/Muon) replaces the momentum of a weight by the
nearest orthogonal matrix. torch.optim.Muon refuses kernels, hence this one. The step is scaled to
the root mean square of AdamW's steps (Moonlight, arXiv 2502.16982), so that both share one rate.

Shapes: R rows, C columns of a weight seen as a matrix, a kernel's being its inputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn

from tools.cpu_precision import fast_dtype

_MOMENTUM: Final = 0.95
_NEWTON_SCHULZ: Final = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration, from Muon's repository."""
_ITERATIONS: Final = 5
_STEP_RMS: Final = 0.2
"""Root mean square of an AdamW step in units of its rate, about."""


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; decoupled weight decay."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step; there is no closure."""
        assert closure is None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].lerp_(weight.grad, 1 - _MOMENTUM)
                ahead = weight.grad.lerp(momentum, _MOMENTUM)
                step_RC = orthogonal(ahead.flatten(1))
                scale = _STEP_RMS * max(step_RC.shape) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(step_RC.view_as(weight), alpha=-group["lr"] * scale)


def orthogonal(matrix_RC: Tensor) -> Tensor:
    """About the nearest matrix with singular values of one."""
    a, b, c = _NEWTON_SCHULZ
    tall = matrix_RC.shape[0] > matrix_RC.shape[1]
    x = (matrix_RC.T if tall else matrix_RC).to(fast_dtype())
    x = x / (x.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return torch.as_tensor(x.T if tall else x).to(matrix_RC.dtype)


def optimizers(network: nn.Module, rate: float, *, plain: Iterable[str] = ()) -> dict[str, Any]:
    """Muon for the matrices of `network`, AdamW for the rest and names that contain a `plain`."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, weight in network.named_parameters():
        if not weight.requires_grad:
            continue
        is_matrix = weight.ndim >= 2 and not any(part in name for part in plain)
        (matrices if is_matrix else rest).append(weight)
    return {
        "muon": Muon(matrices, lr=rate),
        "adamw": torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    }


def advance(steppers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """One step of each at this learning rate."""
    for stepper in steppers:
        for group in stepper.param_groups:
            group["lr"] = rate
        stepper.step()
