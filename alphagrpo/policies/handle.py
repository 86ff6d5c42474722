"""A loaded policy and what tasks and validations need to know of its checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from alphabench.interfaces import Generator
from alphagrpo.tasks import Resize, Schedule
from alphatrainers.protocols import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyHandle:
    """A policy and what is known of the checkpoint that it was loaded from."""

    name: str
    policy: Policy
    generator: Callable[[], Generator]
    """The checkpoint as the harness opens it, with the weights now in force."""
    size: tuple[int, int]
    """Width and height of its images where a recipe names none; pixels."""
    resize: Resize
    """A source image in the size in which the policy reads it."""
    think_prompt: str
    """System prompt that asks for a thought; empty where it does not think."""
    reflect_prompt: str
    """Instruction of a refinement, with `{prompt}` in it."""
    thinks: bool
    """Can write a thought before it generates."""
    edits: bool
    """Can read a source image."""
    schedule: Schedule | None = None
    """Its own noise levels, for recipes that name no shift. None takes `recipe.USUAL_SHIFT`."""
    samples_tokens: bool = False
    """Samples images token by token, instead of denoising them."""


def trained_digest(module: nn.Module) -> str:
    """sha256 over names and values of the parameters that are trained, as now in force."""
    digest = hashlib.sha256()
    for name, parameter in sorted(module.named_parameters()):
        if parameter.requires_grad:
            value = parameter.detach()
            value = value.to_local() if isinstance(value, DTensor) else value
            digest.update(name.encode())
            # A copy: `numpy` fixes the size of a storage, which FSDP2 would free afterwards.
            copy = value.to("cpu", copy=True).contiguous()
            digest.update(copy.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]
