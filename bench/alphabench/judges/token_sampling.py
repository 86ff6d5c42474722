"""Samples the tokens of a reply, each question with its own generator.

For judges that run their model in this process and see its logits; the log-probabilities of the
first step are recorded. Knows no model.

Shapes: B questions, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from alphabench.device_transfer import sent
from alphabench.questions import ReplySampling


class TokenSampling(NamedTuple):
    """How the next token is sampled from the model's distribution."""

    temperature: float = 0.0
    """0 selects the most likely token."""
    top_p: float = 1.0
    top_k: int = 0
    """0 disables the limit."""


def token_sampling_for(sampling: ReplySampling, default: TokenSampling) -> TokenSampling:
    """The question's settings; `default` is the model's, for a question without a temperature."""
    top_p = sampling.top_p
    if sampling.temperature is None:
        return default if top_p is None else default._replace(top_p=top_p)
    return TokenSampling(temperature=sampling.temperature, top_p=1.0 if top_p is None else top_p)


class TokenSampler:
    """A logits processor after which the argmax of each row is one sample.

    Args:
        settings: one for each row.
        seeds: one for each row.
    """

    def __init__(self, settings: Sequence[TokenSampling], *, seeds: Sequence[int]) -> None:
        self.settings = settings
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
        rows = zip(logprobs_BV, self.settings, self.generators, strict=True)
        return torch.stack(
            [gumbel_perturbed(row_V, settings, generator) for row_V, settings, generator in rows]
        )


def gumbel_perturbed(
    logprobs_V: torch.Tensor, settings: TokenSampling, generator: torch.Generator
) -> torch.Tensor:
    """Gumbel-perturbed logits (float32): the argmax is one sample.

    Source: the Gumbel-max trick (Maddison, Tarlow and Minka, A* Sampling, 2014, section 2).
    """
    if settings.temperature <= 0.0:
        return logprobs_V
    scaled_V = (logprobs_V / settings.temperature).log_softmax(dim=-1)
    sorted_V, order_V = scaled_V.sort(descending=True)
    # A token stays while those before it have less than top_p, so the most likely one always does.
    before_V = sorted_V.exp().cumsum(dim=-1) - sorted_V.exp()
    dropped_V = before_V >= settings.top_p
    dropped_V[0] = False
    if settings.top_k > 0:
        dropped_V[settings.top_k :] = True
    kept_V = torch.empty_like(scaled_V).scatter_(
        0, order_V, sorted_V.masked_fill(dropped_V, -torch.inf)
    )
    uniform_V = torch.rand(kept_V.shape[0], generator=generator).clamp_min(1e-30)
    return kept_V - sent((-uniform_V.log()).log(), kept_V.device)
