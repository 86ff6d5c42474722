"""Every small recipe of the package makes a step, on a tiny random BAGEL in the place of nano."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alphabench.upstream import UpstreamData
from alphagrpo.assemble import assemble
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.recipe import load_recipe
from alphatrainers.trainer import Trainer
from tests.alphagrpo.test_assemble import OWN
from tests.support.tiny_bagel import save_bagel

SMALL = (
    "policy.options={}",
    "prompts.source='small:?count=4'",
    "validation=[]",
    "panel=1",
    "task.thought.max_tokens=4",
    "training.steps=1",
    "training.prompts_per_step=2",
    "training.group_size=2",
    "training.rollout_batch=2",
    "training.replay_batch=2",
    "training.lora={rank: 2, alpha: 4}",
    "training.logging.tensorboard=false",
    "training.validate_views=[train]",
)
BRIGHT = "python:tests.support.dvreward_judges:brightness"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_bagel(tmp_path_factory.mktemp("recipes") / "tiny")
    (folder / "alphabench.json").write_text(json.dumps(OWN))
    return folder


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("nano-rt2i", "task.kind=rt2i"),
        ("nano-rt2i", "task.kind=t2i"),
        ("nano-srr", "task.refine.initial_images=2"),
        ("nano-srr", "task.refine.train_initial=true"),
        ("nano-awm", "task.kind=rt2i"),
        ("nano-nft", "task.kind=rt2i"),
    ],
)
def test_a_step_is_made_and_every_part_of_it_learns(
    base: Path, tmp_path: Path, name: str, change: str
) -> None:
    changes = [f"policy.checkpoint={base}", f"rewards.dvreward.judge='{BRIGHT}'", change, *SMALL]
    if change.endswith("train_initial=true"):
        changes.append("task.refine.initial.window={kind: static, size: 1}")
    if change == "task.kind=t2i":
        changes.append("training.text.kind=none")
    recipe = load_recipe(name, changes)
    data = UpstreamData(cache_dir=tmp_path / "cache")
    place = AssemblyContext(folder=tmp_path, data=data, device="cpu", report=print)
    outcome = Trainer(assemble(recipe, place), recipe.training, tmp_path / "run").train()
    assert outcome.step == 1
    (row,) = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    values = row["values"]
    assert values["reward/unscored_share"] == 0.0
    assert values["gradient_norm"] > 0.0
    assert values["image/groups"] == (4.0 if change.endswith("train_initial=true") else 2.0)
    if change != "task.kind=t2i":
        assert values["text/groups"] >= 2.0
    if "gap/image" in values:
        assert values["gap/image"] == 0.0
