"""Sequences of unequal length as one tensor without padding, and conversion to a padded one.

Token-wise layers run without padding, so padding cannot change them; only attention sees the padded
tensor, under a mask. Knows no model.

Shapes: T tokens of all rows, one row after another; B rows; N tokens of the longest row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from alphabench.device_transfer import sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Ragged:
    """The row and position of each of T packed tokens."""

    lengths: tuple[int, ...]
    """Tokens of each row; 0 is allowed."""
    rows_T: Tensor
    slots_T: Tensor
    order_T: Tensor | None = None
    """From one row after another, as `ragged` packs them, to this order; None: that one."""
    restore_T: Tensor | None = None
    """The inverse."""

    @property
    def longest(self) -> int:
        return max(self.lengths, default=0)

    @property
    def even(self) -> bool:
        """All rows are of one length, so that a padded tensor has no padding."""
        return all(length == self.longest for length in self.lengths)

    def pad(self, x_T: Tensor) -> Tensor:
        """[T, ...] -> [B, N, ...], zeros after the end of each row; no copy where none is due."""
        if self.even:
            x_T = x_T if self.restore_T is None else x_T.index_select(0, self.restore_T)
            return x_T.reshape(len(self.lengths), self.longest, *x_T.shape[1:])
        padded = x_T.new_zeros((len(self.lengths), self.longest, *x_T.shape[1:]))
        return padded.index_put((self.rows_T, self.slots_T), x_T)

    def unpad(self, x_BN: Tensor) -> Tensor:
        """[B, N, ...] -> [T, ...]."""
        if self.even:
            x_T = x_BN.flatten(0, 1)
            return x_T if self.order_T is None else x_T.index_select(0, self.order_T)
        return x_BN[self.rows_T, self.slots_T]

    def split(self, x_T: Tensor) -> tuple[Tensor, ...]:
        """One tensor a row; only for tokens in the order of their rows."""
        return tuple(torch.split(x_T, list(self.lengths)))

    def valid(self) -> Tensor:
        """[B, N], true where there is a token."""
        return self.pad(torch.ones_like(self.rows_T, dtype=torch.bool))

    def reordered(self, order_T: Tensor) -> Ragged:
        """The same rows, packed in another order of tokens."""
        return Ragged(
            lengths=self.lengths,
            rows_T=self.rows_T[order_T],
            slots_T=self.slots_T[order_T],
            order_T=order_T,
            restore_T=torch.argsort(order_T),
        )


def ragged(lengths: Sequence[int], device: torch.device) -> Ragged:
    """Rows of `lengths`, packed one after another."""
    rows = chain.from_iterable([row] * length for row, length in enumerate(lengths))
    slots = chain.from_iterable(range(length) for length in lengths)
    return Ragged(
        lengths=tuple(lengths),
        rows_T=numbers_on(device, rows),
        slots_T=numbers_on(device, slots),
    )


def numbers_on(device: torch.device, numbers: Iterable[int]) -> Tensor:
    """Whole numbers of the host on the device, int64, without waiting until they are there."""
    return sent(torch.tensor(list(numbers), dtype=torch.long), device)
