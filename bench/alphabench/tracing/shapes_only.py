"""Runs code whose weights have shapes and no values: a model of any size in little memory.

Weights, and all that is computed from them, are fake tensors (`torch._subclasses.fake_tensor`).
Tensors that depend on no weight are computed: token ids, positions, masks, noise levels. So code
that looks at them goes the way it would go. Where code asks for a number that depends on weights,
it gets 1, or true, or token 0. Attention is booked as one fused kernel, and code that asks whether
a tensor is on a GPU hears that it is. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from alphabench.tracing.ledger import TensorLedger, tensors_in

aten = torch.ops.aten
_LARGEST_COMPUTED: Final = 2**18
"""Elements of the largest new float tensor that gets values."""
_UNSET: Final = frozenset({"empty", "empty_strided", "empty_like", "new_empty"})
"""Operators whose results have no values before something is written."""


@contextmanager
def shapes_only(*, vocabulary: int = 0, values: bool = False) -> Iterator[TensorLedger]:
    """Inside, new float tensors have no values, and the ledger counts.

    Args:
        vocabulary: see `TensorLedger`.
        values: let all tensors have values after all, to compare the counts.
    """
    with ExitStack() as stack:
        if values:
            ledger = stack.enter_context(TensorLedger(vocabulary=vocabulary))
            stack.enter_context(AsOnGpu())
            yield ledger
            return
        fake = stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))

        def compute(func: Any, args: Any, kwargs: Any) -> Any:
            if func is aten.detach.default:
                # The references in it would keep `Module.to` from exchanging parameters.
                result = _compute(func, args, kwargs)
                fake.fake_tensor_converter.meta_converter.tensor_memo.clear()
                return result
            return _compute(func, args, kwargs)

        ledger = TensorLedger(vocabulary=vocabulary, compute=compute)
        stack.enter_context(ledger)
        stack.enter_context(AsOnGpu())
        yield ledger


def without_values(module: nn.Module, dtype: torch.dtype | None = None) -> None:
    """Gives a module that was built on the meta device weights with shapes and no values.

    Args:
        module: is changed in place. Call it inside `shapes_only`.
        dtype: of its float weights; None leaves theirs.
    """

    def empty(tensor: Tensor) -> Tensor:
        wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        made = torch.empty(tensor.shape, dtype=wanted)
        return made if isinstance(made, FakeTensor) else made.zero_()

    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            shaped = nn.Parameter(empty(parameter), requires_grad=parameter.requires_grad)
            setattr(part, name, shaped)
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.is_meta:
                setattr(part, name, empty(buffer))


class AsOnGpu(TorchFunctionMode):
    """Lets code on the CPU take the paths of a GPU; also for real tensors, to compare with."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return _fused_attention(*args, **kwargs)
        if func is torch.Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return True
        if func is torch.Tensor.numpy and isinstance(args[0], FakeTensor):
            return np.zeros(args[0].shape, dtype=str(args[0].dtype).removeprefix("torch."))
        return func(*args, **kwargs)


def _fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """One kernel that stores its result and a sum for each query, but no scores.

    As on a GPU, a mask of booleans is first turned into one of numbers.
    """
    del enable_gqa  # the kernel groups queries by itself
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        numbers = torch.zeros_like(attn_mask, dtype=query.dtype)
        attn_mask = numbers.masked_fill_(~attn_mask, float("-inf"))
    kernel = aten._scaled_dot_product_flash_attention_for_cpu
    mixed: Tensor = kernel(
        query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
    )[0]
    return mixed


def _compute(func: Any, args: Any, kwargs: Any) -> Any:
    """One operator: for real where no argument lacks values, else by shape alone."""
    tensors = tensors_in(*args, *kwargs.values())
    fake = any(isinstance(one, FakeTensor) for one in tensors)
    if not fake:
        unset = func._schema.name.rpartition("::")[2] in _UNSET
        if (tensors and not unset) or _gets_values(func, args, kwargs):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        return func(*args, **kwargs)
    if func is aten._local_scalar_dense.default:
        return _stand_in(args[0].dtype)
    if func is aten.equal.default:
        return True
    if func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default):
        args = (args[0], _as_numbers(args[1]), *args[2:])
    for argument, given in zip(func._schema.arguments, args, strict=False):
        written = argument.alias_info is not None and argument.alias_info.is_write
        if written and isinstance(given, Tensor) and not isinstance(given, FakeTensor):
            return given  # its new values are not known, and nobody may rely on the old ones
    return func(*args, **kwargs)


def _gets_values(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether a tensor that is made from no other is computed."""
    name = func._schema.name.rpartition("::")[2]
    dtype = kwargs.get("dtype") or torch.get_default_dtype()
    if not dtype.is_floating_point or name == "arange":
        return True
    size = args[0] if args and isinstance(args[0], list | tuple | torch.Size) else ()
    return name not in _UNSET and torch.Size(size).numel() <= _LARGEST_COMPUTED


def _as_numbers(indices: Any) -> list[Tensor | None]:
    """Masks as positions: how many there are decides a shape, and they have values."""
    numbers: list[Tensor | None] = []
    for one in indices:
        if one is None or one.dtype != torch.bool or isinstance(one, FakeTensor):
            numbers.append(one)
            continue
        with unset_fake_temporarily():
            numbers += one.nonzero(as_tuple=True)
    return numbers


def _stand_in(dtype: torch.dtype) -> bool | int | float:
    if dtype == torch.bool:
        return True
    return 1.0 if dtype.is_floating_point else 0
