"""A tiny random SD3 pipeline as a policy: what is replayed is exactly what was sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from alphabench.checkpoints.diffusers import open_diffusers
from alphabench.core.errors import AlphaBenchError
from alphabench.models.bagel.guidance import Guidance
from alphabench.types import ImageRequest, Sample
from alphagrpo.cost_estimate import estimate_sizes, forecast
from alphagrpo.policies.diffusers_families.stable_diffusion_3 import STABLE_DIFFUSION_3
from alphagrpo.policies.diffusers_training import DiffusersTraining
from alphagrpo.policies.handle import PolicyHandle
from alphagrpo.recipe import load_recipe
from alphatrainers import lora_adapters
from alphatrainers.algorithms.schedules import sigmas_of_points
from alphatrainers.protocols import ReplaySpec, VelocityPredicted, VelocityQuery
from alphatrainers.settings import LoraSettings
from alphatrainers.trajectory import GenerateImage, InputText, Program, TrainingPrompt
from tests.support.tiny_pipelines import save

SIGMAS = sigmas_of_points(5, shift=3.0)
OPTIONS = {"width": "32", "height": "32", "steps": "2", "dtype": "float32"}


def programs(guidance: Guidance | None, count: int = 3) -> list[Program]:
    spec = GenerateImage(width=32, height=32, sigmas=SIGMAS, window=range(1, 3), guidance=guidance)
    return [
        Program(
            id=str(number),
            group="p",
            prompt=TrainingPrompt(id="p", text=words),
            steps=(InputText(text=words), spec),
            seed=number,
        )
        for number, words in enumerate(["a dog", "two cats", "a dog"][:count])
    ]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> PolicyHandle:
    folder = save("sd3", tmp_path_factory.mktemp("sd3"))
    checkpoint = open_diffusers(str(folder), options=OPTIONS, lora=None, device="cpu")
    made = DiffusersTraining(checkpoint=checkpoint).open_policy(device="cpu")
    bound = lora_adapters.select_trainable(
        made.policy.module, STABLE_DIFFUSION_3.experts, lora=LoraSettings(rank=2, alpha=4.0), seed=0
    )
    assert bound
    torch.manual_seed(1)
    for name, one in bound.items():
        if "lora_B" in name:
            one.parameter.data = 0.1 * torch.randn(one.parameter.shape)
    return made


@pytest.mark.parametrize("guidance", [None, Guidance(low=0.0), Guidance(renorm_floor=1.0)])
def test_replayed_velocities_are_those_that_were_sampled(
    opened: PolicyHandle, guidance: Guidance | None
) -> None:
    made = opened.policy.rollout(programs(guidance))
    queries = [
        VelocityQuery(
            segment=1,
            x_BX=torch.stack([one.images[0].path_NX[stored] for one in made]),
            sigma_B=torch.full((3,), SIGMAS[1 + stored]),
            guided=True,
        )
        for stored in range(2)
    ]
    answers = opened.policy.replay(made, texts=[], queries=queries, how=ReplaySpec())
    for stored, answer in enumerate(answers):
        assert isinstance(answer, VelocityPredicted)
        sampled = torch.stack([one.images[0].velocity_SX[stored] for one in made])
        assert torch.equal(answer.v_BX.detach(), sampled)
        assert answer.v_BX.requires_grad
    assert made[0].images[0].image.size == (32, 32)
    assert not torch.equal(made[0].images[0].final_X, made[2].images[0].final_X)


def test_the_harness_draws_with_the_weights_in_training(opened: PolicyHandle) -> None:
    sample = Sample(id="1", prompt="a dog", group="all")
    request = ImageRequest(sample=sample, index=0, seed=3)
    before = opened.generator()
    (first,) = before.generate([request])
    parameter = next(p for p in opened.policy.module.parameters() if p.requires_grad)
    with torch.no_grad():
        parameter.add_(0.5)
    after = opened.generator()
    (second,) = after.generate([request])
    assert before.identity["trained"] != after.identity["trained"]
    assert before.identity["weights"] == after.identity["weights"]
    assert first.tobytes() != second.tobytes()  # type: ignore[union-attr]


def test_a_run_with_the_adapter_draws_what_the_training_drew_in_half_precision_too(
    tmp_path: Path,
) -> None:
    folder, trained = save("sd3", tmp_path / "sd3"), tmp_path / "adapter"
    options = {**OPTIONS, "dtype": "bfloat16"}
    made = DiffusersTraining(
        checkpoint=open_diffusers(str(folder), options=options, lora=None, device="cpu")
    ).open_policy(device="cpu")
    settings = LoraSettings(rank=2, alpha=4.0)
    bound = lora_adapters.select_trainable(
        made.policy.module, STABLE_DIFFUSION_3.experts, lora=settings, seed=0
    )
    torch.manual_seed(1)
    for name, one in bound.items():
        if "lora_B" in name:
            one.parameter.data = 0.5 * torch.randn(one.parameter.shape)
    values = {name: one.parameter.detach() for name, one in bound.items()}
    written: Any = lora_adapters.peft_settings(lora_adapters.target_names(values), settings)
    written.save_pretrained(trained)
    save_file(lora_adapters.exported(values), trained / "adapter_model.safetensors")
    request = ImageRequest(sample=Sample(id="1", prompt="a dog", group="all"), index=0, seed=3)
    run = open_diffusers(str(folder), options=options, lora=str(trained), device="cpu")
    (drawn,), (expected,) = run.generate([request]), made.generator().generate([request])
    loaded = dict(run.pipeline().transformer.named_parameters())
    for name, value in values.items():
        assert torch.equal(loaded[name.replace(lora_adapters.PEFT_ADAPTER, "lora")], value)
    assert drawn.tobytes() == expected.tobytes()  # type: ignore[union-attr]


def test_what_it_cannot_do_is_refused_in_a_sentence(opened: PolicyHandle, tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="image as a whole"):
        opened.policy.rollout(programs(Guidance(renorm="channel"), count=1))
    folder = save("sana", tmp_path)
    checkpoint = open_diffusers(str(folder), options=OPTIONS, lora=None, device="cpu")
    with pytest.raises(AlphaBenchError, match="SanaPipeline"):
        DiffusersTraining(checkpoint=checkpoint).check_trainable()


def test_a_dry_run_measures_a_pipeline_by_its_own_files(
    opened: PolicyHandle, tmp_path: Path
) -> None:
    folder = save("sd3", tmp_path)
    recipe = load_recipe("sd35-dvreward", [f"policy.checkpoint={folder}", "training.lora.rank=2"])
    sizes = estimate_sizes(recipe).sizes
    stored = [load_file(path) for path in folder.rglob("*.safetensors")]
    assert sizes.parameters == sum(one.numel() for file in stored for one in file.values())
    trained = [p for n, p in opened.policy.module.named_parameters() if "lora_" in n]
    assert sizes.trained_parameters == sum(p.numel() for p in trained)
    assert "memory a device" in forecast(recipe)
