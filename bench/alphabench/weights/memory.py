"""Checks that weights fit into memory, before any of them is loaded.

Reads headers of safetensors files and queries the free memory of the system or GPU. Counts only
weights; activations need memory besides. Where free memory is unknown, nothing is refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alphabench.core.errors import AlphaBenchError
from alphabench.weights import weight_files
from alphabench.weights.sizes import METADATA

GIB: Final = 2**30
_WIDTHS: Final = {
    "F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "F8_E4M3": 1,
    "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
_CGROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSize:
    """Bytes of a checkpoint's weights."""

    stored: int
    """Of the files."""
    loaded: int
    """Of all tensors in memory; activations come on top."""


def stored_bytes(
    paths: Iterable[Path], *, width: int | None, name: str, in_float32: Collection[str] = ()
) -> int:
    """Bytes that all tensors of these files need.

    Args:
        paths: safetensors files.
        width: bytes of one number once loaded; None for the stored type.
        name: the checkpoint, for the errors.
        in_float32: modules whose weights load in float32 where others are narrower.

    Raises:
        AlphaBenchError: a header cannot be read.
    """
    total = 0
    for path in paths:
        header = weight_files.read_header(path, name=name)
        for key, entry in header.items():
            if key != METADATA:
                least = 4 if key.rpartition(".")[0] in in_float32 else 0
                each = max(least, width or _WIDTHS.get(entry["dtype"], 4))
                total += math.prod(entry["shape"]) * each
    return total


def device_title(device: str) -> str:
    """`cuda:0 (NVIDIA H100 80GB HBM3)`; the name alone for what is no GPU of this machine."""
    if not device.startswith("cuda"):
        return device
    import torch

    if not torch.cuda.is_available():
        return device
    return f"{device} ({torch.cuda.get_device_name(torch.device(device))})"


def free_bytes(device: str) -> int | None:
    """Bytes that are free on `device` now; None where that is unknown."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    if device != "cpu":
        return None
    limits = [_available(Path("/proc/meminfo")), _container_limit(_CGROUP)]
    return min((limit for limit in limits if limit), default=None)


def check_memory(needed: int, free: int | None, *, name: str, device: str) -> None:
    """Refuse weights that cannot fit.

    Raises:
        AlphaBenchError: more is needed than is free.
    """
    if free is None or needed <= free:
        return
    raise AlphaBenchError(
        f"the weights of {name!r} need {needed / GIB:.1f} GiB, and {device} has "
        f"{free / GIB:.1f} GiB free",
        hint="choose another device with --devices, a smaller dtype with --set dtype=bfloat16, "
        "or free some memory",
    )


def _available(meminfo: Path) -> int | None:
    """Linux's estimate of the memory available without swapping."""
    kib = _number_after(meminfo, "MemAvailable:")
    return None if kib is None else kib * 1024


def _container_limit(group: Path) -> int | None:
    """The memory left by a container's limit; cached files do not count as used."""
    limit = _text(group / "memory.max").strip()
    used = _number_after(group / "memory.stat", "anon")
    if not limit.isdecimal() or used is None:
        return None
    return max(int(limit) - used, 1)


def _number_after(path: Path, word: str) -> int | None:
    for line in _text(path).splitlines():
        parts = line.split()
        if parts[:1] == [word] and len(parts) > 1 and parts[1].isdecimal():
            return int(parts[1])
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text() if os.access(path, os.R_OK) else ""
    except OSError:
        return ""


def safetensors_among(folder: Path, needed: Iterable[str]) -> dict[str, Path]:
    """The safetensors among a checkpoint's needed files, by name."""
    return {one: folder / one for one in needed if one.endswith(".safetensors")}
