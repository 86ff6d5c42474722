"""How long a GPU needs at least, from its peak arithmetic and its memory's bandwidth.

The larger of FLOPs / peak and bytes / bandwidth: the roofline model (Williams, Waterman, Patterson,
CACM 52(4), 2009). No run is faster unless a compiler fuses operators, which moves fewer bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from alphabench.tracing.ledger import PhaseCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """What a data sheet says of one GPU."""

    name: str
    flops_per_second: float
    """Dense bfloat16."""
    bytes_per_second: float
    """Of its memory."""
    memory_bytes: float


H100: Final = Gpu(
    name="H100 SXM", flops_per_second=989e12, bytes_per_second=3.35e12, memory_bytes=80e9
)
"""By NVIDIA's data sheet: 989 TFLOP/s in bfloat16 without sparsity, 80 GB at 3.35 TB/s."""


def least_seconds(counts: PhaseCounts, gpu: Gpu = H100) -> float:
    """The bound of one phase."""
    arithmetic = counts.flops / gpu.flops_per_second
    return max(arithmetic, counts.bytes_moved / gpu.bytes_per_second)
