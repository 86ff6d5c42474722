"""The training half of `examples/`: each file runs as its first lines say, in a few seconds."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from tests.cli.conftest import Shell
from tests.support.made_recipes import wrote

EXAMPLES = Path(__file__).parents[2] / "examples"
MODULES = (
    "image_algorithm", "reward_function", "tiny_pipeline", "trainable_model", "unified_model",
)  # fmt: skip
NANO = (
    "training.steps=1", "training.prompts_per_step=2", "training.group_size=3", "validation=[]",
    "panel=0", "task.thought.max_tokens=8", "prompts.source='small:?count=2'", "--device", "cpu",
)  # fmt: skip


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A copy of the folder as the current directory; no module of it stays loaded."""
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield Shell(folder=folder, cache=tmp_path / "cache")
    for name in MODULES:
        sys.modules.pop(name, None)


def logged(shell: Shell, run: str) -> list[dict[str, float]]:
    lines = (shell.folder / run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["values"] for line in lines]


def test_a_function_of_images_is_a_reward_in_a_recipe(shell: Shell) -> None:
    reward = "rewards={colour: {kind: python, factory: 'reward_function:colourfulness'}}"
    shell("train", "nano-rt2i", *NANO, reward, "--out", "run")
    (step,) = logged(shell, "run")
    assert step["reward/colour/mean"] > 0.0


def test_the_example_rewards_score_what_they_say(shell: Shell) -> None:
    from reward_function import ShortThoughts, colourfulness  # type: ignore[import-not-found]

    grey, red = (Image.new("RGB", (4, 4), colour) for colour in ("grey", "red"))
    assert colourfulness(["", ""], [grey, red]) == pytest.approx([0.0, 0.3 * 285.1 / 100], abs=1e-3)
    thoughts = [wrote("word " * count) for count in (3, 6, 8)]
    assert [one.value for one in ShortThoughts(words=4).score(thoughts)] == [1.0, 0.5, 0.0]


def test_an_algorithm_is_one_row_that_a_recipe_names(shell: Shell) -> None:
    row = ("training.image.kind=image_algorithm:REINFORCE", "task.draw.kernel=flow_sde")
    shell("train", "nano-rt2i", *NANO, *row, "--out", "run")
    (step,) = logged(shell, "run")
    assert "image/log_prob" in step
    assert step["grad_norm"] > 0.0
    recipe = yaml.safe_load((shell.folder / "run" / "recipe.yaml").read_text())
    assert recipe["training"]["image"]["kind"] == "image_algorithm:REINFORCE"


def test_a_unified_model_of_ones_own_generates_answers_and_refines(shell: Shell) -> None:
    run = ("run", "geneval:mini", "--ckpt", "python:unified_model:open_tints", "--limit", "6")
    assert "24 of 24 scored" in shell(*run, "--out", "plain").out
    assert "24 of 24 scored" in shell(*run, "--out", "refined", "--refine", "self").out
    kept = [
        (shell.folder / name / "images.jsonl").read_text().count("\n")
        for name in ("plain", "refined")
    ]
    assert kept == [24, 24]


def test_a_model_of_ones_own_learns_the_example_reward(shell: Shell) -> None:
    shell("train", "trainable_recipe.yaml", "--device", "cpu", "--out", "run")
    rewards = [step["reward/colour/mean"] for step in logged(shell, "run")]
    assert len(rewards) == 20
    assert rewards[-1] > rewards[0] + 0.5


def test_a_small_diffusers_pipeline_is_written_and_trained_with_a_validation(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny_pipeline  # type: ignore[import-not-found]

    before = torch.get_rng_state()
    tiny_pipeline.write_pipeline(shell.folder / "tiny-pipeline")
    assert torch.equal(before, torch.get_rng_state())
    (validation,) = yaml.safe_load((shell.folder / "diffusers_recipe.yaml").read_text())[
        "validation"
    ]
    fewer = f"validation={[{**validation, 'limit': 1}]}"
    said = shell("train", "diffusers_recipe.yaml", fewer, "--device", "cpu", "--out", "run")
    assert len(logged(shell, "run")) == 2
    assert "2 steps done" in said.out
    points = (shell.folder / "run" / "validation.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in points] == [0, 2]


@pytest.mark.parametrize("name", ["diffusers_recipe.yaml", "trainable_recipe.yaml"])
def test_a_recipe_of_ones_own_needs_no_notes(name: str) -> None:
    assert "about" not in yaml.safe_load((EXAMPLES / name).read_text())
