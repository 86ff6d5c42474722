"""The recipe for Janus-Pro on a tiny random Janus, as a user types it, and a run of its adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alphabench.runs.store import RunFolder
from tests.cli.conftest import Shell
from tests.support.tiny_janus import save_janus

CHANGES = (
    "policy.options={dtype: float32}",
    "rewards.dvreward.judge=nano",
    "prompts.source='small:?count=2'",
    "validation=[{benchmark: 'geneval:mini', evaluator: nano, limit: 1}]",
    "panel=1",
    "training.steps=2",
    "training.prompts_per_step=2",
    "training.group_size=3",
    "training.lora={rank: 2, alpha: 4}",
    "training.optimiser.lr=0.02",
    "training.logging.tensorboard=false",
)


def pixels(run: RunFolder) -> dict[str, Any]:
    found = {}
    for name, record in run.images().items():
        with Image.open(run.root / record.path) as image:
            found[name] = np.asarray(image)
    return found


@pytest.mark.whole
def test_two_steps_of_the_recipe_and_a_run_of_what_they_trained(tmp_path: Path) -> None:
    folder, shell = save_janus(tmp_path / "janus"), Shell(folder=tmp_path, cache=tmp_path / "cache")
    words = ("train", "janus-pro-dvreward", f"policy.checkpoint={folder}", *CHANGES)
    shell(*words, "--device", "cpu", "--out", "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["values"] for line in lines]
    assert [step["image/ratio/mean"] for step in steps] == [1.0, 1.0]
    assert all(step["image/entropy"] > 0.0 for step in steps)
    # A random model may score alike everywhere: then nothing was trained, and that is said.
    trained = [step for step in steps if step["image/zero_std_groups"] < step["image/groups"]]
    assert all(step["grad_norm"] > 0.0 for step in trained)
    adapter = tmp_path / "run" / "checkpoints" / "step-000002" / "train"
    options = ("--set", "dtype=float32", "--limit", "1", "--evaluator", "nano", "--json")
    run = ("run", "geneval:mini", "--ckpt", str(folder), "--lora", str(adapter), *options)
    shell(*run, "--out", "again")
    validated = tmp_path / "run" / "validation" / "step-000002-train" / "geneval-mini"
    made, expected = pixels(RunFolder.open(tmp_path / "again")), pixels(RunFolder.open(validated))
    assert made.keys() == expected.keys()
    assert all(np.array_equal(made[name], expected[name]) for name in expected)
