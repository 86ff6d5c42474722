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
from alphabench.judges.in_process import repetition_penalty
from alphabench.questions import ReplySampling


class TokenSampling(NamedTuple):
    """How the next token is sampled from the model's distribution."""

    temperature: float = 0.0
    """0 selects the most likely token."""
    top_p: float = 1.0
    top_k: int = 0
    """0 disables the limit."""
    repetition_penalty: float = 1.0
    """1 for none; see `penalised`."""


def token_sampling_for(sampling: ReplySampling, default: TokenSampling) -> TokenSampling:
    """The question's settings; `default` is the model's, for a question without a temperature."""
    top_p = sampling.top_p
    penalty = repetition_penalty(sampling)
    if sampling.temperature is None:
        chosen = default if top_p is None else default._replace(top_p=top_p)
        return chosen._replace(repetition_penalty=penalty)
    return TokenSampling(
        temperature=sampling.temperature,
        top_p=1.0 if top_p is None else top_p,
        repetition_penalty=penalty,
    )


class TokenSampler:
    """A logits processor after which the argmax of each row is one sample.

    Args:
        settings: one for each row.
        seeds: one for each row.
        pad: the token before prompts that are shorter than others, on the left.
    """

    def __init__(
        self, settings: Sequence[TokenSampling], *, seeds: Sequence[int], pad: int | None = None
    ) -> None:
        self.settings = settings
        self.pad = pad
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.first_BV = torch.empty(0)
        """Log-probabilities of the first step before temperature and penalty, float32 on the
        CPU."""
        self.n_steps = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        logprobs_BV = scores.float().log_softmax(dim=-1)
        if self.n_steps == 0:
            self.first_BV = logprobs_BV.cpu()
        self.n_steps += 1
        if any(one.repetition_penalty != 1.0 for one in self.settings):
            logprobs_BV = self._penalised(input_ids, scores.float()).log_softmax(dim=-1)
        rows = zip(logprobs_BV, self.settings, self.generators, strict=True)
        return torch.stack(
            [gumbel_perturbed(row_V, settings, generator) for row_V, settings, generator in rows]
        )

    def _penalised(self, tokens_BT: torch.Tensor, logits_BV: torch.Tensor) -> torch.Tensor:
        rows = zip(tokens_BT, logits_BV, self.settings, strict=True)
        return torch.stack(
            [
                penalised(row_V, _without_padding(row_T, self.pad), one.repetition_penalty)
                for row_T, row_V, one in rows
            ]
        )


def penalised(logits_V: torch.Tensor, tokens_T: torch.Tensor, penalty: float) -> torch.Tensor:
    """Logits (float32), those of tokens that occurred divided by the penalty, or times it below 0.

    Source: CTRL (Keskar et al., 2019, section 4.1), with the sign as transformers and vLLM have it;
    both count the prompt's tokens too.
    """
    occurred = logits_V[tokens_T]
    changed = torch.where(occurred < 0, occurred * penalty, occurred / penalty)
    return logits_V.scatter(0, tokens_T, changed)


def _without_padding(tokens_T: torch.Tensor, pad: int | None) -> torch.Tensor:
    """A row of tokens from the first one on that is no padding."""
    if pad is None:
        return tokens_T
    return tokens_T[int((tokens_T != pad).long().argmax()) :]


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
