"""Packed rows of unequal length."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from alphabench.models.bagel.packed_sequences import ragged

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(0, 5), min_size=1, max_size=5)


@given(lengths=LENGTHS)
def test_padding_and_taking_it_away_gives_the_same_tokens(lengths: list[int]) -> None:
    rows = ragged(lengths, CPU)
    tokens = torch.arange(1.0, 1.0 + 2 * sum(lengths)).reshape(-1, 2)
    padded = rows.pad(tokens)
    assert padded.shape == (len(lengths), max(lengths), 2)
    assert torch.equal(rows.unpad(padded), tokens)
    assert torch.equal((padded != 0).all(dim=2), rows.valid())
    assert rows.valid().sum(dim=1).tolist() == lengths


@given(lengths=LENGTHS)
def test_rows_come_apart_where_they_were_joined(lengths: list[int]) -> None:
    rows = ragged(lengths, CPU)
    parts = rows.split(rows.rows_T)
    assert [len(part) for part in parts] == lengths
    assert all((part == row).all() for row, part in enumerate(parts))


@given(lengths=LENGTHS, seed=st.integers(0, 99))
def test_another_order_of_tokens_fills_the_same_slots(lengths: list[int], seed: int) -> None:
    rows = ragged(lengths, CPU)
    order = torch.randperm(sum(lengths), generator=torch.Generator().manual_seed(seed))
    tokens = torch.arange(sum(lengths))
    assert torch.equal(rows.reordered(order).pad(tokens[order]), rows.pad(tokens))


def test_rows_of_one_length_are_padded_without_a_copy() -> None:
    tokens = torch.arange(12.0).reshape(6, 2)
    padded = ragged([3, 3], CPU).pad(tokens)
    assert padded.shape == (2, 3, 2)
    assert padded.data_ptr() == tokens.data_ptr()
