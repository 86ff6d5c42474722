"""Widening before arithmetic."""

from __future__ import annotations

import pytest
import torch

from alphatrainers.algorithms.precision import mean_over_elements, per_sample, widen


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_all_but_float64_become_float32(dtype: torch.dtype) -> None:
    assert widen(torch.ones(2, dtype=dtype)).dtype == torch.float32
    assert widen(torch.ones(2, dtype=torch.float64)).dtype == torch.float64


def test_each_sample_keeps_its_own_mean() -> None:
    value_BX = torch.arange(12.0).reshape(2, 3, 2)
    assert mean_over_elements(value_BX).tolist() == [2.5, 8.5]
    assert mean_over_elements(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]


def test_one_number_a_sample_broadcasts_over_its_latent() -> None:
    latent_BX = torch.ones(2, 3, 4)
    scaled_BX = per_sample(torch.tensor([1.0, 2.0]), latent_BX) * latent_BX
    assert mean_over_elements(scaled_BX).tolist() == [1.0, 2.0]
