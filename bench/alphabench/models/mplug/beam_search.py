"""Beam search as the official generator does it (modelscope 1.40.2, `predictor.py`), in batches.

Reproduces its peculiarities: a beam that has ended is continued and may end again; a question is
done when its best beam ends, or at the greatest length; the total of a beam is its penalised score
times the penalty. Knows no model: logits come from a function.

Shapes: Q questions; B beams; V vocabulary; T tokens so far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from alphabench.device_transfer import fetched
from alphabench.models.mplug.config import BeamSearchConfig

START: Final = 101
"""[CLS] of BERT's vocabulary, fixed in the official code."""
END: Final = 102
"""[SEP]."""
_EXPONENT: Final = 0.6
_NEVER: Final = -1e20

NextLogits = Callable[[Tensor, Tensor | None], Tensor]
"""Logits (Q, B, V) after the last tokens (Q, B); the second argument is the index of
the beam (Q, B) that each of them continues, None at the start."""


def search(
    next_logits: NextLogits, rules: BeamSearchConfig, *, n_questions: int, device: str
) -> Tensor:
    """The best answer of each question: token ids (Q, max_length + 1), START first, END padded.

    Args:
        next_logits: called once a step.
        rules: number of beams and bounds on the length.
        n_questions: rows to search.
        device: of torch.

    Raises:
        RuntimeError: logits are not finite.
    """
    shape = (n_questions, rules.beam_size)
    token_QBT = torch.full((*shape, 1), START, device=device)
    total_QB = torch.full(shape, -torch.inf, device=device)
    total_QB[:, 0] = 0.0
    best = _Best(n_questions, rules.max_length + 1, device)
    parent_QB = None
    for step in range(rules.max_length):
        logits_QBV = next_logits(token_QBT[..., -1], parent_QB)
        vocab_size = logits_QBV.shape[-1]
        log_QBV = logits_QBV.float().softmax(dim=-1).log()
        if step < rules.min_length:
            log_QBV[..., END] = _NEVER
        penalty = ((5.0 + step + 1) / 6.0) ** _EXPONENT
        score_QBV = (log_QBV + total_QB[..., None]) / penalty
        score_QB, flat_QB = score_QBV.flatten(1).topk(rules.beam_size, dim=-1)
        total_QB = score_QB * penalty
        parent_QB = flat_QB.div(vocab_size, rounding_mode="floor")
        previous_QBT = token_QBT.gather(1, parent_QB[..., None].expand(-1, -1, token_QBT.shape[-1]))
        token_QBT = torch.cat([previous_QBT, flat_QB.fmod(vocab_size)[..., None]], dim=-1)
        ended_QB = token_QBT[..., -1] == END
        if step + 1 == rules.max_length:
            ended_QB = torch.ones_like(ended_QB)
        best.take(score_QB, ended_QB, token_QBT)
        are_finite, is_done = fetched([logits_QBV.isfinite().all(), best.done_Q.all()])
        if not are_finite:
            raise RuntimeError("mPLUG's logits are not finite")
        if is_done:
            break
    return best.token_QT


class _Best:
    """The best ended beam of each question so far; of equals the first, as in a stable sort."""

    def __init__(self, n_questions: int, length: int, device: str) -> None:
        self.token_QT = torch.full((n_questions, length), END, device=device)
        self.done_Q = torch.zeros(n_questions, dtype=torch.bool, device=device)
        self._score_Q = torch.full((n_questions,), -torch.inf, device=device)
        self._has_answer_Q = torch.zeros_like(self.done_Q)

    def take(self, score_QB: Tensor, ended_QB: Tensor, token_QBT: Tensor) -> None:
        """Update with the beams after one step; questions that are done are left alone."""
        finishes_Q = ended_QB[:, 0]
        counts_QB = (ended_QB | finishes_Q[:, None]) & ~self.done_Q[:, None]
        for beam in range(score_QB.shape[1]):
            better_Q = (score_QB[:, beam] > self._score_Q) | ~self._has_answer_Q
            taken_Q = counts_QB[:, beam] & better_Q
            self._score_Q = torch.where(taken_Q, score_QB[:, beam], self._score_Q)
            self._has_answer_Q |= taken_Q
            answer_QT = torch.full_like(self.token_QT, END)
            answer_QT[:, : token_QBT.shape[-1]] = token_QBT[:, beam]
            self.token_QT = torch.where(taken_Q[:, None], answer_QT, self.token_QT)
        self.done_Q |= finishes_Q
