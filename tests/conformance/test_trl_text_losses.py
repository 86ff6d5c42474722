"""Our text losses against TRL's own, on random batches. TRL is a test dependency, pinned."""

from __future__ import annotations

import warnings
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from alphatrainers.algorithms.losses.kl import token_kl
from alphatrainers.algorithms.losses.reduction import mean_of_tokens
from alphatrainers.algorithms.losses.surrogate import Clip
from alphatrainers.algorithms.losses.text import TEXT_ALGORITHMS, token_losses

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    trainer: Any = pytest.importorskip(
        "trl.trainer.grpo_trainer", reason="trl is not installed: pip install -e '.[dev]'"
    )

LONGEST, BETA = 9, 0.3
NAMES = {
    "grpo": ("grpo", "token"),
    "dapo": ("dapo", "token"),
    "dr_grpo": ("dr_grpo", "token"),
    "gspo": ("grpo", "sequence"),
    "cispo": ("cispo", "token"),
}


def trl_loss(name: str, batch: dict[str, Tensor], *, beta: float) -> Tensor:
    """TRL's `_compute_loss` with everything around the formula taken away."""
    loss_type, level = NAMES[name]
    accelerator = SimpleNamespace(
        num_processes=1, gather=lambda value: value, reduce=lambda value, reduction: value
    )
    shell = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (
            batch["new"],
            torch.zeros_like(batch["new"]),
            None,
        ),
        _metrics={"train": defaultdict(list)},
        _entropy_bonus_enabled=False,
        accelerator=accelerator,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        aux_loss_enabled=False,
        beta=beta,
        current_gradient_accumulation_steps=1,
        epsilon_high=1.28 if loss_type == "cispo" else 0.28,
        epsilon_low=0.2,
        importance_sampling_level=level,
        loss_type=loss_type,
        max_completion_length=LONGEST,
        model=SimpleNamespace(training=True),
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        use_vllm=False,
    )
    mask = batch["mask"].long()
    inputs = {
        "prompt_ids": mask[:, :1],
        "prompt_mask": mask[:, :1],
        "completion_ids": mask,
        "completion_mask": mask,
        "advantages": batch["advantage"],
        "old_per_token_logps": batch["old"],
        "ref_per_token_logps": batch["reference"],
        "num_items_in_batch": mask.sum(),
    }
    return torch.as_tensor(trainer.GRPOTrainer._compute_loss(shell, None, inputs))


def our_loss(name: str, batch: dict[str, Tensor], *, beta: float) -> Tensor:
    objective = TEXT_ALGORITHMS[name]
    new_BT, mask_BT = batch["new"], batch["mask"]
    surrogate = token_losses(
        new_BT,
        batch["old"],
        mask_BT,
        batch["advantage"],
        importance=objective.importance,
        clip=Clip(low=0.2, high=0.28),
    )
    kl_BT = token_kl(new_BT, batch["reference"], mask_BT, kind="k3")
    return mean_of_tokens(
        surrogate.loss_N + beta * kl_BT,
        mask_BT,
        normaliser=objective.normaliser,
        max_length=LONGEST,
    )


def random_batch(seed: int) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    rows = int(torch.randint(1, 7, (), generator=draws))

    def normal(scale: float) -> Tensor:
        return scale * torch.randn(rows, LONGEST, generator=draws, dtype=torch.float64)

    old_BT = -normal(1.0).abs() - 0.1
    lengths_B1 = torch.randint(1, LONGEST + 1, (rows, 1), generator=draws)
    return {
        "old": old_BT,
        "new": (old_BT + normal(0.3)).requires_grad_(),
        "reference": old_BT + normal(0.3),
        "mask": torch.arange(LONGEST)[None] < lengths_B1,
        "advantage": normal(1.5)[:, 0].clone(),
    }


@pytest.mark.parametrize("beta", [0.0, BETA])
@pytest.mark.parametrize("name", NAMES)
def test_a_text_loss_and_its_gradient_are_trls(name: str, beta: float) -> None:
    for seed in range(20):
        batch = random_batch(seed)
        ours, theirs = (loss(name, batch, beta=beta) for loss in (our_loss, trl_loss))
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-12, abs=1e-14)
        gradients = [torch.autograd.grad(loss, batch["new"])[0] for loss in (ours, theirs)]
        assert torch.allclose(gradients[0], gradients[1], rtol=1e-10, atol=1e-14)
