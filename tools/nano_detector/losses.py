"""What the nano detector is trained towards: targets from labelled cells, and one loss per map.

Pure: tensors in, tensors out, float32. Knows no renderer and no optimiser.

Shapes: B images, N object slots (unused ones have category -1), H W cells, C categories plus
background, K colours.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from alphabench.nano.detector_network import BOX_UNIT, CELLS, STRIDE, Maps

WEIGHTS: Final = {"centre": 1.0, "category": 1.0, "colour": 0.5, "offset": 0.3, "box": 2.0}
"""Factors of the five losses, which brings them to like size after some hundred steps."""


class Labels(NamedTuple):
    """Truth of a batch of canonical images."""

    owner_BHW: Tensor
    """int64: 0 on background, else 1 + the slot of the object that owns the cell."""
    box_BN4: Tensor
    """x1, y1, x2, y2 of what is visible, in canonical pixels."""
    category_BN: Tensor
    """int64; -1 in unused slots."""
    colour_BN: Tensor
    """int64; -1 in unused slots."""


def losses(maps: Maps, labels: Labels) -> dict[str, Tensor]:
    """The five unweighted losses by name; a batch without objects has only centre and category."""
    used_BN = labels.category_BN >= 0
    on_BHW = labels.owner_BHW > 0
    slot_BHW = (labels.owner_BHW - 1).clamp(min=0)
    weight_BHW = cell_weights(labels.owner_BHW, used_BN.shape[1]) * on_BHW
    total = weight_BHW.sum().clamp(min=1e-6)
    category_BHW = (_of_cell(labels.category_BN, slot_BHW) + 1) * on_BHW
    category_loss_BHW = functional.cross_entropy(maps.category_BCHW, category_BHW, reduction="none")
    colour_loss_BHW = functional.cross_entropy(
        maps.colour_BKHW, _of_cell(labels.colour_BN, slot_BHW).clamp(min=0), reduction="none"
    )
    box_B4HW = _of_cell(labels.box_BN4, slot_BHW).permute(0, 3, 1, 2) / STRIDE
    offset_B2HW, reach_B4HW = cell_geometry(box_B4HW)
    off_BHW = (maps.offset_B2HW - offset_B2HW).abs().sum(dim=1)
    box_loss_BHW = (maps.box_B4HW - reach_B4HW).abs().sum(dim=1)

    def over_objects(loss_BHW: Tensor) -> Tensor:
        return (loss_BHW * weight_BHW).sum() / total

    background = (category_loss_BHW * ~on_BHW).sum() / (~on_BHW).sum().clamp(min=1)
    heat_BHW, peak_BHW = centre_target(labels.box_BN4, used_BN)
    return {
        "centre": centre_loss(maps.centre_B1HW[:, 0], heat_BHW, peak_BHW),
        "category": over_objects(category_loss_BHW) + background,
        "colour": over_objects(colour_loss_BHW),
        "offset": over_objects(off_BHW),
        "box": over_objects(box_loss_BHW),
    }


def cell_weights(owner_BHW: Tensor, slots: int) -> Tensor:
    """1/sqrt(cells of the object): an object counts with the square root of its size."""
    area_BN = functional.one_hot(owner_BHW.flatten(1), slots + 1).sum(dim=1).float()
    weight_BN = area_BN.clamp(min=1.0).rsqrt()
    return weight_BN.gather(1, owner_BHW.flatten(1)).view_as(owner_BHW)


def cell_geometry(box_B4HW: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets to the centre (cells) and distances to the edges (`BOX_UNIT` cells) of each cell.

    `box_B4HW` holds each cell's object's box in cells. Offsets count from the cell's index to the
    index of the cell in which the centre lies, so that an exact vote hits the peak's index.
    """
    index_W = torch.arange(CELLS, dtype=torch.float32)
    x_HW, y_HW = index_W.expand(CELLS, CELLS), index_W[:, None].expand(CELLS, CELLS)
    x1, y1, x2, y2 = box_B4HW.unbind(dim=1)
    offset_B2HW = torch.stack([(x1 + x2) / 2 - 0.5 - x_HW, (y1 + y2) / 2 - 0.5 - y_HW], dim=1)
    left, top = x_HW + 0.5 - x1, y_HW + 0.5 - y1
    reach_B4HW = torch.stack([left, top, x2 - x_HW - 0.5, y2 - y_HW - 0.5], dim=1)
    return offset_B2HW, reach_B4HW / BOX_UNIT


def centre_target(box_BN4: Tensor, used_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Bumps of height up to 1 round the centres, and which cells hold a centre (bool)."""
    box_BN4 = box_BN4 / STRIDE
    x1, y1, x2, y2 = box_BN4.unbind(dim=2)
    column_BN = ((x1 + x2) / 2).floor().clamp(0, CELLS - 1)
    row_BN = ((y1 + y2) / 2).floor().clamp(0, CELLS - 1)
    spread_BN = (((x2 - x1) * (y2 - y1)).clamp(min=0.0).sqrt() / 10.0).clamp(0.6, 2.0)
    index = torch.arange(CELLS, dtype=torch.float32)
    distance_BNHW = (index - column_BN[..., None])[:, :, None, :] ** 2 + (
        (index - row_BN[..., None]) ** 2
    )[..., None]
    bump_BNHW = torch.exp(-distance_BNHW / (2.0 * spread_BN**2)[..., None, None])
    heat_BHW = (bump_BNHW * used_BN[..., None, None]).amax(dim=1)
    return heat_BHW, heat_BHW > 0.999


def centre_loss(centre_BHW: Tensor, heat_BHW: Tensor, peak_BHW: Tensor) -> Tensor:
    """Penalty-reduced focal loss per object (CornerNet, arXiv:1808.01244, eq. 1)."""
    probability_BHW = centre_BHW.sigmoid()
    hit_BHW = (1.0 - probability_BHW) ** 2 * functional.logsigmoid(centre_BHW)
    miss_BHW = (1.0 - heat_BHW) ** 4 * probability_BHW**2 * functional.logsigmoid(-centre_BHW)
    total = torch.where(peak_BHW, hit_BHW, miss_BHW).sum()
    return -total / peak_BHW.sum().clamp(min=1)


def _of_cell(value_BN: Tensor, slot_BHW: Tensor) -> Tensor:
    """(B, H, W, ...) the value of the object that owns each cell; slot 0's on background."""
    batch_B11 = torch.arange(len(value_BN))[:, None, None]
    return value_BN[batch_B11, slot_BHW]
