"""Beam search as the official generator does it (modelscope 1.40.2, `predictor.py`), in batches.

Its peculiarities are kept: a beam that has ended goes on as if it had not and may end again; a
question is done when its best beam ends, or at the greatest length; the total of a beam is its
penalised score times the penalty. Knows no model: the next words come from a function.

Shapes: Q questions; B beams; V words; T words so far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from alphabench.models.mplug.config import SearchDesign

START: Final = 101
"""[CLS] of BERT's vocabulary, fixed in the official code."""
END: Final = 102
"""[SEP]."""
_EXPONENT: Final = 0.6
_NEVER: Final = -1e20

NextWords = Callable[[Tensor, Tensor | None], Tensor]
"""Logits (Q, B, V) after the last words (Q, B); the second argument says which beam (Q, B) each of
these continues, None at the start."""


def search(next_words: NextWords, rules: SearchDesign, *, n_questions: int, device: str) -> Tensor:
    """The best answer of each question: token ids (Q, max_length + 1), START first, END padded.

    Args:
        next_words: called once a step.
        rules: number of beams and bounds on the length.
        n_questions: rows to search for.
        device: of torch.

    Raises:
        RuntimeError: the logits are no numbers.
    """
    shape = (n_questions, rules.beam_size)
    words_QBT = torch.full((*shape, 1), START, device=device)
    total_QB = torch.full(shape, -torch.inf, device=device)
    total_QB[:, 0] = 0.0
    best = _Best(n_questions, rules.max_length + 1, device)
    parent_QB = None
    for step in range(rules.max_length):
        logits_QBV = next_words(words_QBT[..., -1], parent_QB)
        if not logits_QBV.isfinite().all():
            raise RuntimeError("mPLUG's logits are not finite")
        n_words = logits_QBV.shape[-1]
        log_QBV = logits_QBV.float().softmax(dim=-1).log()
        if step < rules.min_length:
            log_QBV[..., END] = _NEVER
        penalty = ((5.0 + step + 1) / 6.0) ** _EXPONENT
        score_QBV = (log_QBV + total_QB[..., None]) / penalty
        score_QB, flat_QB = score_QBV.flatten(1).topk(rules.beam_size, dim=-1)
        total_QB = score_QB * penalty
        parent_QB = flat_QB.div(n_words, rounding_mode="floor")
        kept_QBT = words_QBT.gather(1, parent_QB[..., None].expand(-1, -1, words_QBT.shape[-1]))
        words_QBT = torch.cat([kept_QBT, flat_QB.fmod(n_words)[..., None]], dim=-1)
        ended_QB = words_QBT[..., -1] == END
        if step + 1 == rules.max_length:
            ended_QB = torch.ones_like(ended_QB)
        best.take(score_QB, ended_QB, words_QBT)
        if best.done_Q.all():
            break
    return best.words_QT


class _Best:
    """The best ended beam of each question so far; the first of equals, as a stable sort gives."""

    def __init__(self, n_questions: int, length: int, device: str) -> None:
        self.words_QT = torch.full((n_questions, length), END, device=device)
        self.done_Q = torch.zeros(n_questions, dtype=torch.bool, device=device)
        self._score_Q = torch.full((n_questions,), -torch.inf, device=device)
        self._found_Q = torch.zeros_like(self.done_Q)

    def take(self, score_QB: Tensor, ended_QB: Tensor, words_QBT: Tensor) -> None:
        """Look at the beams after one step; those of a question that is done count no more."""
        finishes_Q = ended_QB[:, 0]
        counts_QB = (ended_QB | finishes_Q[:, None]) & ~self.done_Q[:, None]
        for beam in range(score_QB.shape[1]):
            better_Q = (score_QB[:, beam] > self._score_Q) | ~self._found_Q
            taken_Q = counts_QB[:, beam] & better_Q
            self._score_Q = torch.where(taken_Q, score_QB[:, beam], self._score_Q)
            self._found_Q |= taken_Q
            answer_QT = torch.full_like(self.words_QT, END)
            answer_QT[:, : words_QBT.shape[-1]] = words_QBT[:, beam]
            self.words_QT = torch.where(taken_Q[:, None], answer_QT, self.words_QT)
        self.done_Q |= finishes_Q
