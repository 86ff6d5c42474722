"""Attention and layers of the language part, after BERT: post-norm, biases everywhere.

Keys and values come in parts (`Memory`), so that those of an image are computed and stored once for
all its questions: a part with one row is shared by every query row. Names of modules are those of
the released file.

Shapes: Q rows of queries (questions); N rows of a memory, Q or 1; T query tokens; S memory tokens;
D width; H heads; K head size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from alphabench.models.mplug.config import MplugTextConfig


class Memory(NamedTuple):
    """Keys and values of some tokens."""

    key_NHSK: Tensor
    value_NHSK: Tensor
    seen_NS: Tensor | None = None
    """False for padding; None attends to all."""


class Projections(nn.Module):
    """Queries, keys and values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)


class Output(nn.Module):
    """A linear layer, then the norm over its sum with the residual."""

    def __init__(self, inner: int, config: MplugTextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, inner: Tensor, x_QTD: Tensor) -> Tensor:
        return torch.as_tensor(self.LayerNorm(self.dense(inner) + x_QTD))


class MplugAttention(nn.Module):
    """Self-attention or cross-attention, by the memory that is given."""

    def __init__(self, config: MplugTextConfig) -> None:
        super().__init__()
        self.self = Projections(config.hidden_size)
        self.output = Output(config.hidden_size, config)
        self.heads = config.num_attention_heads

    def memorise(self, x_NSD: Tensor, seen_NS: Tensor | None = None) -> Memory:
        """Keys and values of tokens."""
        key, value = self._split(self.self.key(x_NSD)), self._split(self.self.value(x_NSD))
        return Memory(key, value, seen_NS)

    def forward(self, x_QTD: Tensor, *memories: Memory) -> Tensor:
        """Attends from `x` to all memories as if they were one sequence."""
        query_QHTK = self._split(self.self.query(x_QTD))
        mixed_QHTK = attend_heads(query_QHTK, memories)
        return torch.as_tensor(self.output(mixed_QHTK.transpose(1, 2).flatten(2), x_QTD))

    def _split(self, x_QTD: Tensor) -> Tensor:
        return x_QTD.reshape(*x_QTD.shape[:-1], self.heads, -1).transpose(1, 2)


def attend_heads(query_QHTK: Tensor, memories: Sequence[Memory]) -> Tensor:
    """Softmax attention over the concatenation of the memories, (Q, H, T, K).

    The official code adds -10000 or the least float to the scores of padding before the softmax,
    which leaves exactly 0 in float32; here padding is left out.
    """
    if len(memories) == 1 and len(memories[0].key_NHSK) == len(query_QHTK):
        (only,) = memories
        mask = None if only.seen_NS is None else only.seen_NS[:, None, None, :]
        return functional.scaled_dot_product_attention(
            query_QHTK, only.key_NHSK, only.value_NHSK, attn_mask=mask
        )
    scores = torch.cat([_scores(query_QHTK, memory) for memory in memories], dim=-1)
    lengths = [memory.key_NHSK.shape[2] for memory in memories]
    weights = torch.split(scores.softmax(dim=-1), lengths, dim=-1)
    parts = [
        _times(part_QHTS, memory.value_NHSK)
        for part_QHTS, memory in zip(weights, memories, strict=True)
    ]
    return torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]


def _scores(query_QHTK: Tensor, memory: Memory) -> Tensor:
    scores_QHTS = _times(query_QHTK, memory.key_NHSK.mT) / math.sqrt(query_QHTK.shape[-1])
    if memory.seen_NS is None:
        return scores_QHTS
    return scores_QHTS.masked_fill(~memory.seen_NS[:, None, None, :], -torch.inf)


def _times(rows_QHTX: Tensor, shared_NHXY: Tensor) -> Tensor:
    """A matrix product; one shared row becomes one large product instead of many copies."""
    if len(shared_NHXY) == len(rows_QHTX):
        return rows_QHTX @ shared_NHXY
    n_rows, n_heads, n_tokens, _ = rows_QHTX.shape
    flat_1HFX = rows_QHTX.transpose(0, 1).flatten(1, 2)[None]
    product_1HFY = flat_1HFX @ shared_NHXY
    return product_1HFY.reshape(n_heads, n_rows, n_tokens, -1).transpose(0, 1)


class Intermediate(nn.Module):
    """The wide layer, with the exact GELU."""

    def __init__(self, config: MplugTextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, x_QTD: Tensor) -> Tensor:
        return functional.gelu(self.dense(x_QTD))


class MplugLayer(nn.Module):
    """Self-attention, optional cross-attention, and two linear layers."""

    def __init__(self, config: MplugTextConfig, *, cross_attention: bool) -> None:
        super().__init__()
        self.attention = MplugAttention(config)
        if cross_attention:
            self.crossattention = MplugAttention(config)
        self.intermediate = Intermediate(config)
        self.output = Output(config.intermediate_size, config)

    def forward(
        self, x_QTD: Tensor, own: Sequence[Memory], others: Sequence[Memory] = ()
    ) -> Tensor:
        """One layer.

        Args:
            x_QTD: input.
            own: memories of the sequence itself, for self-attention.
            others: memories for cross-attention; empty leaves that step out.
        """
        x_QTD = self.attention(x_QTD, *own)
        if others:
            x_QTD = self.crossattention(x_QTD, *others)
        return torch.as_tensor(self.output(self.intermediate(x_QTD), x_QTD))
