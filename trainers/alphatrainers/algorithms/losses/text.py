"""Losses of the text part: grpo, dapo, dr_grpo, gspo, cispo.

Each is a way to weigh a token and a way to take the mean; both can be set apart from each other.
Log-probabilities are those of the sampled token ids under the sampling distribution. `dr_grpo`
expects advantages that were not divided by a spread. Knows no tokenizer and no model.
Shapes: B sequences, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import torch
from torch import Tensor

from alphatrainers.algorithms.losses.reduction import Normaliser, mean_of_tokens
from alphatrainers.algorithms.losses.surrogate import Clip, Surrogate, clipped_surrogate
from alphatrainers.algorithms.precision import widen

Importance = Literal["token", "sequence", "truncated"]
TEXT_CLIP: Final = Clip(low=0.2, high=0.28)
"""DAPO's (arXiv 2503.14476, section 3.1) and AlphaGRPO's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextAlgorithm:
    """How tokens are weighed and averaged."""

    importance: Importance
    """token: each its own clipped ratio; sequence: exp(mean log-ratio) for all tokens of a
    sequence; truncated: min(ratio, 1 + clip.high) as a constant in front of the log-probability."""
    normaliser: Normaliser
    """See `reduction.mean_of_tokens`."""


TEXT_ALGORITHMS: Final[Mapping[str, TextAlgorithm]] = MappingProxyType(
    {
        "grpo": TextAlgorithm(importance="token", normaliser="sequence"),  # arXiv 2402.03300
        "dapo": TextAlgorithm(importance="token", normaliser="token"),  # arXiv 2503.14476
        "dr_grpo": TextAlgorithm(importance="token", normaliser="length"),  # arXiv 2503.20783
        "gspo": TextAlgorithm(importance="sequence", normaliser="sequence"),  # arXiv 2507.18071
        "cispo": TextAlgorithm(importance="truncated", normaliser="token"),  # arXiv 2506.13585
    }
)


def token_losses(
    logp_BT: Tensor,
    logp_old_BT: Tensor,
    mask_BT: Tensor,
    advantage_B: Tensor,
    *,
    importance: Importance,
    clip: Clip = TEXT_CLIP,
) -> Surrogate:
    """One loss a token, 0 under the mask; shape B, T.

    Args:
        logp_BT: log-probability of each sampled token under the trained policy.
        logp_old_BT: under the policy that sampled it.
        mask_BT: bool, the tokens that were sampled: no prompt, no padding, no forced end.
        advantage_B: advantage of each sequence: one for each, and its own.
        importance: how a token is weighed.
        clip: range of the ratio.

    Raises:
        ValueError: if there is not exactly one advantage a sequence, or shapes differ.
    """
    shape = logp_BT.shape
    if logp_old_BT.shape != shape or mask_BT.shape != shape or mask_BT.dtype != torch.bool:
        raise ValueError("log-probabilities and a bool mask of one shape (B, T) are needed")
    if advantage_B.shape != shape[:1]:
        raise ValueError(
            f"advantages {tuple(advantage_B.shape)} are not one for each of {shape[0]}"
        )
    new_BT = torch.where(mask_BT, widen(logp_BT), 0.0)
    old_BT = torch.where(mask_BT, widen(logp_old_BT).detach(), 0.0)
    log_ratio_BT = new_BT - old_BT
    if importance == "sequence":
        log_ratio_BT = (log_ratio_BT.sum(1) / mask_BT.sum(1).clamp(min=1))[:, None].expand(shape)
    own_BT = widen(advantage_B).detach()[:, None].expand(shape)
    surrogate = clipped_surrogate(log_ratio_BT, own_BT, clip)
    if importance == "truncated":
        weight_BT = surrogate.ratio_N.clamp(max=1.0 + clip.high)
        surrogate = surrogate._replace(loss_N=-weight_BT * own_BT * new_BT)
    elif importance not in {"token", "sequence"}:
        raise ValueError(f"importance={importance!r} is none of token, sequence, truncated")
    return surrogate._replace(
        loss_N=torch.where(mask_BT, surrogate.loss_N, 0.0),
        above_N=surrogate.above_N & mask_BT,
        below_N=surrogate.below_N & mask_BT,
    )


def text_loss(
    logp_BT: Tensor,
    logp_old_BT: Tensor,
    mask_BT: Tensor,
    advantage_B: Tensor,
    *,
    objective: TextAlgorithm,
    clip: Clip = TEXT_CLIP,
    max_length: int | None = None,
) -> Tensor:
    """The loss of one batch by its own counts; `token_losses` and `mean_of_tokens` in one.

    A batch that is cut into micro-batches calls those two, with the counts of the whole.
    """
    surrogate = token_losses(
        logp_BT, logp_old_BT, mask_BT, advantage_B, importance=objective.importance, clip=clip
    )
    return mean_of_tokens(
        surrogate.loss_N, mask_BT, normaliser=objective.normaliser, max_length=max_length
    )
