"""Weights of which each process holds a part, through FSDP2, and the types that passes compute in.

A unit gathers its weights when it is called, and again for its backward pass; its gradients are
summed in float32 and divided again. Knows no policy and no training.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from alphatrainers.distributed import Processes, require_group


def shard_units(
    units: Sequence[nn.Module], processes: Processes, *, compute: torch.dtype | None = None
) -> list[Any]:
    """Divides the weights of each unit among the processes; of one alone, it holds all.

    Args:
        units: see `alphatrainers.protocols.Policy.units`.
        processes: all of them.
        compute: the type in which weights are gathered, and so the type of their gradients until
            these are summed; None is that of the weights.

    Returns:
        Those that have weights of their own.
    """
    from torch.distributed import fsdp
    from torch.distributed.device_mesh import init_device_mesh

    device = next(units[0].parameters()).device
    require_group(device)
    how: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, (processes.size,)),
        "reshard_after_forward": True,
        "mp_policy": fsdp.MixedPrecisionPolicy(
            param_dtype=compute,
            reduce_dtype=None if compute is None else torch.float32,
            # Positions and masks are float32 on purpose; a policy casts what its layers read.
            cast_forward_inputs=False,
        ),
    }
    sharded: list[Any] = []
    roots: list[Any] = []
    for unit in units:
        within = {id(part) for part in unit.modules()}
        inner = [root for root in roots if id(root) in within]
        if not inner:
            sharded.append(fsdp.fully_shard(unit, **how))
        elif "ignored_params" in inspect.signature(fsdp.fully_shard).parameters:
            fsdp.fully_shard(unit, **how, ignored_params=set(unit.parameters()))
            roots = [root for root in roots if id(root) not in within]
        else:
            continue
        roots.append(unit)
    for one in sharded:
        # Losses are divided by counts of all processes: gradients are summed, not averaged.
        one.set_gradient_divide_factor(1.0)
        one.set_force_sum_reduction_for_comms(True)
    if len(roots) > 1:
        _join_roots(roots)
    return sharded


def _join_roots(roots: Sequence[Any]) -> None:
    """Units that nothing holds together follow each other in an order that nobody knows.

    A unit keeps its last whole gradient until the next one in its context sends one: alone there it
    would keep it for the whole backward pass. And none gathers another's weights in advance, since
    that one may have no part in this backward pass: it would keep weights of before the update.
    """
    from torch.distributed import fsdp

    share_context = getattr(fsdp, "share_comm_ctx", None)  # older versions of torch lack it
    if share_context is not None:
        share_context(list(roots))
    for root in roots:
        root.set_modules_to_backward_prefetch([root])


@contextmanager
def float32_products(kind: str) -> Iterator[None]:
    """Inside, products of float32 matrices round their factors as `tf32`, where a device can.

    Args:
        kind: any other than `tf32` changes nothing.
    """
    if kind != "tf32":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
