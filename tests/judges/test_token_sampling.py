"""TokenSampling tokens: the right frequencies, and each question's own chance."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import RepetitionPenaltyLogitsProcessor

from alphabench.judges.openai.chat_api import LastingError
from alphabench.judges.token_sampling import (
    TokenSampler,
    TokenSampling,
    gumbel_perturbed,
    penalised,
    token_sampling_for,
)
from alphabench.questions import ReplySampling

ODDS = torch.tensor([0.5, 0.25, 0.15, 0.1])


def frequencies(how: TokenSampling, *, n: int = 4000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    drawn = [int(gumbel_perturbed(ODDS.log(), how, generator).argmax()) for _ in range(n)]
    return torch.bincount(torch.tensor(drawn), minlength=len(ODDS)) / n


def test_tokens_come_as_often_as_the_model_and_the_temperature_say() -> None:
    for temperature in (0.5, 1.0, 2.0):
        expected = (ODDS.log() / temperature).softmax(dim=0)
        # Four standard errors of a share over 4,000 draws.
        assert torch.allclose(frequencies(TokenSampling(temperature)), expected, atol=0.032)


def test_top_p_keeps_the_fewest_tokens_that_hold_that_share_and_top_k_so_many() -> None:
    assert frequencies(TokenSampling(1.0, top_p=0.6))[2:].sum() == 0
    assert frequencies(TokenSampling(1.0, top_p=0.6))[1] > 0
    assert frequencies(TokenSampling(1.0, top_p=0.0))[0] == 1
    assert frequencies(TokenSampling(1.0, top_k=3))[3] == 0


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=30), st.floats(0, 1))
def test_the_likeliest_token_can_always_be_drawn(logits: list[float], top_p: float) -> None:
    logprobs_V = torch.tensor(logits).log_softmax(dim=0)
    scores_V = gumbel_perturbed(
        logprobs_V, TokenSampling(1.0, top_p=top_p), torch.Generator().manual_seed(0)
    )
    # Of several that are equally likely, one is enough.
    assert scores_V[logprobs_V == logprobs_V.max()].max() > -math.inf
    assert not scores_V.isnan().any()


def test_a_row_is_drawn_alike_whatever_rows_stand_beside_it() -> None:
    scores_BV = torch.randn(3, 50, generator=torch.Generator().manual_seed(1))
    how, none = TokenSampling(1.0), torch.empty(0)
    together = TokenSampler([how] * 3, seeds=[7, 8, 9])(none, scores_BV).argmax(dim=1)
    alone = [
        int(TokenSampler([how], seeds=[seed])(none, scores_BV[row : row + 1]).argmax())
        for row, seed in enumerate((7, 8, 9))
    ]
    assert together.tolist() == alone


def test_the_first_steps_odds_are_kept_as_they_were_before_temperature() -> None:
    drawer = TokenSampler([TokenSampling(5.0)], seeds=[0])
    drawer(torch.empty(0), ODDS.log()[None])
    drawer(torch.empty(0), torch.zeros(1, 4))
    assert torch.allclose(drawer.first_BV[0].exp(), ODDS)
    assert drawer.n_steps == 2


def test_a_question_without_a_temperature_gets_what_the_checkpoint_recommends() -> None:
    own = TokenSampling(0.7, top_p=0.8, top_k=20)
    assert token_sampling_for(ReplySampling(max_tokens=1, temperature=None), own) == own
    narrowed = token_sampling_for(ReplySampling(max_tokens=1, temperature=None, top_p=0.1), own)
    assert narrowed == own._replace(top_p=0.1)
    assert token_sampling_for(ReplySampling(max_tokens=1, temperature=0.3), own) == TokenSampling(
        0.3
    )


@given(
    st.lists(st.floats(-20, 20), min_size=6, max_size=6),
    st.lists(st.integers(0, 5), min_size=1, max_size=8),
    st.floats(0.5, 3.0),
)
def test_a_penalty_for_repetition_is_that_of_transformers(
    logits: list[float], tokens: list[int], penalty: float
) -> None:
    logits_V, tokens_T = torch.tensor(logits), torch.tensor(tokens)
    oracle = RepetitionPenaltyLogitsProcessor(penalty=penalty)
    expected_V = oracle(tokens_T[None], logits_V[None].clone())[0]
    assert torch.equal(penalised(logits_V, tokens_T, penalty), expected_V)


def test_padding_before_a_prompt_is_not_penalised_and_other_questions_are_left_alone() -> None:
    logits_BV = torch.tensor([[2.0, 1.9, 0.0]]).repeat(3, 1)
    tokens_BT = torch.tensor([[0, 0, 2], [0, 2, 0], [0, 2, 0]])
    how = TokenSampling(repetition_penalty=1.2)
    sampler = TokenSampler([how, how, TokenSampling()], seeds=[0, 0, 0], pad=0)
    assert sampler(tokens_BT, logits_BV).argmax(dim=1).tolist() == [0, 1, 0]
    # What is reported is the model's own distribution.
    assert torch.equal(sampler.first_BV, logits_BV.log_softmax(dim=-1))


def test_a_question_brings_its_penalty_whatever_the_checkpoint_recommends() -> None:
    own = TokenSampling(temperature=0.7, top_p=0.8)
    asked = ReplySampling(max_tokens=1, temperature=None, extra={"repetition_penalty": 1.05})
    assert token_sampling_for(asked, own) == own._replace(repetition_penalty=1.05)
    plain = ReplySampling(max_tokens=1, temperature=0.0)
    assert token_sampling_for(plain, own).repetition_penalty == 1.0
    for wrong in (0, -1.0, True, "1.05", float("nan")):
        with pytest.raises(LastingError, match="repetition_penalty is above 0"):
            token_sampling_for(replace(plain, extra={"repetition_penalty": wrong}), own)
