"""Copies between the CPU and the device that computes, with as few waits as possible.

A copy to the host makes it stand still until the device has done all that was queued, so results
that belong together are fetched together. Copies to the device are queued. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def fetched(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same values on the CPU, in order, for one wait however many there are.

    Args:
        tensors: of any shapes and types, all on one device; those on the CPU are returned as
            they are.
    """
    if all(one.device.type == "cpu" for one in tensors):
        return list(tensors)
    # The widest numbers come first, so that each part begins at a multiple of its own width.
    order = sorted(range(len(tensors)), key=lambda at: -tensors[at].element_size())
    parts = [tensors[at].detach().contiguous().flatten().view(torch.uint8) for at in order]
    host = torch.split(torch.cat(parts).cpu(), [len(part) for part in parts])
    found = {
        at: part.view(tensors[at].dtype).reshape(tensors[at].shape)
        for at, part in zip(order, host, strict=True)
    }
    return [found[at] for at in range(len(tensors))]


def sent(tensor: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """The same values on the device, without waiting until they are there.

    What is computed there afterwards sees them; CUDA copies memory that is not pinned before the
    call returns, so the source may be changed at once.
    """
    return tensor.to(device, tensor.dtype if dtype is None else dtype, non_blocking=True)
