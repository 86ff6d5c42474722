"""A worker's claim on its accelerator: which one is current, and memory that is given back.

On the CPU both do nothing. Knows no model.
"""

from __future__ import annotations

import gc
from typing import Final

CPU: Final = "cpu"


def make_current(device: str) -> None:
    """Libraries that name no device then use this one, and not the first of the machine.

    Args:
        device: of torch: `cuda:1`.
    """
    if device != CPU:
        import torch

        torch.get_device_module(device).set_device(torch.device(device))


def give_back_memory(device: str) -> None:
    """Frees what no object of this process needs any more, for the next model or process.

    Models hold references in circles, so that they outlive their last use until these are
    collected; torch then still keeps their memory for itself.

    Args:
        device: of torch.
    """
    if device != CPU:
        import torch

        gc.collect()
        torch.get_device_module(device).empty_cache()
