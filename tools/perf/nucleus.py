"""Times top-p sampling and scoring with the likeliest tokens against a sort of the vocabulary.

    python -m tools.perf.nucleus                      a minute on one core
    python -m tools.perf.nucleus --vocabulary 32000

Logits are random, of a few peaks over a tail, so that a nucleus of 0.8 has some tens of tokens as a
language model's has; in the second pair of rows every hundredth row is flat and needs the sort
after all, in the third every row. Both ways get the same logits in the same process and must
choose the same tokens with the same log-probabilities. Seconds are the processor's, on one thread;
the ratio is the result. What surrounds the nucleus (softmax, cumulative sum) is in both.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from alphatrainers.nucleus import sorted_nucleus
from alphatrainers.sampling import sample_next_tokens, score_tokens

ROWS: Final = 100
TOP_P: Final = 0.8
FLAT: Final = {"no row": 0, "a row in a hundred": 100, "every row": 1}
"""Which rows need the sort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NucleusTime:
    """One kind of work, both ways."""

    what: str
    flat: str
    sorted_seconds: float
    seconds: float

    @property
    def ratio(self) -> float:
        """How often faster it is without the sort."""
        return self.sorted_seconds / self.seconds


def random_logits(vocabulary: int, *, flat_every: int) -> Tensor:
    """Float32 logits of `ROWS` rows, of which every so-many-th is flat; 0 is none."""
    source = torch.Generator().manual_seed(0)
    logits_NV = torch.randn((ROWS, vocabulary), generator=source)
    logits_NV[:, :200] += 12.0 * torch.rand((ROWS, 200), generator=source)
    if flat_every:
        logits_NV[::flat_every] = 0.1 * torch.randn(
            (len(range(0, ROWS, flat_every)), vocabulary), generator=source
        )
    return logits_NV


def sorted_log_probs(logits_NV: Tensor, sampled_N: Tensor | None = None) -> Tensor:
    """`token_log_probs` by a sort of the vocabulary."""
    scores_NV = logits_NV.log_softmax(-1)
    outside_NV = sorted_nucleus(scores_NV, top_p=TOP_P)
    if sampled_N is not None:
        outside_NV.scatter_(-1, sampled_N[:, None], value=False)
    return scores_NV.masked_fill(outside_NV, -torch.inf).log_softmax(-1)


def sampled_by_sort(logits_BV: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Ids by a sort of the vocabulary."""
    logp_BV = sorted_log_probs(logits_BV)
    uniform_B = torch.cat([torch.rand(1, generator=each) for each in generators]).double()
    below_BV = logp_BV.double().exp().cumsum(-1)
    return (below_BV <= uniform_B[:, None] * below_BV[:, -1:]).sum(-1)


def _generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(ROWS)]


def _sampled(logits_NV: Tensor) -> Tensor:
    return sample_next_tokens(logits_NV, _generators(), temperature=1.0, top_p=TOP_P).ids_B


def _sampled_by_sort(logits_NV: Tensor) -> Tensor:
    return sampled_by_sort(logits_NV, _generators())


def _scored(logits_NV: Tensor) -> Tensor:
    return score_tokens(logits_NV, torch.arange(ROWS), temperature=1.0, top_p=TOP_P)


def _scored_by_sort(logits_NV: Tensor) -> Tensor:
    ids_N = torch.arange(ROWS)
    return sorted_log_probs(logits_NV, ids_N).gather(-1, ids_N[:, None])[:, 0]


WORK: Final = {"sample": (_sampled_by_sort, _sampled), "score": (_scored_by_sort, _scored)}


def _timed(work: Callable[[Tensor], Tensor], logits_NV: Tensor) -> tuple[float, Tensor]:
    work(logits_NV)
    began = time.thread_time()
    found = work(logits_NV)
    return time.thread_time() - began, found


def nucleus_times(vocabulary: int) -> list[NucleusTime]:
    """Sampling and scoring, both ways."""
    rows = []
    for flat, every in FLAT.items():
        logits_NV = random_logits(vocabulary, flat_every=every)
        for what, (by_sort, now) in WORK.items():
            slow, wanted = _timed(by_sort, logits_NV)
            quick, found = _timed(now, logits_NV)
            assert torch.equal(wanted, found), "both ways agree to the last bit"
            rows.append(NucleusTime(what=what, flat=flat, sorted_seconds=slow, seconds=quick))
    return rows


def nucleus_table(rows: Sequence[NucleusTime]) -> str:
    """Milliseconds a row."""
    lines = [f"{'':<10}{'rows that need the sort':<26}{'sort, ms':>10}{'now, ms':>10}{'ratio':>8}"]
    for row in rows:
        lines.append(
            f"{row.what:<10}{row.flat:<26}{1e3 * row.sorted_seconds / ROWS:>10.2f}"
            f"{1e3 * row.seconds / ROWS:>10.2f}{row.ratio:>8.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=int, default=152_064, help="BAGEL's by default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sys.stdout.write(nucleus_table(nucleus_times(options.vocabulary)) + "\n")


if __name__ == "__main__":
    main()
