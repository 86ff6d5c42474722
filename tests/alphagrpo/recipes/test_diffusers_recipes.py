"""Every recipe for a diffusers pipeline makes two steps on a tiny one of its family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alphabench.upstream import UpstreamData
from alphagrpo.assemble import assemble
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.cost_estimate import estimate_sizes, forecast
from alphagrpo.recipe import load_recipe
from alphatrainers.reporting.history import read_steps
from alphatrainers.trainer import Trainer
from tests.support.edit_prompts import save_edit_prompts

Folder = Callable[[str], Path]
RECIPES = {
    "sd35-dvreward": ("sd35", "16", 2.6e7),
    "sd35-large-dvreward": ("sd35", "16", 4.7e7),
    "flux1-dvreward": ("flux-dev", "16", 1.0e8),
    "flux2-klein-dvreward": ("flux2-klein", "32", 3.7e7),
    "qwen-image-dvreward": ("qwen-image", "32", 1.9e8),
    "z-image-dvreward": ("z-image", "32", 3.3e7),
    "qwen-image-edit-dvreward": ("qwen-image-edit-plus", "32", 1.9e8),
    "flux1-kontext-edit": ("flux-kontext", "32", 1.0e8),
}
"""Recipe -> a tiny pipeline, pixels on a side of its images, and about how many parameters the
recipe trains on the released one."""
QUICK = ("sd35-large-dvreward",)
SMALL = (
    "rewards={bright: {kind: python, factory: 'tests.support.bright_reward:mean_brightness'}}",
    "validation=[]",
    "panel=1",
    "task.draw.points=4",
    "training.steps=2",
    "training.prompts_per_step=2",
    "training.group_size=2",
    "training.rollout_batch=4",
    "training.replay_batch=4",
    "training.lora={rank: 2, alpha: 4}",
    "training.logging.tensorboard=false",
    "training.validate_views=[train]",
)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.whole)
             for name in RECIPES]
)  # fmt: skip
def test_two_steps_change_lora_weights_alone(
    name: str, pipeline: Folder, tmp_path: Path, small_sources: None
) -> None:
    del small_sources
    family, side, _ = RECIPES[name]
    options = f"{{width: {side}, height: {side}, dtype: float32}}"
    size = [f"task.draw.width={side}", f"task.draw.height={side}"]
    edits = load_recipe(name).task.kind == "edit"
    changes = [
        f"policy.checkpoint={pipeline(family)}",
        f"policy.options={options}",
        *SMALL,
        f"prompts.source={save_edit_prompts(tmp_path) if edits else 'small:?count=4'}",
        *([] if edits else size),
    ]
    if load_recipe(name).task.draw.window.kind != "none":
        changes.append("task.draw.window={kind: static, size: 2, low: 0}")
    recipe = load_recipe(name, changes)
    place = AssemblyContext(
        folder=tmp_path, data=UpstreamData(cache_dir=tmp_path / "cache"), device="cpu", report=print
    )
    components = assemble(recipe, place)
    module = components.policy.module
    before = {key: value.clone() for key, value in module.state_dict().items()}
    outcome = Trainer(components, recipe.training, tmp_path / "run").train()
    assert outcome.step == 2
    for line in read_steps(tmp_path / "run"):
        assert line.values["grad_norm"] > 0.0
        assert line.values.get("image/logprob_diff", 0.0) == 0.0
    # LoRA puts the layers that it is added to one level deeper.
    after = {key.replace(".base_layer", ""): value for key, value in module.state_dict().items()}
    assert all(torch.equal(after[key], value) for key, value in before.items())
    trained = {key for key in after.keys() - before.keys() if "lora_B" in key}

    assert any(after[key].any() for key in trained)  # the last block reads no text any more


@pytest.mark.parametrize("name", RECIPES)
def test_a_plan_of_the_released_model_needs_no_weights(name: str) -> None:
    recipe = load_recipe(name)
    trained = estimate_sizes(recipe).sizes.trained_parameters
    assert trained == pytest.approx(RECIPES[name][2], rel=0.1)
    assert "memory a device" in forecast(recipe)
    assert recipe.about.measured == "nothing yet"


@pytest.mark.parametrize(
    "family", ["flux-dev", *(pytest.param(one, marks=pytest.mark.whole)
                             for one in ("sd35", "qwen-image", "z-image", "flux2-klein"))]
)  # fmt: skip
def test_a_plan_of_a_folder_counts_its_own_weights(family: str, pipeline: Folder) -> None:
    from alphabench.weights.sizes import METADATA
    from alphabench.weights.weight_files import read_header

    folder = pipeline(family)
    recipe = load_recipe("flux1-dvreward", [f"policy.checkpoint={folder}"])
    files = [read_header(path, name=path.name) for path in folder.rglob("*.safetensors")]
    stored = sum(
        torch.Size(entry["shape"]).numel()
        for header in files
        for key, entry in header.items()
        if key != METADATA
    )
    assert estimate_sizes(recipe).sizes.parameters == stored
