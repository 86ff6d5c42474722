"""A policy with what tasks and validations need beside it. Opens nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from alphabench.types import Generator
from alphagrpo.tasks import Resize
from alphatrainers.protocols import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedPolicy:
    """A policy and its surroundings."""

    name: str
    policy: Policy
    generator: Callable[[], Generator]
    """The checkpoint as the harness would open it, with the weights now in force."""
    size: tuple[int, int]
    """Width and height of its pictures where a recipe names none."""
    resize: Resize
    think_prompt: str
    reflect_prompt: str
    thinks: bool
    edits: bool


def digest_of(module: nn.Module) -> str:
    """sha256 over names and values of the parameters that are trained, as now in force."""
    digest = hashlib.sha256()
    for name, parameter in sorted(module.named_parameters()):
        if parameter.requires_grad:
            value = parameter.detach()
            value = value.to_local() if isinstance(value, DTensor) else value
            digest.update(name.encode())
            digest.update(value.to("cpu").contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]
