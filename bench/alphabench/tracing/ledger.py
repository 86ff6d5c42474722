"""Counts what torch's operators do: tensors alive by category, FLOPs, and bytes read and written.

Sees each operator below autograd, forward and backward alike, on real tensors as on those of
`shapes_only`, and gives the same numbers for both. FLOPs are those of matrix products,
convolutions and attention, by torch's own formulas (`torch.utils.flop_counter`). Bytes are what
each operator reads and writes, without caches: fusion by a compiler moves fewer. Does not know the
working space inside a kernel, the allocator's fragments and a library's own buffers.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

TEMPORARY: Final = "activations"
"""The category of a tensor that nobody named: activations, and what operators return in passing."""
LOGITS: Final = "logits"
_PLAIN: Final = (nn.Parameter, FakeTensor)
_OVERWRITES: Final = frozenset({"copy_", "fill_", "zero_", "uniform_", "normal_"})
"""Operators that change an argument without reading it."""
_GATHERS: Final = frozenset({"embedding", "index", "index_select", "gather"})
"""Operators that read of their first argument only as much as they return."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseCounts:
    """What one phase did; sums are of this phase alone."""

    flops: float
    """Of matrix products, convolutions and attention; a multiply-add is two."""
    bytes_moved: float
    """Read and written by all operators."""
    operators: int
    """That read or write; views are free."""
    peak: Mapping[str, float]
    """Bytes alive by category at the moment when the most were alive."""

    @property
    def peak_bytes(self) -> float:
        return math.fsum(self.peak.values())


class TensorLedger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the account while it is entered; one may be entered again.

    Args:
        vocabulary: float tensors whose last dimension has this size are booked as logits; 0 books
            none.
        compute: runs an operator; by default torch does.
    """

    def __init__(self, *, vocabulary: int = 0, compute: Callable[..., Any] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._vocabulary = vocabulary
        self._compute = compute or _call
        self._alive: dict[int, tuple[int, str]] = {}
        """id of a storage -> its bytes and category."""
        self._references: dict[int, weakref.ref[Any]] = {}
        self._sums: dict[str, int] = {}
        self._total = self._most = 0
        self._peak: dict[str, int] = {}
        self._flops = self._moved = 0.0
        self._operators = 0
        self._written: dict[Any, tuple[int, ...]] = {}

    def __enter__(self) -> TensorLedger:
        self._resize = torch.UntypedStorage.resize_
        ledger, resize = self, self._resize

        def resized(storage: torch.UntypedStorage, size: int) -> Any:
            result = resize(storage, size)
            ledger._changed(storage)
            return result

        torch.UntypedStorage.resize_ = resized  # type: ignore[method-assign, assignment]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        torch.UntypedStorage.resize_ = self._resize  # type: ignore[method-assign]

    @property
    def alive(self) -> dict[str, int]:
        """Bytes that are alive now, by category."""
        return {name: size for name, size in self._sums.items() if size}

    def book(self, category: str, tensors: Iterable[object]) -> None:
        """Books these tensors under a category, from now on; anything else is passed over."""
        for tensor in tensors:
            if isinstance(tensor, Tensor):
                self._book(_plain(tensor).untyped_storage(), category)

    def rebook(self, before: str, after: str) -> None:
        """Books everything that is alive in one category under another."""
        size = self._sums.pop(before, 0)
        self._sums[after] = self._sums.get(after, 0) + size
        for key, (bytes_, category) in self._alive.items():
            if category == before:
                self._alive[key] = (bytes_, after)

    @contextmanager
    def phase(self, into: dict[str, PhaseCounts], name: str) -> Iterator[None]:
        """Counts what happens inside as `into[name]`. Phases do not nest."""
        self._most, self._peak = self._total, dict(self._sums)
        before = (self._flops, self._moved, self._operators)
        yield
        into[name] = PhaseCounts(
            flops=self._flops - before[0],
            bytes_moved=self._moved - before[1],
            operators=self._operators - before[2],
            peak={name: float(size) for name, size in self._peak.items() if size},
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not all(kind is Tensor or issubclass(kind, _PLAIN) for kind in types):
            return NotImplemented  # a tensor of several processes: its own parts come next
        kwargs = kwargs or {}
        result = self._compute(func, args, kwargs)
        given = [_plain(one) for one in tensors_in(*args, *kwargs.values())]
        made = [_plain(one) for one in tensors_in(result)]
        self._count(func, args, kwargs, result, given, made)
        for tensor in made:
            storage = tensor.untyped_storage()
            if id(storage) not in self._alive:
                self._book(storage, self._category(tensor))
        return result

    def _category(self, tensor: Tensor) -> str:
        wide = self._vocabulary and tensor.ndim and tensor.shape[-1] == self._vocabulary
        return LOGITS if wide and tensor.dtype.is_floating_point else TEMPORARY

    def _count(
        self,
        func: Any,
        args: Any,
        kwargs: Any,
        result: Any,
        given: list[Tensor],
        made: list[Tensor],
    ) -> None:
        written = self._written_by(func)
        if not written and _is_view(given, made):
            return
        self._operators += 1
        name = func._schema.name.rpartition("::")[2]
        moved = sum(map(_bytes, made))
        if name in _GATHERS:
            moved += sum(map(_bytes, made)) + sum(map(_bytes, given[1:]))
        else:
            changed = {id(args[index]) for index in written if index < len(args)}
            skipped = changed if name in _OVERWRITES else set()
            moved += sum(_bytes(one) for one in given if id(one) not in skipped)
        self._moved += moved
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self._flops += count(*args, **kwargs, out_val=result)
        elif name in _ATTENTION:
            self._flops += _ATTENTION[name] * _attention_flops(args, backward="backward" in name)

    def _written_by(self, func: Any) -> tuple[int, ...]:
        found = self._written.get(func)
        if found is None:
            found = tuple(
                index
                for index, one in enumerate(func._schema.arguments)
                if one.alias_info is not None and one.alias_info.is_write
            )
            self._written[func] = found
        return found

    def _book(self, storage: Any, category: str) -> None:
        key, size = id(storage), storage.nbytes()
        before = self._alive.get(key)
        if before is None:
            self._references[key] = weakref.ref(storage, lambda _, key=key: self._freed(key))  # type: ignore[misc]
        else:
            self._sums[before[1]] -= before[0]
            self._total -= before[0]
        self._alive[key] = (size, category)
        self._sums[category] = self._sums.get(category, 0) + size
        self._total += size
        if self._total > self._most:
            self._most, self._peak = self._total, dict(self._sums)

    def _changed(self, storage: Any) -> None:
        """A storage has another size; FSDP empties and fills its buffers so."""
        known = self._alive.get(id(storage))
        if known is not None:
            self._book(storage, known[1])

    def _freed(self, key: int) -> None:
        size, category = self._alive.pop(key)
        del self._references[key]
        self._sums[category] -= size
        self._total -= size


def tensors_in(*values: object) -> list[Tensor]:
    """The tensors among an operator's arguments or results, those in lists included."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_in(*value)
    return found


_ATTENTION: Final[Mapping[str, float]] = {
    "_scaled_dot_product_flash_attention_for_cpu": 1.0,
    "_scaled_dot_product_flash_attention_for_cpu_backward": 2.5,
}
"""Fused attention -> FLOPs as a multiple of the forward pass; its backward pass computes the scores
again (five products instead of two), as torch's formula for the GPU's kernels has it."""


def _attention_flops(args: Sequence[Any], *, backward: bool) -> float:
    """Of the forward pass; grouped keys count once for each query head."""
    q, k, v = (one.shape for one in (args[1:4] if backward else args[:3]))
    return float(2 * q[0] * q[1] * q[2] * k[2] * (q[3] + v[3]))


def _call(func: Any, args: Any, kwargs: Any) -> Any:
    return func(*args, **kwargs)


def _bytes(tensor: Tensor) -> int:
    """What a kernel reads or writes of it; a repeated dimension of stride 0 counts once."""
    counts = (n for n, step in zip(tensor.shape, tensor.stride(), strict=True) if step or n == 0)
    return math.prod(counts) * tensor.element_size()


def _is_view(given: Sequence[Tensor], made: Sequence[Tensor]) -> bool:
    """Whether an operator gives back only what it was given, in another shape."""
    if not made or not given:
        return not made
    known = {id(one.untyped_storage()) for one in given}
    return all(id(one.untyped_storage()) in known for one in made)


def _plain(tensor: Tensor) -> Tensor:
    """This process's part of a tensor that is spread over several."""
    local = getattr(tensor, "_local_tensor", None)
    return local if isinstance(local, Tensor) else tensor
