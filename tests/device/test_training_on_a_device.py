"""Trainings on the stand-in for an accelerator give what they give on the CPU, number by number.

A tensor that stays on the CPU, in engine, policy or loss, is refused there as on a GPU.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.attention import SDPBackend, sdpa_kernel

from alphabench.upstream import UpstreamData
from alphagrpo.assemble import assemble
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.recipe import load_recipe
from alphatrainers.reporting.history import read_steps
from alphatrainers.trainer import Trainer
from tests.support.tiny_bagel import save_bagel
from tests.support.toy_policy import ToyPolicy
from tests.support.toy_training import train

pytestmark = pytest.mark.device

FLOW_GRPO = ("training.image.kind=flow_grpo", "training.image.kl=gaussian")
ALGORITHMS = {
    "flow_grpo": FLOW_GRPO,
    "guard": ("training.image.kind=guard",),
    "nft": ("training.image.kind=nft", "training.image.beta=0.5"),
    "awm": ("training.image.kind=awm", "training.image.kl_weights={old: 1.0, ema: 0.1}"),
    "replayed": ("training.old_log_probs=replayed", "training.updates_per_step=2"),
    "two updates": ("training.image.kind=awm", "training.updates_per_step=2"),
    "old adapter": (
        "training.old_decay=ramp",
        "training.rollout_view=old",
        "training.image.kind=nft",
    ),
    "all weights": ("training.lora=null", "training.optimiser.experts={und: 0.001}"),
    "with context": ("training.context_gradient=true",),
}
SAMPLING = {
    "width": 32,
    "height": 32,
    "timesteps": 3,
    "latent_longest": 48,
    "latent_shortest": 32,
    "patch_longest": 42,
    "patch_shortest": 28,
}
NANO = (
    "rewards.dvreward.judge='python:tests.support.dvreward_judges:brightness'",
    "policy.options={think: true, text_scale: 4.0, timesteps: 3}",
    "prompts.source=small:?count=4&tasks=two_object,colors",
    "validation=[]",
    "panel=0",
    "task.thought.max_tokens=3",
    "task.draw.points=3",
    "training.steps=1",
    "training.prompts_per_step=2",
    "training.group_size=2",
    "training.lora={rank: 2, alpha: 4.0}",
    # Else the first update follows the sign of gradients that are nothing but rounding.
    "training.optimiser.eps=0.001",
    "training.logging.tensorboard=false",
)


def numbers(folder: Path) -> dict[str, float]:
    """All metrics of a training, by step and name."""
    return {
        f"{line.step} {name}": value
        for line in read_steps(folder)
        for name, value in line.values.items()
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of the last checkpoint: weights of every view, and the optimizer's."""
    return {
        f"{path.relative_to(folder).as_posix()} {name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        if "best" not in path.parts
        for name, tensor in load_file(path).items()
    }


def compare(here: Path, there: Path) -> None:
    assert numbers(here) == pytest.approx(numbers(there), rel=1e-6, abs=1e-9)
    found, expected = weights(here), weights(there)
    assert found.keys() == expected.keys() != set()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_trains_as_on_the_cpu(
    name: str, stand_in: torch.device, tmp_path: Path
) -> None:
    settings = ("training.steps=2", "training.save_every=2", *ALGORITHMS[name])
    train(tmp_path / "here", *settings, policy=ToyPolicy(device=stand_in))
    train(tmp_path / "there", *settings)
    compare(tmp_path / "here", tmp_path / "there")


def test_bfloat16_weights_train_as_on_the_cpu(stand_in: torch.device, tmp_path: Path) -> None:
    settings = ("training.steps=2", "training.save_every=2", "training.guards.text_mismatch=1.0")
    train(
        tmp_path / "here",
        *settings,
        policy=ToyPolicy(dtype=torch.bfloat16, device=stand_in),
    )
    train(tmp_path / "there", *settings, policy=ToyPolicy(dtype=torch.bfloat16))
    compare(tmp_path / "here", tmp_path / "there")


def test_a_training_is_resumed_on_the_device(stand_in: torch.device, tmp_path: Path) -> None:
    views = "training.image.kl_weights={old: 1.0, ema: 0.1, reference: 0.1}"
    for steps in (2, 4):
        train(
            tmp_path / "here",
            f"training.steps={steps}",
            "training.save_every=2",
            views,
            policy=ToyPolicy(device=stand_in),
        )
    train(tmp_path / "there", "training.steps=4", "training.save_every=2", views)
    compare(tmp_path / "here", tmp_path / "there")


@pytest.fixture(scope="module")
def bagel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_bagel(tmp_path_factory.mktemp("bagel") / "tiny")
    (folder / "alphabench.json").write_text(json.dumps(SAMPLING))
    return folder


CHANGES: Mapping[str, tuple[str, ...]] = {
    "nano-awm": (),
    "nano-nft": (),
    "nano-rt2i": ("task.draw.window={kind: random, size: 2, low: 0, high: 2}",),
    "nano-srr": (
        "task.refine.initial_images=2",
        "task.refine.initial.points=3",
    ),
}


@pytest.mark.parametrize(
    "recipe_name",
    [
        "nano-rt2i",
        "nano-srr",
        pytest.param("nano-awm", marks=pytest.mark.whole),
        pytest.param("nano-nft", marks=pytest.mark.whole),
    ],
)
def test_a_recipe_takes_a_step_as_on_the_cpu(
    recipe_name: str, bagel: Path, stand_in: torch.device, tmp_path: Path
) -> None:
    recipe = load_recipe(recipe_name, (f"policy.checkpoint={bagel}", *NANO, *CHANGES[recipe_name]))
    for device in (stand_in, torch.device("cpu")):
        folder = tmp_path / device.type
        context = AssemblyContext(
            folder=folder,
            data=UpstreamData(cache_dir=tmp_path / "data"),
            device=str(device),
            report=lambda _: None,
        )
        # What torch computes attention with on a device that it does not know.
        with sdpa_kernel(SDPBackend.MATH):
            Trainer(assemble(recipe, context), recipe.training, folder).train()
    compare(tmp_path / stand_in.type, tmp_path / "cpu")
