"""Means over samples and tokens, by local counts or by those of a whole accumulation window.

With the window's counts passed in, the sum over micro-batches and processes is the loss of the
whole batch, however it was cut. What is masked is selected away, not multiplied by 0, so that no
NaN enters the value; none may enter the loss before, or it returns in the gradient. With nothing
to average the result is 0 with gradient 0, never NaN: a process without samples must still take
part in the update. Shapes: B samples, T tokens.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import torch
from torch import Tensor

Normaliser = Literal["sequence", "token", "length", "sequence_sum"]
NORMALISERS: Final[tuple[Normaliser, ...]] = get_args(Normaliser)


def mean_of_samples(
    value_B: Tensor, *, mask_B: Tensor | None = None, n_samples: Tensor | float | None = None
) -> Tensor:
    """Sum of the samples under the mask, divided by their number.

    Args:
        value_B: one value a sample.
        mask_B: bool, which samples count; all of them by default.
        n_samples: samples of the whole window; by default those under the mask.
    """
    mask_B = torch.ones_like(value_B, dtype=torch.bool) if mask_B is None else mask_B
    if mask_B.shape != value_B.shape:
        raise ValueError(f"mask {tuple(mask_B.shape)} and values {tuple(value_B.shape)} differ")
    return torch.where(mask_B, value_B, 0.0).sum() / _count(mask_B, n_samples)


def mean_of_tokens(
    value_BT: Tensor,
    mask_BT: Tensor,
    *,
    normaliser: Normaliser,
    n_sequences: Tensor | float | None = None,
    n_tokens: Tensor | float | None = None,
    max_length: int | None = None,
) -> Tensor:
    """Mean of a value over the tokens under the mask.

    sequence      mean over sequences of each one's token mean             (GRPO)
    token         sum over all tokens / number of tokens                   (DAPO, arXiv 2503.14476)
    length        sum over all tokens / (sequences * max_length)           (Dr.GRPO, 2503.20783)
    sequence_sum  mean over sequences of each one's token sum

    Args:
        value_BT: one value a token.
        mask_BT: bool, which tokens were sampled by the policy.
        normaliser: one of the above.
        n_sequences: sequences with a token under the mask, of the whole window; local by default.
        n_tokens: tokens under the mask, of the whole window; local by default.
        max_length: largest number of tokens the sampler allows; needed by `length`.
    """
    if mask_BT.shape != value_BT.shape or mask_BT.dtype != torch.bool:
        raise ValueError("the mask is bool and has the values' shape")
    kept_BT = torch.where(mask_BT, value_BT, 0.0)
    if normaliser == "token":
        return kept_BT.sum() / _count(mask_BT, n_tokens)
    sequences = _count(mask_BT.any(1), n_sequences)
    if normaliser == "sequence":
        return (kept_BT.sum(1) / mask_BT.sum(1).clamp(min=1)).sum() / sequences
    if normaliser == "sequence_sum":
        return kept_BT.sum() / sequences
    if normaliser != "length":
        raise ValueError(f"normaliser={normaliser!r} is none of {', '.join(NORMALISERS)}")
    if max_length is None or max_length < 1:
        raise ValueError(f"max_length={max_length!r}: `length` divides by the longest text allowed")
    return kept_BT.sum() / (sequences * max_length)


def _count(mask: Tensor, given: Tensor | float | None) -> Tensor | float:
    return mask.sum().clamp(min=1) if given is None else given
