"""Sampling: what is sampled is what is scored, and each program has randomness of its own."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from alphatrainers.algorithms import sde_steps
from alphatrainers.algorithms.schedules import sigmas_of_steps
from alphatrainers.sampling import (
    SCORED_TOGETHER,
    HiddenText,
    denoising_step,
    generator,
    sample_latents,
    sample_next_tokens,
    score_hidden_texts,
    score_tokens,
    token_log_probs,
)
from alphatrainers.trajectory import GenerateImage, InputText, Program, TrainingPrompt

SIGMAS = sigmas_of_steps(6, shift=3.0)


def program(seed: int) -> Program:
    prompt = TrainingPrompt(id="p", text="a dog")
    return Program(id=str(seed), group="g", prompt=prompt, steps=(InputText(text="a"),), seed=seed)


def velocity(x_BX: Tensor, sigma: float) -> Tensor:
    return torch.sin(x_BX) * (1.0 + sigma)


@pytest.mark.parametrize("kernel", ["flow_sde", "cps", "dance"])
def test_log_probs_follow_from_the_stored_latents(kernel: sde_steps.StepKind) -> None:
    spec = GenerateImage(width=4, height=4, sigmas=SIGMAS, window=range(1, 4), kernel=kernel)
    generators = [generator(program(seed), 0) for seed in (1, 2)]
    made = sample_latents(velocity, spec, generators, (2, 3), device=torch.device("cpu"))
    for position, index in enumerate(spec.window):
        x_BX, next_BX = made.path_BNX[:, position], made.path_BNX[:, position + 1]
        v_BX = velocity(x_BX, SIGMAS[index])
        assert torch.equal(v_BX, made.velocity_BSX[:, position])
        step = denoising_step(spec, index, x_BX, v_BX)
        assert torch.equal(sde_steps.log_prob(step, next_BX), made.logp_BS[:, position])


def test_without_a_window_nothing_is_stored_and_the_steps_are_plain() -> None:
    spec = GenerateImage(width=4, height=4, sigmas=SIGMAS)
    made = sample_latents(
        velocity, spec, [generator(program(1), 0)], (2, 3), device=torch.device("cpu")
    )
    assert (made.path_BNX.shape, made.logp_BS.shape) == ((1, 0, 2, 3), (1, 0))
    x_BX = torch.randn((2, 3), generator=generator(program(1), 0))[None]
    for sigma, sigma_next in pairwise(SIGMAS):
        x_BX = x_BX + velocity(x_BX, sigma) * (sigma_next - sigma)
    assert torch.allclose(made.final_BX, x_BX, atol=1e-6)


def test_neighbours_in_a_batch_change_no_latent() -> None:
    spec = GenerateImage(width=4, height=4, sigmas=SIGMAS, window=range(2))

    def final(*seeds: int) -> Tensor:
        generators = [generator(program(seed), 0) for seed in seeds]
        return sample_latents(
            velocity, spec, generators, (2, 3), device=torch.device("cpu")
        ).final_BX

    assert torch.equal(final(1, 2, 3)[2], final(3)[0])


def test_segments_of_one_program_have_different_noise() -> None:
    first, second = (
        torch.randn(4, generator=generator(program(1), position)) for position in (0, 1)
    )
    assert not torch.equal(first, second)


def test_a_schedule_or_window_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fall"):
        GenerateImage(width=4, height=4, sigmas=(0.5, 0.7))
    with pytest.raises(ValueError, match="not within 6 steps"):
        GenerateImage(width=4, height=4, sigmas=SIGMAS, window=range(4, 7))
    with pytest.raises(ValueError, match="no stochastic steps"):
        GenerateImage(width=4, height=4, sigmas=SIGMAS, window=range(1), kernel="ode")


@pytest.mark.parametrize("top_p", [1.0, 0.7])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_tokens_are_sampled_as_often_as_their_scored_probability(
    temperature: float, top_p: float
) -> None:
    logits_V = torch.tensor([0.1, 1.5, -1.0, 0.7, -3.0])
    many = 20_000
    source = torch.Generator().manual_seed(3)
    rows = sample_next_tokens(
        logits_V.expand(many, -1), [source] * many, temperature=temperature, top_p=top_p
    )
    found_V = torch.bincount(rows.ids_B, minlength=5) / many
    wanted_V = token_log_probs(logits_V[None], temperature=temperature, top_p=top_p)[0].exp()
    assert torch.allclose(found_V, wanted_V, atol=0.015)
    assert wanted_V.sum().item() == pytest.approx(1.0)
    again_B = score_tokens(
        logits_V.expand(many, -1), rows.ids_B, temperature=temperature, top_p=top_p
    )
    assert torch.equal(again_B, rows.logp_B)


def test_a_drawn_token_at_the_edge_of_the_nucleus_keeps_a_finite_score() -> None:
    logits_V = torch.tensor([3.0, 0.0, -1.0])
    score = score_tokens(logits_V[None], torch.tensor([2]), temperature=1.0, top_p=0.5)
    assert bool(score.isfinite().all())


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_logits_of_a_few_tokens_at_a_time_give_the_same_scores_and_gradients(top_p: float) -> None:
    torch.manual_seed(0)
    n_tokens = 2 * SCORED_TOGETHER + 3
    weight_VD = torch.randn(11, 6, dtype=torch.float64)
    ids_T = torch.randint(11, (n_tokens,))
    results = []
    for chunked in (False, True):
        hidden_TD = torch.randn(n_tokens, 6, dtype=torch.float64, generator=torch.Generator())
        hidden_TD.requires_grad_()
        if chunked:
            text = HiddenText(hidden_TD, ids_T, temperature=0.8, top_p=top_p)
            (scores_T,) = score_hidden_texts([text], lambda x_TD: x_TD @ weight_VD.T)
        else:
            logits_TV = hidden_TD @ weight_VD.T
            scores_T = score_tokens(logits_TV, ids_T, temperature=0.8, top_p=top_p)
        scores_T.square().sum().backward()  # type: ignore[no-untyped-call]
        assert hidden_TD.grad is not None
        results.append((scores_T.detach(), hidden_TD.grad))
    for complete, in_parts in zip(*results, strict=True):
        assert torch.allclose(complete, in_parts, rtol=1e-6)
    with torch.no_grad():
        text = HiddenText(hidden_TD, ids_T, temperature=0.8, top_p=top_p)
        (again_T,) = score_hidden_texts([text], lambda x_TD: x_TD @ weight_VD.T)
    assert torch.allclose(again_T, results[0][0], rtol=1e-6)
