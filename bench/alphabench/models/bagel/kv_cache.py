"""The decoder's KV cache, and a block of tokens that it reads next.

Rows of a batch may differ in length at every block: gaps in the stored keys are masked, and since
keys carry their own positions, gaps change nothing. Knows no weights.

Shapes: T new tokens of all rows, packed; B rows; N new tokens of the longest row; P stored keys of
the longest row with gaps; G key heads; K head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from alphabench.models.bagel.config import BagelTextConfig
from alphabench.models.bagel.packed_sequences import Ragged, ragged


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Keys and values of all layers for B rows; never modified, only extended into a new one."""

    keys: tuple[Tensor, ...]
    """One [B, G, P, K] a layer, after normalisation and rotation."""
    values: tuple[Tensor, ...]
    valid_BP: Tensor
    positions: tuple[int, ...]
    """The position that the next token of each row gets."""
    capacity: int = 0
    """Free slots after the P stored ones, for the next block's keys and values.

    Reading two blocks after the same context overwrites the first one's keys. That saves a copy at
    each step of the sampler, which needs no keys of earlier steps. Not used while gradients are
    recorded.
    """

    @property
    def rows(self) -> int:
        return len(self.positions)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens stored for each row."""
        return tuple(int(count) for count in self.valid_BP.sum(dim=1).tolist())

    def take(self, rows: Sequence[int]) -> Context:
        """These rows, in this order; a row may be taken twice."""
        assert not self.capacity, "rows are taken before capacity is reserved"
        index = torch.tensor(list(rows), dtype=torch.long, device=self.valid_BP.device)
        return Context(
            keys=tuple(key[index] for key in self.keys),
            values=tuple(value[index] for value in self.values),
            valid_BP=self.valid_BP[index],
            positions=tuple(self.positions[row] for row in rows),
        )

    def with_capacity(self, slots: int) -> Context:
        """A copy with capacity for a block whose longest row has `slots` tokens."""
        assert not self.capacity, "capacity is reserved already"
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
        positions=tuple(position for context in contexts for position in context.positions),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """T new tokens of B rows: the expert, the position and the attention mask of each."""

    tokens: Ragged
    """In reading order, which is the order of what goes in and comes out."""
    routed: Ragged
    """In the order in which the layers work: the understanding expert's tokens first."""
    order_T: Tensor
    """Reading order -> working order."""
    restore_T: Tensor
    """Working order -> reading order."""
    understanding: int
    """How many tokens the understanding expert handles; the rest is the generation expert's."""
    positions_T: Tensor
    """In working order."""
    sees_BNN: Tensor
    """True where a new token (dim 1) may look at another one (dim 2); padding looks at itself."""
    positions_after: tuple[int, ...]
    """Of each row, once the block is stored."""


def make_block(
    tokens: Ragged,
    *,
    positions_T: Tensor,
    generation_T: Tensor,
    sees_BNN: Tensor,
    positions_after: Sequence[int],
) -> Block:
    """A block from tensors in reading order; `generation_T` is true for latent tokens."""
    order_T = torch.argsort(generation_T.to(torch.int8), stable=True)
    device = positions_T.device
    valid_BN = tokens.valid()
    itself_NN = torch.eye(tokens.longest, dtype=torch.bool, device=device)
    return Block(
        tokens=tokens,
        routed=tokens.reordered(order_T),
        order_T=order_T,
        restore_T=torch.argsort(order_T),
        understanding=int((~generation_T).sum()),
        positions_T=positions_T[order_T],
        sees_BNN=(sees_BNN & valid_BN[:, None, :]) | itself_NN,
        positions_after=tuple(positions_after),
    )


def text_block(context: Context, lengths: Sequence[int]) -> Block:
    """Causal tokens of the understanding expert, at consecutive positions."""
    tokens = ragged(lengths, context.valid_BP.device)
    starts_B = torch.tensor(context.positions, device=tokens.rows_T.device)
    shape = (len(lengths), tokens.longest, tokens.longest)
    return make_block(
        tokens,
        positions_T=starts_B[tokens.rows_T] + tokens.slots_T,
        generation_T=torch.zeros_like(tokens.rows_T, dtype=torch.bool),
        sees_BNN=torch.ones(shape, dtype=torch.bool, device=tokens.rows_T.device).tril(),
        positions_after=[p + n for p, n in zip(context.positions, lengths, strict=True)],
    )


def image_block(context: Context, lengths: Sequence[int], *, latents: bool) -> Block:
    """A start token, `lengths` image tokens and an end token a row, all seeing each other.

    All stand at one position, and the next block's position is the one after; a row of length 0
    gets no tokens at all. As Bagel's own inference does, verified on its recorded runs.
    """
    tokens = ragged([n + 2 if n else 0 for n in lengths], context.valid_BP.device)
    device = tokens.rows_T.device
    starts_B = torch.tensor(context.positions, device=device)
    last_B = torch.tensor(tokens.lengths, device=device) - 1
    inside_T = (tokens.slots_T > 0) & (tokens.slots_T < last_B[tokens.rows_T])
    shape = (len(lengths), tokens.longest, tokens.longest)
    return make_block(
        tokens,
        positions_T=starts_B[tokens.rows_T],
        generation_T=inside_T if latents else torch.zeros_like(inside_T),
        sees_BNN=torch.ones(shape, dtype=torch.bool, device=device),
        positions_after=[p + (n > 0) for p, n in zip(context.positions, lengths, strict=True)],
    )
