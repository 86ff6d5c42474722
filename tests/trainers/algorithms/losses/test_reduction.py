"""Means: the cut into micro-batches changes nothing, and an empty one is 0 with a gradient."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from alphatrainers.algorithms.losses.reduction import Normaliser, mean_of_samples, mean_of_tokens

VALUE_BT = torch.tensor([[1.0, 2.0, 9.0], [4.0, 9.0, 9.0]], dtype=torch.float64)
MASK_BT = torch.tensor([[True, True, False], [True, False, False]])


@pytest.mark.parametrize(
    ("normaliser", "expected"),
    [
        ("sequence", (1.5 + 4.0) / 2),
        ("token", 7.0 / 3),
        ("length", 7.0 / 10),
        ("sequence_sum", 3.5),
    ],
)
def test_each_normaliser_by_hand(normaliser: Normaliser, expected: float) -> None:
    found = mean_of_tokens(VALUE_BT, MASK_BT, normaliser=normaliser, max_length=5)
    assert float(found) == pytest.approx(expected)


@pytest.mark.parametrize("normaliser", get_args(Normaliser))
def test_micro_batches_with_the_windows_counts_add_up_to_the_whole(normaliser: Normaliser) -> None:
    whole = mean_of_tokens(VALUE_BT, MASK_BT, normaliser=normaliser, max_length=5)
    parts = [
        mean_of_tokens(
            VALUE_BT[row : row + 1],
            MASK_BT[row : row + 1],
            normaliser=normaliser,
            n_sequences=2,
            n_tokens=torch.tensor(3),
            max_length=5,
        )
        for row in (0, 1)
    ]
    torch.testing.assert_close(parts[0] + parts[1], whole)


def test_samples_add_up_to_the_whole_and_masked_ones_are_selected_away() -> None:
    value_B = torch.tensor([1.0, float("nan"), 3.0])
    mask_B = torch.tensor([True, False, True])
    assert float(mean_of_samples(value_B, mask_B=mask_B)) == 2.0
    parts = mean_of_samples(value_B[:1], n_samples=2) + mean_of_samples(value_B[2:], n_samples=2)
    assert float(parts) == 2.0


@pytest.mark.parametrize("normaliser", get_args(Normaliser))
def test_nothing_to_average_is_zero_with_a_zero_gradient(normaliser: Normaliser) -> None:
    value_BT = VALUE_BT.clone().requires_grad_()
    nothing_BT = torch.zeros_like(MASK_BT)
    loss = mean_of_tokens(value_BT, nothing_BT, normaliser=normaliser, max_length=5)
    loss = loss + mean_of_samples(value_BT[:, 0], mask_B=nothing_BT[:, 0])
    (gradient_BT,) = torch.autograd.grad(loss, value_BT)
    assert float(loss.detach()) == 0.0
    assert torch.equal(gradient_BT, torch.zeros_like(value_BT))


def test_wrong_masks_normalisers_and_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="mask is bool"):
        mean_of_tokens(VALUE_BT, MASK_BT.double(), normaliser="token")
    with pytest.raises(ValueError, match="none of sequence"):
        mean_of_tokens(VALUE_BT, MASK_BT, normaliser="words")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_length"):
        mean_of_tokens(VALUE_BT, MASK_BT, normaliser="length")
    with pytest.raises(ValueError, match="differ"):
        mean_of_samples(VALUE_BT[:, 0], mask_B=MASK_BT)
