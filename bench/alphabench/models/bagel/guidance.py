"""Guidance of velocities by two weaker branches, and the times at which the sampler steps.

Pure arithmetic in float32 over padded rows whose padding is zero; knows no model.

Shapes: B rows; N latent tokens of the longest row; C features of a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor

Renorm = Literal["global", "channel", "text_channel"]
"""What is rescaled to the length of the unguided velocity.

global: the complete image. channel: each token. text_channel: each token, before the image branch.
"""
_TINY: Final = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidance:
    """How strongly the branches without text and without images push away."""

    text_scale: float = 4.0
    """1 or less: no guidance at all, by images neither."""
    image_scale: float = 1.0
    """1 or less: no image branch."""
    low: float = 0.4
    high: float = 1.0
    """Active at times t with low < t <= high, after the shift."""
    renorm: Renorm = "global"
    renorm_floor: float = 0.0
    """The least factor that renormalisation applies; 1 switches it off."""

    def __post_init__(self) -> None:
        if self.renorm not in get_args(Renorm):
            raise ValueError(f"renorm is one of {get_args(Renorm)}, not {self.renorm!r}")
        if not 0.0 <= self.renorm_floor <= 1.0:
            raise ValueError(f"renorm_floor lies in [0, 1], not at {self.renorm_floor!r}")

    def branches(self, t: float) -> int:
        """How many branches time `t` needs: 1 the full one, 2 the text-free, 3 the image-free."""
        if self.text_scale <= 1.0 or not self.low < t <= self.high:
            return 1
        return 3 if self.image_scale > 1.0 else 2


def apply_guidance(
    full_BNC: Tensor, text_free_BNC: Tensor, image_free_BNC: Tensor | None, guidance: Guidance
) -> Tensor:
    """The guided velocity; `image_free_BNC` is None where `branches` returns 2.

    As the reference's inference does it; see `Guidance` for scales and renormalisation.
    """
    per_token = guidance.renorm == "text_channel"
    pushed_BNC = text_free_BNC + guidance.text_scale * (full_BNC - text_free_BNC)
    if per_token:
        pushed_BNC = _renormed(pushed_BNC, full_BNC, guidance.renorm_floor, dims=(2,))
    if image_free_BNC is not None:
        pushed_BNC = image_free_BNC + guidance.image_scale * (pushed_BNC - image_free_BNC)
    if per_token:
        return pushed_BNC
    dims = (1, 2) if guidance.renorm == "global" else (2,)
    return _renormed(pushed_BNC, full_BNC, guidance.renorm_floor, dims=dims)


def _renormed(pushed: Tensor, full: Tensor, floor: float, *, dims: tuple[int, ...]) -> Tensor:
    target = torch.linalg.vector_norm(full, dim=dims, keepdim=True)
    norm = torch.linalg.vector_norm(pushed, dim=dims, keepdim=True)
    factor = torch.clamp(target / (norm + _TINY), floor, 1.0)
    return pushed * factor


class Interval(NamedTuple):
    """One Euler step from time `t` down by `width`."""

    t: float
    width: float


def intervals(points: int, shift: float) -> list[Interval]:
    """The steps between `points` times from 1 to 0, warped by t -> s t / (1 + (s - 1) t).

    There is one step fewer than points. Computed in float32, as the reference does.
    """
    if points < 2:
        raise ValueError(f"a schedule has at least 2 points, not {points!r}")
    t = torch.linspace(1.0, 0.0, points, dtype=torch.float32)
    t = shift * t / (1 + (shift - 1) * t)
    return [
        Interval(*pair) for pair in zip(t[:-1].tolist(), (t[:-1] - t[1:]).tolist(), strict=True)
    ]
