"""Text losses: gradients, independence of padding and batch, and refusals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alphatrainers.algorithms.losses.reduction import mean_of_tokens
from alphatrainers.algorithms.losses.text import TEXT_ALGORITHMS, TEXT_CLIP, text_loss, token_losses

NAMES = sorted(TEXT_ALGORITHMS)
GENERATOR = torch.Generator().manual_seed(2)
OLD_BT = -torch.rand(3, 5, generator=GENERATOR, dtype=torch.float64) - 0.5
NEW_BT = OLD_BT + 0.15 * torch.randn(3, 5, generator=GENERATOR, dtype=torch.float64)
MASK_BT = torch.arange(5)[None] < torch.tensor([4, 2, 5])[:, None]
ADVANTAGE_B = torch.tensor([1.2, -0.7, 0.4], dtype=torch.float64)


def loss_of(name: str, new_BT: Tensor) -> Tensor:
    return text_loss(
        new_BT, OLD_BT, MASK_BT, ADVANTAGE_B, objective=TEXT_ALGORITHMS[name], max_length=8
    )


@pytest.mark.parametrize("name", ["grpo", "dapo", "dr_grpo", "gspo"])
def test_the_gradient_equals_finite_differences(name: str) -> None:
    assert torch.autograd.gradcheck(
        lambda new_BT: loss_of(name, new_BT), (NEW_BT.clone().requires_grad_(),)
    )


def test_cispo_keeps_the_gradient_of_clipped_tokens_and_none_through_the_ratio() -> None:
    new_BT = (OLD_BT + 1.0).requires_grad_()
    (found_BT,) = torch.autograd.grad(loss_of("cispo", new_BT), new_BT)
    expected_BT = -1.28 * ADVANTAGE_B[:, None] * MASK_BT / MASK_BT.sum()
    torch.testing.assert_close(found_BT, expected_BT)


@pytest.mark.parametrize("name", NAMES)
def test_on_policy_all_tokens_of_a_sequence_are_pushed_alike_and_by_its_own_advantage(
    name: str,
) -> None:
    new_BT = OLD_BT.clone().requires_grad_()
    (gradient_BT,) = torch.autograd.grad(loss_of(name, new_BT), new_BT)
    for row in range(3):
        pushed_T = gradient_BT[row][MASK_BT[row]]
        torch.testing.assert_close(pushed_T, pushed_T[:1].expand_as(pushed_T))
        assert torch.equal(pushed_T.sign(), -ADVANTAGE_B[row].sign().expand_as(pushed_T))
    assert (gradient_BT[~MASK_BT] == 0.0).all()


@pytest.mark.parametrize("name", NAMES)
def test_opposite_advantages_of_one_micro_batch_do_not_cancel(name: str) -> None:
    # The released AlphaGRPO text loss gives 0 here: every sequence gets the mean advantage.
    new_BT = OLD_BT[:2, :2].clone().requires_grad_()
    loss = text_loss(
        new_BT,
        OLD_BT[:2, :2],
        torch.ones(2, 2, dtype=torch.bool),
        torch.tensor([1.0, -1.0], dtype=torch.float64),
        objective=TEXT_ALGORITHMS[name],
        max_length=2,
    )
    (gradient_BT,) = torch.autograd.grad(loss, new_BT)
    assert (gradient_BT[0] < -0.2).all()
    assert (gradient_BT[1] > 0.2).all()


@settings(deadline=None)
@given(st.sampled_from(NAMES), st.integers(1, 4))
def test_what_stands_in_the_padding_changes_neither_loss_nor_gradient(
    name: str, extra: int
) -> None:
    def with_padding(tensor_BT: Tensor, value: float) -> Tensor:
        kept_BT = torch.where(MASK_BT, tensor_BT, value)
        return torch.nn.functional.pad(kept_BT, (0, extra), value=value)

    new_BT = with_padding(NEW_BT, float("nan")).requires_grad_()
    mask_BT = torch.nn.functional.pad(MASK_BT, (0, extra))
    padded = text_loss(
        new_BT,
        with_padding(OLD_BT, float("-inf")),
        mask_BT,
        ADVANTAGE_B,
        objective=TEXT_ALGORITHMS[name],
        max_length=8,
    )
    torch.testing.assert_close(padded, loss_of(name, NEW_BT))
    (gradient_BT,) = torch.autograd.grad(padded, new_BT)
    assert gradient_BT.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_micro_batches_of_one_add_up_to_the_whole_batch(name: str) -> None:
    objective = TEXT_ALGORITHMS[name]
    parts = []
    for row in range(3):
        rows = slice(row, row + 1)
        tokens = token_losses(
            NEW_BT[rows],
            OLD_BT[rows],
            MASK_BT[rows],
            ADVANTAGE_B[rows],
            importance=objective.importance,
        )
        parts.append(
            mean_of_tokens(
                tokens.loss_N,
                MASK_BT[rows],
                normaliser=objective.normaliser,
                n_sequences=3,
                n_tokens=int(MASK_BT.sum()),
                max_length=8,
            )
        )
    torch.testing.assert_close(torch.stack(parts).sum(), loss_of(name, NEW_BT))


def test_sequences_of_one_length_have_one_loss_under_grpo_and_dapo() -> None:
    given_tensors = (NEW_BT, OLD_BT, torch.ones_like(MASK_BT), ADVANTAGE_B)
    grpo, dapo = (
        text_loss(*given_tensors, objective=TEXT_ALGORITHMS[name]) for name in ("grpo", "dapo")
    )
    torch.testing.assert_close(grpo, dapo)


def test_clipped_tokens_are_counted_under_the_mask_only() -> None:
    new_BT = OLD_BT + 1.0
    found = token_losses(new_BT, OLD_BT, MASK_BT, ADVANTAGE_B, importance="token", clip=TEXT_CLIP)
    assert torch.equal(found.above_N, MASK_BT)
    assert not found.below_N.any()


def test_half_precision_log_probabilities_give_a_float32_loss() -> None:
    loss = text_loss(
        NEW_BT.bfloat16(),
        OLD_BT.bfloat16(),
        MASK_BT,
        ADVANTAGE_B.float(),
        objective=TEXT_ALGORITHMS["dapo"],
    )
    assert loss.dtype == torch.float32


def test_wrong_shapes_and_names_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        token_losses(NEW_BT, OLD_BT[:2], MASK_BT, ADVANTAGE_B, importance="token")
    with pytest.raises(ValueError, match="one shape"):
        token_losses(NEW_BT, OLD_BT, MASK_BT.double(), ADVANTAGE_B, importance="token")
    with pytest.raises(ValueError, match="not one for each"):
        token_losses(NEW_BT, OLD_BT, MASK_BT, ADVANTAGE_B[:1], importance="token")
    with pytest.raises(ValueError, match="none of token"):
        token_losses(NEW_BT, OLD_BT, MASK_BT, ADVANTAGE_B, importance="word")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_length"):
        text_loss(NEW_BT, OLD_BT, MASK_BT, ADVANTAGE_B, objective=TEXT_ALGORITHMS["dr_grpo"])
