"""Distances to a reference policy, by name. The coefficient is not portable from one to another.

Only the reference is without gradient, and that is the caller's choice. Knows no model.
Shapes: B samples, T tokens, X any axes of one latent.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import torch
from torch import Tensor

from alphatrainers.algorithms.precision import mean_over_elements, widen
from alphatrainers.algorithms.sde_steps import DenoisingStep

ImageKL = Literal["gaussian", "flow_grpo", "x_mse", "v_mse"]
TextKL = Literal["k1", "k2", "k3"]
IMAGE_KLS: Final[tuple[ImageKL, ...]] = get_args(ImageKL)
TEXT_KLS: Final[tuple[TextKL, ...]] = get_args(TextKL)


def step_kl(step: DenoisingStep, reference: DenoisingStep, *, kind: ImageKL) -> Tensor:
    """Distance of two steps that differ in their mean alone, averaged over elements; shape B.

    gaussian    d^2 / (2 std^2), exact             (Pref-GRPO `fastvideo/grpo/kl.py`, 3e787f6)
    flow_grpo   d^2 / (2 spread^2), which is `gaussian` * |dt| for flow_sde and dance  (ac4c86e)
    x_mse       d^2                                (Flow-Factory, b0a2bc5)

    Raises:
        ValueError: if the steps differ in more than the mean, or have no spread to divide by.
    """
    if step[1:] != reference[1:]:
        raise ValueError(f"two different steps: {step[1:]!r} and {reference[1:]!r}")
    square_B = mean_over_elements((step.mean_BX - reference.mean_BX) ** 2)
    if kind == "x_mse":
        return square_B
    if kind not in {"gaussian", "flow_grpo"}:
        raise ValueError(f"kind={kind!r} does not compare two steps; known: {', '.join(IMAGE_KLS)}")
    width = step.std if kind == "gaussian" else step.spread
    if width <= 0.0:
        raise ValueError(f"a {step.kind!r} step without spread has no {kind!r} distance")
    return square_B / (2.0 * width**2)


def velocity_kl(v_BX: Tensor, v_ref_BX: Tensor) -> Tensor:
    """`v_mse`: squared difference of velocities, averaged over elements; shape B.

    Free of schedule and noise (UniGRPO, DiffusionNFT, AWM); the one to start with.
    """
    return mean_over_elements((widen(v_BX) - widen(v_ref_BX)) ** 2)


def token_kl(logp_BT: Tensor, ref_BT: Tensor, mask_BT: Tensor, *, kind: TextKL) -> Tensor:
    """Estimate of KL(policy || reference) for each token, 0 under the mask; shape B, T.

    With d = ref - logp: k1 = -d, k2 = d^2 / 2, k3 = exp(d) - d - 1
    (http://joschu.net/blog/kl-approx.html).
    """
    difference_BT = torch.where(mask_BT, widen(ref_BT) - widen(logp_BT), 0.0)
    if kind == "k1":
        return -difference_BT
    if kind == "k2":
        return 0.5 * difference_BT**2
    if kind != "k3":
        raise ValueError(f"kind={kind!r} is none of {', '.join(TEXT_KLS)}")
    return torch.expm1(difference_BT) - difference_BT
