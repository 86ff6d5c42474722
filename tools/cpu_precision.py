"""The precision in which the tools train on a CPU."""

from __future__ import annotations

import torch


def fast_dtype() -> torch.dtype:
    """bfloat16 where the processor computes it; an emulated convolution takes 40 times as long."""
    able = torch.cpu.get_capabilities()
    native = able.get("avx512_bf16") or able.get("amx_bf16")
    return torch.bfloat16 if native else torch.float32


def cpu_autocast() -> torch.autocast:
    """Products in `fast_dtype`, all else in float32."""
    half = fast_dtype() == torch.bfloat16
    return torch.autocast("cpu", torch.bfloat16, enabled=half)
