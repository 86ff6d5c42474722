"""Every recipe of the package has a plan for any number of devices, and trains a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from alphabench.upstream import UpstreamData
from alphagrpo.assemble import assemble
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.cost_estimate import forecast
from alphagrpo.recipe import TrainingRecipe, load_recipe
from alphagrpo.recipe_names import recipe_names
from alphatrainers.reporting.history import read_steps
from alphatrainers.trainer import Trainer
from tests.alphagrpo.test_assemble import OWN
from tests.support.edit_prompts import save_edit_prompts
from tests.support.tiny_bagel import save_bagel
from tests.support.tiny_janus import save_janus
from tests.support.tiny_pipelines import save

BRIGHT = "python:tests.support.dvreward_judges:brightness"
SMALL = (
    "validation=[]",
    "panel=1",
    "task.thought.max_tokens=4",
    "training.steps=2",
    "training.prompts_per_step=2",
    "training.group_size=2",
    "training.rollout_batch=2",
    "training.text_batch=null",
    "training.replay_batch=2",
    "training.lora={rank: 2, alpha: 4}",
    "training.logging.tensorboard=false",
    "training.validate_views=[train]",
)


def tiny_bagel(folder: Path) -> Path:
    saved = save_bagel(folder)
    (saved / "alphabench.json").write_text(json.dumps(OWN))
    return saved


TINY: Mapping[str, Callable[[Path], Path]] = {
    "nano": tiny_bagel,
    "ByteDance-Seed/BAGEL-7B-MoT": tiny_bagel,
    "stabilityai/stable-diffusion-3.5-medium": lambda at: save("sd35", at),
    "stabilityai/stable-diffusion-3.5-large": lambda at: save("sd35", at),
    "black-forest-labs/FLUX.1-dev": lambda at: save("flux-dev", at),
    "black-forest-labs/FLUX.2-klein-base-4B": lambda at: save("flux2-klein", at),
    "black-forest-labs/FLUX.1-Kontext-dev": lambda at: save("flux-kontext", at),
    "Qwen/Qwen-Image": lambda at: save("qwen-image", at),
    "Qwen/Qwen-Image-Edit-2509": lambda at: save("qwen-image-edit-plus", at),
    "Tongyi-MAI/Z-Image": lambda at: save("z-image", at),
    "deepseek-community/Janus-Pro-7B": save_janus,
}
"""Checkpoint of a recipe -> makes a tiny model of its family."""


QUICK = ("nano", "ByteDance-Seed/BAGEL-7B-MoT", "deepseek-community/Janus-Pro-7B")


def shrunk(name: str, checkpoint: Path) -> TrainingRecipe:
    """The recipe for a tiny model: its algorithm, task and rewards, less of everything."""
    whole = load_recipe(name)
    changes = [*SMALL, f"policy.checkpoint={checkpoint}"]
    if whole.task.kind == "edit":  # an edit has the size of its source image
        source = save_edit_prompts(checkpoint.parent)
        changes += [
            f"prompts.source={source}",
            "policy.options={width: 32, height: 32, dtype: float32}",
        ]
    else:
        changes += ["prompts.source='small:?count=4'", "policy.options={}"]
    if whole.task.draw.tokens is None:
        changes.append("task.draw.points=5")
    changes += [
        f"rewards.{reward}.judge='{BRIGHT}'"
        for reward, one in whole.rewards.items()
        if one.kind == "dvreward"
    ]
    sections = {"task.draw": whole.task.draw}
    if whole.task.refine is not None:
        changes += ["task.refine.initial_images=2", "task.refine.initial.points=5"]
        sections["task.refine.initial"] = whole.task.refine.initial
    for section, draw in sections.items():
        if draw.width is not None:
            changes += [f"{section}.width=32", f"{section}.height=32"]
        if draw.tokens is None and draw.window.kind != "none":
            changes.append(f"{section}.window={{kind: static, size: 2}}")
    return load_recipe(name, changes)


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("devices", [1, 8])
def test_a_recipe_is_planned_without_its_weights(name: str, devices: int) -> None:
    recipe = load_recipe(name)
    said = forecast(recipe, devices=devices)
    assert "no estimate" not in said
    for words in ("work a step", "memory a device", "judge calls a step"):
        assert words in said
    share = -(-recipe.training.prompts_per_step // devices) * recipe.training.group_size
    assert f"({share} a device at most)" in said


def trained_names() -> list[object]:
    """Pipelines take longer than a quick test may."""
    return [
        name
        if load_recipe(name).policy.checkpoint in QUICK
        else pytest.param(name, marks=pytest.mark.whole)
        for name in recipe_names()
    ]


@pytest.mark.parametrize("name", trained_names())
def test_a_recipe_trains_a_tiny_model_of_its_family(
    name: str, tmp_path: Path, small_sources: None
) -> None:
    del small_sources
    recipe = shrunk(name, TINY[load_recipe(name).policy.checkpoint](tmp_path / "tiny"))
    context = AssemblyContext(
        folder=tmp_path / "run",
        data=UpstreamData(cache_dir=tmp_path / "cache"),
        device="cpu",
        report=lambda _: None,
    )
    outcome = Trainer(assemble(recipe, context), recipe.training, tmp_path / "run").train()
    assert outcome.step == 2
    lines = [line.values for line in read_steps(tmp_path / "run")]
    assert [line["reward/unscored_share"] for line in lines] == [0.0, 0.0]
    assert max(line.get("grad_norm", 0.0) for line in lines) > 0.0
    if recipe.task.kind == "mixed":
        kinds = {name for line in lines for name in line if name.startswith("task/")}
        assert kinds
