"""A tiny random Janus as a policy: it samples as the harness does, and scores what was sampled."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.models.unified_model import (
    GenerationResult,
    GenerationTask,
    RefinableModel,
    RefineTask,
)
from alphagrpo.cost_estimate import estimate_sizes, forecast
from alphagrpo.export import ExportTarget, export_run
from alphagrpo.policies.factory import open_policy
from alphagrpo.policies.handle import PolicyHandle
from alphagrpo.policies.janus_policy import JanusPolicy
from alphagrpo.recipe import PolicySettings, load_recipe
from alphagrpo.tasks import ImageSampling, SamplingSpec, TextToImageTask, Window
from alphatrainers import lora_adapters, strict_yaml
from alphatrainers.protocols import ReplaySpec, Score, TextScored
from alphatrainers.reward_scoring import RewardUse
from alphatrainers.sampling import generator
from alphatrainers.settings import LoraSettings, TrainingSettings
from alphatrainers.trainer import Trainer
from alphatrainers.trainer_components import TrainerComponents
from alphatrainers.trajectory import (
    GenerateImageTokens,
    InputText,
    Program,
    TrainingPrompt,
    Trajectory,
)
from tests.support.tiny_janus import SIDE, save_janus

pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore:.*config file:UserWarning"
)
PROMPTS = ("a red cat", "a photo of two green dogs and a red cat", "Yes.")
SPEC = GenerateImageTokens(width=SIDE, height=SIDE, temperature=0.8, guidance=5.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Must not be changed."""
    return save_janus(tmp_path_factory.mktemp("janus"))


def load(folder: Path, **options: object) -> PolicyHandle:
    settings = PolicySettings(checkpoint=str(folder), options={"dtype": "float32", **options})
    return open_policy(settings, device="cpu")


def with_lora(opened: PolicyHandle, *, size: float = 0.1) -> dict[str, Tensor]:
    """Adapters that change something; their values."""
    module, settings = opened.policy.module, LoraSettings(rank=2, alpha=4.0)
    bound = lora_adapters.select_trainable(module, opened.policy.experts, lora=settings, seed=0)
    torch.manual_seed(1)
    for name, one in bound.items():
        if "lora_B" in name:
            torch.nn.init.normal_(one.parameter, std=size)
    return {name: one.parameter for name, one in bound.items()}


@pytest.fixture(scope="module")
def opened(folder: Path) -> PolicyHandle:
    made = load(folder, temperature=SPEC.temperature)
    with_lora(made)
    return made


def programs(spec: GenerateImageTokens = SPEC) -> list[Program]:
    return [
        Program(
            id=str(number),
            group="p",
            prompt=TrainingPrompt(id="p", text=text),
            steps=(InputText(text=text), spec),
            seed=number,
        )
        for number, text in enumerate(PROMPTS)
    ]


def scored(
    opened: PolicyHandle, made: Sequence[Trajectory], *, recompute: bool = False
) -> tuple[Tensor, ...]:
    (answer,) = opened.policy.replay(
        made, texts=[1], queries=[], how=ReplaySpec(recompute=recompute)
    )
    assert isinstance(answer, TextScored)
    return answer.logp


def test_a_rollout_makes_the_images_that_the_harness_makes_of_the_same_seeds(
    opened: PolicyHandle,
) -> None:
    (live,) = [opened.generator()]
    assert isinstance(live, UnifiedCheckpoint)
    for program, trajectory in zip(programs(), opened.policy.rollout(programs()), strict=True):
        seed = generator(program, 1).initial_seed()
        task = GenerationTask(prompt=program.prompt.text, seed=seed)
        (result,) = live.model().generate([task])
        assert isinstance(result, GenerationResult)
        assert trajectory.final_images[-1].tobytes() == result.image.tobytes()


def test_a_validation_can_refine_with_the_weights_in_training(folder: Path) -> None:
    made = load(folder, answer_tokens=8)
    with_lora(made)
    live = made.generator()
    assert isinstance(live, UnifiedCheckpoint)
    assert isinstance(live.handle, RefinableModel)
    assert live.handle.refinement_identity()["refine.answer_tokens"] == "8"
    model = live.model()
    assert model is made.policy.janus  # type: ignore[attr-defined]
    task = RefineTask(prompt=PROMPTS[0], image=Image.new("RGB", (SIDE, SIDE)), seed=3)
    (result,) = live.handle.refiner(model).refine([task])
    assert isinstance(result, GenerationResult)
    assert result.image.size == (SIDE, SIDE)


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_a_replay_scores_the_tokens_as_they_were_sampled(
    opened: PolicyHandle, guidance: float
) -> None:
    spec = GenerateImageTokens(width=SIDE, height=SIDE, temperature=0.8, guidance=guidance)
    made = opened.policy.rollout(programs(spec))
    logp = scored(opened, made)
    for trajectory, logp_N in zip(made, logp, strict=True):
        assert logp_N.requires_grad
        assert torch.allclose(logp_N.detach(), trajectory.token_images[0].logp_T, atol=1e-4)
    assert float(torch.stack(logp).detach().std()) > 0.1, "a flat distribution would show little"


def test_neither_batch_nor_order_changes_a_score(opened: PolicyHandle) -> None:
    made = opened.policy.rollout(programs())
    together = scored(opened, made)
    backwards = scored(opened, made[::-1])[::-1]
    alone = [scored(opened, [one])[0] for one in made]
    for one, other, third in zip(together, backwards, alone, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
        assert torch.allclose(one, third, atol=1e-5)


def by_hand(policy: JanusPolicy, trajectory: Trajectory) -> Tensor:
    """Prompt and tokens once with the text and once with padding for it, without any batch."""
    network, tokenizer = policy.janus.network, policy.janus.processor.tokenizer
    image = trajectory.token_images[0]
    (ids_T,) = policy.janus.prompts([trajectory.program.prompt.text]).ids_BT
    kept = torch.tensor(
        [token in (tokenizer.bos_token_id, int(ids_T[-1])) for token in ids_T.tolist()]
    )
    free_T = torch.where(kept, ids_T, tokenizer.pad_token_id)
    codes_N = torch.tensor(image.ids)
    logits = []
    for given_T in (ids_T, free_T):
        read_TD = torch.cat(
            [
                network.get_input_embeddings()(given_T),
                network.prepare_embeddings_for_image_generation(codes_N),
            ]
        )
        seen_TD = network.model.language_model(inputs_embeds=read_TD[None]).last_hidden_state[0]
        logits.append(network.model.generation_head(seen_TD)[len(given_T) - 1 : -1])
    guidance, temperature = image.spec.guidance, image.spec.temperature
    mixed_NV: Tensor = (logits[1] + guidance * (logits[0] - logits[1])) / temperature
    chosen_N = mixed_NV[torch.arange(len(codes_N)), codes_N]
    return chosen_N - mixed_NV.exp().sum(-1).log()


def test_the_gradient_is_that_of_the_guided_distribution_computed_by_hand(
    opened: PolicyHandle,
) -> None:
    policy, made = opened.policy, opened.policy.rollout(programs())
    assert isinstance(policy, JanusPolicy)
    trained = [p for p in policy.module.parameters() if p.requires_grad]
    weights = torch.tensor([0.7, -1.3, 0.2])
    losses = [
        sum(weight * one.sum() for weight, one in zip(weights, logp, strict=True))
        for logp in (scored(opened, made), [by_hand(policy, one) for one in made])
    ]
    gradients = [torch.autograd.grad(torch.as_tensor(loss), trained) for loss in losses]
    assert torch.allclose(torch.as_tensor(losses[0]), torch.as_tensor(losses[1]), atol=1e-3)
    for found, wanted in zip(*gradients, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-3, atol=2e-4 * float(wanted.abs().max()))
    assert max(float(one.abs().max()) for one in gradients[1]) > 0.01


def test_recomputed_activations_give_the_same_gradient(opened: PolicyHandle) -> None:
    made = opened.policy.rollout(programs())
    trained = [p for p in opened.policy.module.parameters() if p.requires_grad]
    plain, saving = (
        torch.autograd.grad(torch.cat(scored(opened, made, recompute=on)).sum(), trained)
        for on in (False, True)
    )
    for one, other in zip(plain, saving, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert not any(unit.training for unit in opened.policy.units)


def test_recomputing_stores_fewer_activations(opened: PolicyHandle) -> None:
    made, stored = opened.policy.rollout(programs()), []
    for on in (False, True):
        sizes: dict[int, int] = {}

        def note(value: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[value.data_ptr()] = value.numel()
            return value

        with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
            logp = scored(opened, made, recompute=on)
        stored.append(sum(sizes.values()))
        del logp
    assert stored[1] < 0.8 * stored[0]


def test_a_head_with_learning_rate_0_is_not_trained(folder: Path) -> None:
    opened = load(folder)
    settings = {"llm": opened.policy.experts["llm"]}
    lora = LoraSettings(rank=2, alpha=4.0)
    without = lora_adapters.select_trainable(opened.policy.module, settings, lora=lora, seed=0)
    both = with_lora(load(folder))
    assert {name for name in both if name not in without} == {
        f"model.generation_head.{part}.lora_{factor}.default.weight"
        for part in ("proj_out", "vision_head")
        for factor in "AB"
    }
    assert all("language_model.layers" in name for name in without)


# Trainings.


@dataclass
class FirstCodes:
    """How many of the tokens are of the first half of the vocabulary; remembers trajectories."""

    seen: list[Trajectory] = field(default_factory=list)

    @property
    def identity(self) -> Mapping[str, str]:
        return {"reward": "first codes"}

    def score(self, trajectories: Sequence[Trajectory]) -> Sequence[Score]:
        self.seen += trajectories
        return [Score(value=value_of(one)) for one in trajectories]


def value_of(trajectory: Trajectory) -> float:
    ids = trajectory.token_images[0].ids
    return sum(token < 24 for token in ids) / len(ids)


SETTINGS: dict[str, Any] = {
    "steps": 2,
    "prompts_per_step": 2,
    "group_size": 4,
    "rollout_batch": 4,
    "replay_batch": 4,
    "lora": {"rank": 2, "alpha": 4.0},
    "optimiser": {"lr": 0.01},
    "old_log_probs": "replayed",
    "image": {
        "kind": "token_grpo", "clip_low": 0.2, "clip_high": 0.2, "kl_weights": {"reference": 0.01}
    },
    "text": {"kind": "none"},
    "advantage": {"std": "group"},
    "logging": {"tensorboard": False},
    "save_every": 1,
}  # fmt: skip


def training(
    opened: PolicyHandle, out: Path, *assignments: str, reward: FirstCodes | None = None
) -> Trainer:
    image = ImageSampling(spec=SPEC, window=Window())
    task = TextToImageTask(sampling=SamplingSpec(image=image, thought=None, think_prompt=""))
    parts = TrainerComponents(
        policy=opened.policy,
        task=task,
        rewards={"codes": RewardUse(reward=reward or FirstCodes())},
        prompts=[TrainingPrompt(id=text, text=text) for text in PROMPTS],
    )
    settings = strict_yaml.build_settings(
        TrainingSettings, strict_yaml.override(SETTINGS, assignments)
    )
    return Trainer(parts, settings, out)


def metrics(out: Path) -> Iterator[dict[str, float]]:
    for line in (out / "metrics.jsonl").read_text().splitlines():
        yield json.loads(line)["values"]


def test_a_step_is_on_policy_and_raises_what_was_rewarded(folder: Path, tmp_path: Path) -> None:
    opened, reward = load(folder), FirstCodes()
    training(opened, tmp_path, "steps=1", reward=reward).train()
    (values,) = metrics(tmp_path)
    assert values["image/ratio/mean"] == 1.0
    assert values["image/clip_fraction"] == 0.0
    assert values["image/kl"] == 0.0
    assert 0.0 <= values["image/logprob_diff"] < 1e-4
    assert values["image/entropy"] > 0.5
    assert values["grad_norm"] > 0.0
    for group in {one.program.group for one in reward.seen}:
        made = [one for one in reward.seen if one.program.group == group]
        with torch.no_grad():
            after = scored(opened, made)
        gains = [
            float((n - t.token_images[0].logp_T).sum()) for n, t in zip(after, made, strict=True)
        ]
        mean = sum(map(value_of, made)) / len(made)
        assert (
            sum((value_of(one) - mean) * gain for one, gain in zip(made, gains, strict=True)) > 0.0
        )


def test_a_resumed_training_equals_an_undisturbed_one(folder: Path, tmp_path: Path) -> None:
    training(load(folder), tmp_path / "whole").train()
    training(load(folder), tmp_path / "cut", "steps=1").train()
    training(load(folder), tmp_path / "cut").train()
    whole, cut = (
        load_file(tmp_path / name / "checkpoints/step-000002/train/adapter_model.safetensors")
        for name in ("whole", "cut")
    )
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    ratios = [values["image/ratio/mean"] for values in metrics(tmp_path / "cut")]
    assert ratios == [1.0, 1.0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_with_the_adapter_draws_what_the_training_draws(
    folder: Path, tmp_path: Path, dtype: str
) -> None:
    opened = load(folder, dtype=dtype)
    training(opened, tmp_path / "run", "guards.text_mismatch=9", "optimiser.lr=0.05").train()
    adapter = tmp_path / "run" / "checkpoints" / "step-000002" / "train"
    run = open_checkpoint(str(folder), options={"dtype": dtype}, lora=str(adapter))
    plain = open_checkpoint(str(folder), options={"dtype": dtype})
    images = []
    for one in (run, opened.generator(), plain):
        assert isinstance(one, UnifiedCheckpoint)
        (result,) = one.model().generate([GenerationTask(prompt="a red cat", seed=3)])
        assert isinstance(result, GenerationResult)
        images.append(result.image.tobytes())
    assert images[0] == images[1]
    assert images[0] != images[2]


def test_merged_weights_are_a_checkpoint_that_draws_the_same(folder: Path, tmp_path: Path) -> None:
    opened = load(folder)
    training(opened, tmp_path / "run", "optimiser.lr=0.05").train()
    adapter = tmp_path / "run" / "checkpoints" / "step-000002" / "train"
    changes = [f"policy.checkpoint={folder}", "policy.options={dtype: float32}"]
    recipe = strict_yaml.to_yaml(load_recipe("janus-pro-dvreward", changes))
    (adapter.parent / "recipe.yaml").write_text(recipe)
    export_run(adapter, ExportTarget(out=tmp_path / "merged", merge=True), base=None)
    options, images = {"dtype": "float32"}, []
    for one in (open_checkpoint(str(tmp_path / "merged"), options=options), opened.generator(),
                open_checkpoint(str(folder), options=options)):  # fmt: skip
        assert isinstance(one, UnifiedCheckpoint)
        (result,) = one.model().generate([GenerationTask(prompt="a red cat", seed=3)])
        assert isinstance(result, GenerationResult)
        images.append(np.asarray(result.image).astype(int))
    assert int(abs(images[0] - images[1]).max()) <= 1, "rounding of a level"
    assert int(abs(images[0] - images[2]).max()) > 1


# What is refused, and what a dry run says.


def test_what_cannot_be_trained_is_refused_in_a_sentence(
    folder: Path, opened: PolicyHandle
) -> None:
    large = GenerateImageTokens(width=64, height=64)
    with pytest.raises(AlphaBenchError, match="64x64 pixels were requested"):
        opened.policy.rollout(programs(large))
    changes = {
        "task.draw={points: 9, window: {kind: none}}": "denoised",
        "task.draw={points: 9, tokens: {}}": "not both",
        "task.draw={width: 32, height: 32}": "points is needed",
        "task.draw.guidance={}": "tokens.guidance",
        "task.draw.tokens.temperature=0": "temperature above 0",
        "training.image={kind: awm}": "sampled token by token",
    }
    for assignment, words in changes.items():
        with pytest.raises(AlphaBenchError, match=words):
            load_recipe("janus-pro-dvreward", [assignment])


def test_a_dry_run_counts_the_parameters_of_a_folder(folder: Path, opened: PolicyHandle) -> None:
    changes = [f"policy.checkpoint={folder}", "training.lora.rank=2",
               "training.optimiser.experts={}"]  # fmt: skip
    sizes = estimate_sizes(load_recipe("janus-pro-dvreward", changes)).sizes
    stored = [load_file(path) for path in folder.rglob("*.safetensors")]
    assert sizes.parameters == sum(one.numel() for file in stored for one in file.values())
    trained = [p for n, p in opened.policy.module.named_parameters() if "lora_" in n]
    assert sizes.trained_parameters == sum(p.numel() for p in trained)


@pytest.mark.parametrize(("name", "billions"), [("1B", 2.09), ("7B", 7.42)])
def test_a_dry_run_knows_the_released_sizes(name: str, billions: float) -> None:
    checkpoint = f"policy.checkpoint=deepseek-community/Janus-Pro-{name}"
    recipe = load_recipe("janus-pro-dvreward", [checkpoint])
    estimate = estimate_sizes(recipe)
    assert estimate.sizes.parameters / 1e9 == pytest.approx(billions, abs=0.02)
    assert (estimate.token_pixels, estimate.image_size) == (16, (384, 384))
    plan = forecast(recipe)
    assert "memory a device" in plan
    halved = forecast(
        load_recipe("janus-pro-dvreward", [checkpoint, "task.draw.tokens.guidance=1"])
    )
    works = [
        float(line.split()[-1])
        for text in (plan, halved)
        for line in text.splitlines()
        if line.startswith("  sampling images")
    ]
    assert works[0] == pytest.approx(2.0 * works[1], rel=0.01)
