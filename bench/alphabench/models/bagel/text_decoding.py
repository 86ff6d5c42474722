"""Writes text, many rows at a time: one forward pass of the whole batch a token.

Keys and values go into slots that are reserved in advance, chosen tokens go back into the model
without passing the host, and the host waits once a token: for the ids, to see which rows have
finished. Seeds nothing: the rule for choosing tokens is an argument.

Shapes: B unfinished rows; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from alphabench.models.bagel.kv_cache import Block, Context
from alphabench.models.bagel.model import Bagel
from alphabench.models.bagel.packed_sequences import Ragged, numbers_on, ragged


class ChosenTokens(NamedTuple):
    """One token id a row, on the model's device and on the host."""

    ids_B: Tensor
    ids: list[int]


TokenSampler = Callable[[Tensor, Sequence[int]], ChosenTokens]
"""One token a row, from logits [B, V] and the indices of the unfinished rows.

It fetches the ids itself, so that the one wait of a token can also fetch what else it must know."""
CHUNK: Final = 256
"""Tokens for which slots are reserved at once; a longer text is copied once a chunk."""


def chosen_tokens(ids_B: Tensor) -> ChosenTokens:
    """What a sampler has chosen on the device; the host waits for it."""
    return ChosenTokens(ids_B, ids_B.tolist())


def most_likely(logits_BV: Tensor, rows: Sequence[int]) -> ChosenTokens:
    """The most probable token, the same for every row."""
    assert len(rows) == len(logits_BV)
    return chosen_tokens(logits_BV.argmax(dim=-1))


@torch.no_grad()
def generate_text(
    model: Bagel,
    context: Context,
    *,
    start: int,
    end: int,
    max_tokens: int,
    choose: TokenSampler = most_likely,
) -> list[list[int]]:
    """Continues every row of `context`, which stays as it is; finished rows leave the batch.

    With compiled layers they stay in it, and slots for all tokens are reserved at once, so that all
    passes have one shape.

    Args:
        model: generates the text.
        context: what was read before.
        start: the token fed first; every answer begins with it.
        end: the token that finishes a row; no answer contains it.
        max_tokens: tokens written at most, without the start.
        choose: picks the next token of each row.
    """
    answers = [[start] for _ in range(context.rows)]
    writing = list(range(context.rows))
    device = context.valid_BP.device
    fed_B = torch.full((context.rows,), start, dtype=torch.long, device=device)
    positions_B = numbers_on(device, context.positions)
    tokens = ragged([1] * context.rows, device)
    unfinished: Tensor | None = None  # rows of the batch, where finished ones stay in it
    decoder = model.language_model.model
    chunk = max_tokens if decoder.compiled else CHUNK
    for index in range(max_tokens):
        if not context.capacity:
            context = decoder.room(context, min(chunk, max_tokens - index))
        read = model.read_token(context, fed_B, _token_block(context, tokens, positions_B))
        context, positions_B = read.context, positions_B + 1
        hidden_BD = read.hidden_TD if unfinished is None else read.hidden_TD[unfinished]
        chosen_B, chosen = choose(model.logits(hidden_BD), writing)
        continuing = [row for row, token in enumerate(chosen) if token != end]
        for row in continuing:
            answers[writing[row]].append(chosen[row])
        if not continuing:
            break
        if len(continuing) < len(writing):
            kept = numbers_on(device, continuing)
            chosen_B, writing = chosen_B[kept], [writing[row] for row in continuing]
            if decoder.compiled:
                unfinished = kept if unfinished is None else unfinished[kept]
            else:
                context, positions_B = context.take(continuing), positions_B[kept]
                tokens = ragged([1] * len(continuing), device)
        fed_B = chosen_B if unfinished is None else fed_B.index_copy(0, unfinished, chosen_B)
    return answers


def _token_block(context: Context, tokens: Ragged, positions_B: Tensor) -> Block:
    """One token a row, at positions that the device has already."""
    return Block(
        tokens=tokens,
        routed=tokens,
        order_T=None,
        restore_T=None,
        understanding=context.rows,
        positions_T=positions_B,
        sees_BNN=None,
        positions_after=tuple(position + 1 for position in context.positions),
    )
