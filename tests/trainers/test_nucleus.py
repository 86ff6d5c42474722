"""The nucleus without a sort of the vocabulary is that of the sort, ties and rounding included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alphatrainers.nucleus import LIKELIEST, is_small, likeliest_nucleus, sorted_nucleus
from alphatrainers.sampling import (
    HiddenText,
    sample_next_tokens,
    score_hidden_texts,
    token_log_probs,
)

LARGE = 2 * LIKELIEST + 100
NEAR_ONE = 1.0 - 1e-6


def by_definition(scores_V: Tensor, top_p: float) -> list[bool]:
    """Outside the nucleus: the tokens before it, by falling score and rising id, hold `top_p`."""
    order = sorted(range(len(scores_V)), key=lambda token: (-float(scores_V[token]), token))
    probabilities = scores_V[order].exp()
    before = probabilities.cumsum(0) - probabilities
    outside = [False] * len(scores_V)
    for token, held in zip(order, before, strict=True):
        outside[token] = bool(held >= top_p)
    return outside


def random_scores(seed: int, *, vocabulary: int, levels: int, spread: float) -> Tensor:
    """Two rows; `levels` different logits at most, 0 for as many as there are tokens."""
    source = torch.Generator().manual_seed(seed)
    logits_NV = torch.randn((2, vocabulary), generator=source) * spread
    if levels:
        logits_NV = (logits_NV * levels).round() / levels
    return logits_NV.log_softmax(-1)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    vocabulary=st.integers(2, 60),
    levels=st.integers(0, 3),
    spread=st.sampled_from([0.0, 0.3, 2.0, 12.0]),
    top_p=st.sampled_from([1e-6, 0.3, 0.8, 0.999, NEAR_ONE]) | st.floats(0.01, 0.99),
    share=st.floats(0.0, 1.0),
)
def test_the_likeliest_tokens_decide_as_the_definition_does_or_say_that_they_do_not(
    *, seed: int, vocabulary: int, levels: int, spread: float, top_p: float, share: float
) -> None:
    scores_NV = random_scores(seed, vocabulary=vocabulary, levels=levels, spread=spread)
    wanted = [by_definition(row_V, top_p) for row_V in scores_NV]
    assert sorted_nucleus(scores_NV, top_p=top_p).tolist() == wanted
    likeliest = 1 + int(share * (vocabulary - 2))
    found = likeliest_nucleus(scores_NV, top_p=top_p, likeliest=likeliest)
    for row, decided in enumerate(found.decided_N.tolist()):
        kept = vocabulary - sum(wanted[row])
        if decided:
            assert found.outside_NV[row].tolist() == wanted[row]
            assert kept < likeliest
        else:  # it may only be unsure where the edge is not well within what it saw
            edge = scores_NV[row].sort(descending=True).values[: likeliest + 1]
            assert kept >= int((edge[:likeliest] > edge[likeliest - 1]).sum())


def test_of_equally_likely_tokens_those_with_lower_ids_belong_to_the_nucleus() -> None:
    scores_V = torch.tensor([0.0, 5.0, 0.0, 5.0, 5.0, 0.0, 5.0]).log_softmax(-1)
    for top_p, kept in ((0.2, [1]), (0.4, [1, 3]), (0.6, [1, 3, 4]), (0.98, [1, 3, 4, 6])):
        for outside_NV in (
            sorted_nucleus(scores_V[None], top_p=top_p),
            likeliest_nucleus(scores_V[None], top_p=top_p, likeliest=6).outside_NV,
        ):
            assert (~outside_NV[0]).nonzero().flatten().tolist() == kept


def test_ties_that_reach_beyond_the_tokens_looked_at_are_left_to_the_sort() -> None:
    flat_V = torch.tensor([9.0, *[0.0] * 9]).log_softmax(-1)
    inside_p, beyond_p = float(flat_V[0].exp()) - 1e-4, float(flat_V[0].exp()) + 1e-4
    assert likeliest_nucleus(flat_V[None], top_p=inside_p, likeliest=4).decided_N.all()
    assert not likeliest_nucleus(flat_V[None], top_p=beyond_p, likeliest=4).decided_N.any()


def logits_of(kind: str) -> Tensor:
    """Five rows of a vocabulary that is not sorted as a whole."""
    source = torch.Generator().manual_seed(7)
    logits_NV = torch.randn((5, LARGE), generator=source)
    peaked = torch.tensor([[9.0], [9.0], [9.0], [9.0], [9.0]])
    if kind == "flat":
        return logits_NV * 0.1
    if kind == "tied":
        return (logits_NV * 2).round().to(torch.bfloat16)
    if kind == "mixed":  # rows 1 and 3 need the sort
        peaked[1] = peaked[3] = 0.2
    return logits_NV * peaked


def wanted_log_probs(logits_NV: Tensor, top_p: float, sampled_N: Tensor | None = None) -> Tensor:
    scores_NV = (logits_NV.float() / 0.9).log_softmax(-1)
    outside_NV = torch.tensor([by_definition(row_V, top_p) for row_V in scores_NV])
    if sampled_N is not None:
        outside_NV.scatter_(-1, sampled_N[:, None], value=False)
    return scores_NV.masked_fill(outside_NV, -torch.inf).log_softmax(-1)


@pytest.mark.parametrize("top_p", [0.8, NEAR_ONE])
@pytest.mark.parametrize("kind", ["peaked", "mixed", "flat", "tied"])
def test_log_probabilities_and_samples_of_a_large_vocabulary_are_those_of_the_sort(
    kind: str, top_p: float
) -> None:
    assert not is_small(LARGE)
    logits_NV = logits_of(kind)
    wanted_NV = wanted_log_probs(logits_NV, top_p)
    assert torch.equal(token_log_probs(logits_NV, temperature=0.9, top_p=top_p), wanted_NV)
    generators = [torch.Generator().manual_seed(row) for row in range(5)]
    made = sample_next_tokens(logits_NV, generators, temperature=0.9, top_p=top_p)
    assert made.ids == made.ids_B.tolist()
    assert torch.equal(made.logp_B, wanted_NV.gather(-1, made.ids_B[:, None])[:, 0])
    for row, token in enumerate(made.ids):
        below_V = wanted_NV[row].double().exp().cumsum(0)
        uniform = float(torch.rand(1, generator=torch.Generator().manual_seed(row)))
        assert int((below_V <= uniform * below_V[-1]).sum()) == token


@pytest.mark.parametrize("kind", ["peaked", "mixed", "flat"])
def test_texts_scored_together_have_the_scores_and_gradients_of_the_sort(kind: str) -> None:
    logits_NV = logits_of(kind)
    ids_N = torch.tensor([3, 1, 4, 1, 5])
    wanted_NV = wanted_log_probs(logits_NV, 0.8, ids_N)
    outside_NV = wanted_NV.isneginf()
    results = []
    for chunked in (False, True):
        hidden_NV = logits_NV.clone().requires_grad_()
        if chunked:
            texts = [
                HiddenText(hidden_NV[part], ids_N[part], temperature=0.9, top_p=0.8)
                for part in (slice(0, 2), slice(2, 5))
            ]
            found = score_hidden_texts(texts, lambda hidden_ND: hidden_ND * 1.0)
            assert [len(one) for one in found] == [2, 3]
            logp_N = torch.cat(found)
        else:
            scores_NV = (hidden_NV / 0.9).log_softmax(-1).masked_fill(outside_NV, -torch.inf)
            logp_N = scores_NV.log_softmax(-1).gather(-1, ids_N[:, None])[:, 0]
        logp_N.square().sum().backward()  # type: ignore[no-untyped-call]
        assert hidden_NV.grad is not None
        results.append((logp_N.detach(), hidden_NV.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
