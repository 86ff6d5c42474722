"""Draws the tokens of a reply, each question by a generator of its own, and keeps the first odds.

For judges that hold the model's scores in their hands. Knows no model.

Shapes: B questions, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from alphabench.questions import ReplySampling


class TokenSampling(NamedTuple):
    """How the next token is drawn from the model's distribution."""

    temperature: float = 0.0
    """0 takes the likeliest."""
    top_p: float = 1.0
    top_k: int = 0
    """0 is all."""


def token_sampling_for(sampling: ReplySampling, own: TokenSampling) -> TokenSampling:
    """What a question asks for; `own` is the model's, for a question that names no temperature."""
    top_p = sampling.top_p
    if sampling.temperature is None:
        return own if top_p is None else own._replace(top_p=top_p)
    return TokenSampling(temperature=sampling.temperature, top_p=1.0 if top_p is None else top_p)


class TokenSampler:
    """A logits processor that leaves only the choice of the greatest score to its caller.

    Args:
        drawings: one for each row.
        seeds: one for each row.
    """

    def __init__(self, drawings: Sequence[TokenSampling], *, seeds: Sequence[int]) -> None:
        self.drawings = drawings
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.first_BV = torch.empty(0)
        """Log-probabilities of the first step before temperature, float32 on the CPU."""
        self.n_steps = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        del input_ids
        logprobs_BV = scores.float().log_softmax(dim=-1)
        if self.n_steps == 0:
            self.first_BV = logprobs_BV.cpu()
        self.n_steps += 1
        rows = zip(logprobs_BV, self.drawings, self.generators, strict=True)
        return torch.stack(
            [gumbel_perturbed(row_V, how, generator) for row_V, how, generator in rows]
        )


def gumbel_perturbed(
    logprobs_V: torch.Tensor, how: TokenSampling, generator: torch.Generator
) -> torch.Tensor:
    """Scores whose greatest is a draw from the distribution; float32.

    Source: the Gumbel-max trick (Maddison, Tarlow and Minka, A* Sampling, 2014, section 2).
    """
    if how.temperature <= 0.0:
        return logprobs_V
    scaled_V = (logprobs_V / how.temperature).log_softmax(dim=-1)
    sorted_V, order_V = scaled_V.sort(descending=True)
    # A token stays while those before it hold less than top_p, so that the likeliest always does.
    before_V = sorted_V.exp().cumsum(dim=-1) - sorted_V.exp()
    dropped_V = before_V >= how.top_p
    dropped_V[0] = False
    if how.top_k > 0:
        dropped_V[how.top_k :] = True
    kept_V = torch.empty_like(scaled_V).scatter_(
        0, order_V, sorted_V.masked_fill(dropped_V, -torch.inf)
    )
    uniform_V = torch.rand(kept_V.shape[0], generator=generator).clamp_min(1e-30)
    return kept_V - (-uniform_V.log()).log().to(kept_V.device)
