"""Which tokens top-p sampling may choose, found without a sort of the whole vocabulary.

The nucleus is the smallest set of likeliest tokens whose probabilities reach `top_p` (Holtzman et
al., The Curious Case of Neural Text Degeneration, 2020, section 3.1): in the order of falling
probability a token belongs to it while those before it hold less than `top_p`. Of equally likely
tokens the one with the lower id comes first.

Only the `LIKELIEST` tokens of each row are put in that order. Where they do not decide, which is
seldom, the row is reported, and `sorted_nucleus` decides: it sorts the vocabulary. To know that
costs a value from the device; when to fetch it is the caller's choice. Knows no generator and no
gradient.

Shapes: N rows; V vocabulary; K likeliest tokens.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

LIKELIEST: Final = 1024
"""Tokens that are looked at first; fifteen times cheaper on a CPU than a sort of 152,064."""


class Nucleus(NamedTuple):
    """Tokens outside the nuclei, and whether that is already certain."""

    outside_NV: Tensor
    """True where a token may not be chosen; not to be used for rows that are not decided."""
    decided_N: Tensor
    """Whether the tokens that were looked at decide the row."""


def is_small(vocabulary: int) -> bool:
    """Whether all tokens are sorted anyway, so that every row is decided."""
    return vocabulary <= 2 * LIKELIEST


@torch.no_grad()
def sorted_nucleus(scores_NV: Tensor, *, top_p: float) -> Tensor:
    """The tokens outside the nuclei (N, V), from a sort of the vocabulary.

    Args:
        scores_NV: log-probabilities, normalised.
        top_p: in (0, 1).
    """
    sorted_NV, order_NV = scores_NV.sort(stable=True, dim=-1, descending=True)
    outside_NV = torch.empty_like(scores_NV, dtype=torch.bool)
    return outside_NV.scatter_(-1, order_NV, _beyond(sorted_NV, top_p))


@torch.no_grad()
def likeliest_nucleus(scores_NV: Tensor, *, top_p: float, likeliest: int = LIKELIEST) -> Nucleus:
    """The same from the likeliest tokens alone, where they decide.

    They do where the last of them lies outside, together with those as likely as it: what follows
    has as much or more before it. Then the order of the rest is that of the sort, and so are all
    sums, to the last bit where a device adds in order.

    Args:
        scores_NV: log-probabilities, normalised.
        top_p: in (0, 1).
        likeliest: how many tokens to look at; fewer than V.
    """
    ids_NK = scores_NV.topk(likeliest, dim=-1, sorted=False).indices.sort(dim=-1).values
    found_NK = scores_NV.gather(-1, ids_NK).sort(stable=True, dim=-1, descending=True)
    sorted_NK, order_NK = found_NK.values, ids_NK.gather(-1, found_NK.indices)
    beyond_NK = _beyond(sorted_NK, top_p)
    outside_NV = torch.ones_like(scores_NV, dtype=torch.bool)
    outside_NV.scatter_(-1, order_NK, beyond_NK)
    decided_N = (beyond_NK | (sorted_NK > sorted_NK[:, -1:])).all(-1)
    return Nucleus(outside_NV, decided_N)


def _beyond(sorted_NK: Tensor, top_p: float) -> Tensor:
    """Where the tokens before hold `top_p` or more; float32 or as given."""
    probabilities_NK = sorted_NK.exp()
    return probabilities_NK.cumsum(-1) - probabilities_NK >= top_p
