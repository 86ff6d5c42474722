"""The decoder's KV cache, and a block of tokens that it reads next.

Rows of a batch may differ in length at every block: gaps in the stored keys are masked, and since
keys carry their own positions, gaps change nothing. Knows no weights.

Shapes: T new tokens of all rows, packed; B rows; N new tokens of the longest row; P stored keys of
the longest row with gaps; G key heads; K head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from alphabench.models.bagel.config import BagelTextConfig
from alphabench.models.bagel.packed_sequences import Ragged, numbers_on, ragged

MARKS: Final = 2
"""Tokens around every image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Keys and values of all layers for B rows; never modified, only extended into a new one."""

    keys: tuple[Tensor, ...]
    """One [B, G, P + capacity, K] a layer, after normalisation and rotation."""
    values: tuple[Tensor, ...]
    valid_BP: Tensor
    lengths: tuple[int, ...]
    """Tokens stored for each row: what `valid_BP` counts, known without asking the device."""
    positions: tuple[int, ...]
    """The position that the next token of each row gets."""
    capacity: int = 0
    """Free slots after the P stored ones, for the keys and values of blocks to come.

    Reading two blocks after the same context overwrites the first one's keys. That saves a copy at
    each step of the sampler, which needs no keys of earlier steps, and at each decoded token. Not
    used while gradients are recorded.
    """

    @property
    def rows(self) -> int:
        return len(self.positions)

    @property
    def gapless(self) -> bool:
        """No row has a gap among its stored keys."""
        return all(length == self.valid_BP.shape[1] for length in self.lengths)

    def take(self, rows: Sequence[int]) -> Context:
        """These rows, in this order; a row may be taken twice."""
        index = numbers_on(self.valid_BP.device, rows)
        return Context(
            keys=tuple(key[index] for key in self.keys),
            values=tuple(value[index] for value in self.values),
            valid_BP=self.valid_BP[index],
            lengths=tuple(self.lengths[row] for row in rows),
            positions=tuple(self.positions[row] for row in rows),
            capacity=self.capacity,
        )

    def with_capacity(self, slots: int, *, multiple: int = 1) -> Context:
        """A copy with room for `slots` more tokens in every row, or for a few more.

        Args:
            slots: tokens.
            multiple: the length of all slots, of the stored ones too, is one of this.
        """
        assert not self.capacity, "capacity is reserved already"
        n_stored = self.valid_BP.shape[1]
        slots = multiple * -(-(n_stored + slots) // multiple) - n_stored
        return replace(
            self,
            keys=tuple(functional.pad(key, (0, 0, 0, slots)) for key in self.keys),
            values=tuple(functional.pad(value, (0, 0, 0, slots)) for value in self.values),
            capacity=slots,
        )

    def first(self, rows: int) -> Context:
        """The first `rows` rows, without copying: capacity is shared too."""
        return replace(
            self,
            keys=tuple(key[:rows] for key in self.keys),
            values=tuple(value[:rows] for value in self.values),
            valid_BP=self.valid_BP[:rows],
            lengths=self.lengths[:rows],
            positions=self.positions[:rows],
        )


def empty_context(
    config: BagelTextConfig, rows: int, *, dtype: torch.dtype, device: torch.device
) -> Context:
    """Nothing read yet, in `rows` rows."""
    shape = (rows, config.num_key_value_heads, 0, config.head_size)
    nothing = torch.zeros(shape, dtype=dtype, device=device)
    return Context(
        keys=(nothing,) * config.num_hidden_layers,
        values=(nothing,) * config.num_hidden_layers,
        valid_BP=torch.zeros((rows, 0), dtype=torch.bool, device=device),
        lengths=(0,) * rows,
        positions=(0,) * rows,
    )


def stack(contexts: Sequence[Context]) -> Context:
    """The rows of all `contexts`, one context after another; none has capacity reserved."""
    assert not any(context.capacity for context in contexts), "capacity is reserved after stacking"
    longest = max(context.valid_BP.shape[1] for context in contexts)

    def joined(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(
            [functional.pad(part, (0, 0, 0, longest - part.shape[2])) for part in parts]
        )

    return Context(
        keys=tuple(joined(layer) for layer in zip(*(c.keys for c in contexts), strict=True)),
        values=tuple(joined(layer) for layer in zip(*(c.values for c in contexts), strict=True)),
        valid_BP=torch.cat(
            [functional.pad(c.valid_BP, (0, longest - c.valid_BP.shape[1])) for c in contexts]
        ),
        lengths=tuple(length for context in contexts for length in context.lengths),
        positions=tuple(position for context in contexts for position in context.positions),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """T new tokens of B rows: the expert, the position and the attention mask of each.

    What decides the course of a forward pass is known to the host: reading a block never waits for
    the device.
    """

    tokens: Ragged
    """In reading order, which is the order of what goes in and comes out."""
    routed: Ragged
    """In the order in which the layers work: the understanding expert's tokens first."""
    order_T: Tensor | None
    """Reading order -> working order; None where they are the same."""
    restore_T: Tensor | None
    """Working order -> reading order."""
    understanding: int
    """How many tokens the understanding expert handles; the rest is the generation expert's."""
    positions_T: Tensor
    """In working order."""
    sees_BNN: Tensor | None
    """True where a new token (dim 1) may look at another one (dim 2); padding looks at itself.

    One row stands for all where they are alike. None: every token may look at all of its row.
    """
    positions_after: tuple[int, ...]
    """Of each row, once the block is stored."""

    def working_order(self, x_TD: Tensor) -> Tensor:
        """From reading order."""
        return x_TD if self.order_T is None else x_TD[self.order_T]

    def reading_order(self, x_TD: Tensor) -> Tensor:
        """From working order."""
        return x_TD if self.restore_T is None else x_TD[self.restore_T]

    def sees(self, context: Context) -> Tensor | None:
        """True where a new token may look at a stored (first P) or new (last N) one.

        [B, 1, N, P + N] or what expands to it; None where every token may look at everything.
        """
        if self.sees_BNN is None and self.tokens.even and context.gapless:
            return None
        if self.sees_BNN is None:
            return self.seen_keys(context)
        rows, n_new = len(self.sees_BNN), self.tokens.longest
        if context.gapless:
            shape = (rows, n_new, context.valid_BP.shape[1])
            stored_BNP = self.sees_BNN.new_ones(shape)
            return torch.cat([stored_BNP, self.sees_BNN], dim=2)[:, None]
        stored_BNP = context.valid_BP[:, None, :].expand(-1, n_new, -1)
        new_BNN = self.sees_BNN.expand(context.rows, -1, -1)
        return torch.cat([stored_BNP, new_BNN], dim=2)[:, None]

    def seen_keys(self, context: Context, *, free: int = 0) -> Tensor:
        """[B, 1, 1, P + N + free]: what all tokens of a row may look at, where they are alike.

        Padding too, whose result is never read. Slots that stay free are seen by nobody.
        """
        assert self.sees_BNN is None, "these tokens do not see alike"
        valid_BM = torch.cat([context.valid_BP, self.tokens.valid()], dim=1)
        pairs = zip(context.lengths, self.tokens.lengths, strict=True)
        if any(stored + new == 0 for stored, new in pairs):
            valid_BM = valid_BM | ~valid_BM.any(dim=1, keepdim=True)
        return functional.pad(valid_BM, (0, free))[:, None, None, :]


def make_block(
    tokens: Ragged,
    *,
    positions_T: Tensor,
    generation_T: Tensor,
    sees_BNN: Tensor,
    positions_after: Sequence[int],
) -> Block:
    """A block from tensors in reading order; `generation_T` is true for latent tokens.

    Counts tokens, so tensors on the host save a wait for the device.
    """
    order_T = torch.argsort(generation_T.to(torch.int8), stable=True)
    return Block(
        tokens=tokens,
        routed=tokens.reordered(order_T),
        order_T=order_T,
        restore_T=torch.argsort(order_T),
        understanding=int((~generation_T).sum()),
        positions_T=positions_T[order_T],
        sees_BNN=_with_padding(sees_BNN, tokens),
        positions_after=tuple(positions_after),
    )


def text_block(context: Context, lengths: Sequence[int]) -> Block:
    """Causal tokens of the understanding expert, at consecutive positions."""
    tokens = ragged(lengths, context.valid_BP.device)
    shape = (1 if tokens.even else len(lengths), tokens.longest, tokens.longest)
    sees_BNN = None
    if tokens.longest > 1:
        device = tokens.rows_T.device
        all_BNN = torch.ones(shape, dtype=torch.bool, device=device)
        sees_BNN = _with_padding(all_BNN.tril(), tokens)
    return Block(
        tokens=tokens,
        routed=tokens,
        order_T=None,
        restore_T=None,
        understanding=sum(lengths),
        positions_T=_starts(context, tokens) + tokens.slots_T,
        sees_BNN=sees_BNN,
        positions_after=tuple(p + n for p, n in zip(context.positions, lengths, strict=True)),
    )


def image_block(context: Context, lengths: Sequence[int], *, latents: bool) -> Block:
    """A start token, `lengths` image tokens and an end token a row, all seeing each other.

    All stand at one position, and the next block's position is the one after; a row of length 0
    gets no tokens at all. As Bagel's own inference does, verified on its recorded runs.
    """
    device = context.valid_BP.device
    tokens = ragged([n + MARKS if n else 0 for n in lengths], device)
    positions_T = _starts(context, tokens)
    order_T = restore_T = None
    if latents:
        inside, marks = inside_marks(tokens.lengths)
        order = [*marks, *inside]
        order_T = numbers_on(device, order)
        restore_T = torch.argsort(order_T)
        positions_T = positions_T[order_T]
    return Block(
        tokens=tokens,
        routed=tokens if order_T is None else tokens.reordered(order_T),
        order_T=order_T,
        restore_T=restore_T,
        understanding=len(marks) if latents else sum(tokens.lengths),
        positions_T=positions_T,
        sees_BNN=None,
        positions_after=tuple(p + (n > 0) for p, n in zip(context.positions, lengths, strict=True)),
    )


class MarkedTokens(NamedTuple):
    """Indices of packed tokens of images, each with a mark before and one after it."""

    inside: list[int]
    marks: list[int]


def inside_marks(lengths: Sequence[int]) -> MarkedTokens:
    """Which of the packed tokens are an image's and which are marks; `lengths` count both."""
    inside: list[int] = []
    marks: list[int] = []
    start = 0
    for length in lengths:
        end = start + length
        if length:
            marks += [start, end - 1]
            inside += range(start + 1, end - 1)
        start = end
    return MarkedTokens(inside, marks)


def _starts(context: Context, tokens: Ragged) -> Tensor:
    """The position that the next token of its row gets, one a token."""
    starts_B = numbers_on(tokens.rows_T.device, context.positions)
    return starts_B[tokens.rows_T]


def _with_padding(sees_BNN: Tensor, tokens: Ragged) -> Tensor:
    """Nothing looks at padding, but padding at itself, so that no row of a mask is empty."""
    if tokens.even:
        return sees_BNN
    itself_NN = torch.eye(tokens.longest, dtype=torch.bool, device=sees_BNN.device)
    return (sees_BNN & tokens.valid()[:, None, :]) | itself_NN
