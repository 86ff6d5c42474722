"""The small parts between images and the decoder: position tables, time, connector.

Shapes: T tokens; D decoder width; E width of the input; S side of a square position table.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

TIME_FEATURES: Final = 256
LONGEST_PERIOD: Final = 10_000.0


def sine_table(side: int, width: int) -> Tensor:
    """The fixed table [side * side, width] for rows and columns of a grid, float32.

    The first half of the width encodes the column, the second the row, each as sines and then
    cosines of width / 4 frequencies (the table of MAE, arXiv 2111.06377, and DiT).
    """
    quarter = width // 4
    steps = torch.arange(quarter, dtype=torch.float64) / quarter
    angles = torch.arange(side, dtype=torch.float64)[:, None] / LONGEST_PERIOD**steps
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns = axis[None, :, :].expand(side, -1, -1)
    rows = axis[:, None, :].expand(-1, side, -1)
    return torch.cat([columns, rows], dim=-1).flatten(0, 1).float()


def time_features(t_T: Tensor) -> Tensor:
    """Cosines and then sines [T, 256] of times in [0, 1], unscaled (float32)."""
    half = TIME_FEATURES // 2
    steps = torch.arange(half, dtype=torch.float32, device=t_T.device) / half
    angles = t_T.float()[:, None] * torch.exp(-math.log(LONGEST_PERIOD) * steps)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class PositionTable(nn.Module):
    """A stored table that is never trained; index = row * side + column."""

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(side * side, width), requires_grad=False)

    def forward(self, indices_T: Tensor) -> Tensor:
        return self.pos_embed[indices_T]


class TimeEmbedder(nn.Module):
    """Times in [0, 1] to vectors of the decoder's width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, t_T: Tensor) -> Tensor:
        features = time_features(t_T).to(next(self.mlp.parameters()).dtype)
        return torch.as_tensor(self.mlp(features))


class Connector(nn.Module):
    """From the vision encoder's width to the decoder's."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width_in, width_out)
        self.fc2 = nn.Linear(width_out, width_out)

    def forward(self, x_TE: Tensor) -> Tensor:
        inner = functional.gelu(self.fc1(x_TE), approximate="tanh")
        return torch.as_tensor(self.fc2(inner))
