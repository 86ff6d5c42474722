"""A unified model defined outside the package: estimated, trained for a step, and exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.cli.conftest import Shell
from tests.support.toy_policy import ToyPolicy

CHECKPOINT = "python:tests.support.outside_unified:open_it"


@pytest.fixture
def alphabench(tmp_path: Path) -> Shell:
    return Shell(folder=tmp_path, cache=tmp_path / "cache")


def recipe(folder: Path, **training: Any) -> Path:
    path = folder / "grey.yaml"
    tree = {
        "policy": {"checkpoint": CHECKPOINT},
        "task": {
            "kind": "rt2i",
            "draw": {"points": 5, "window": {"size": 2, "high": 3}},
            "thought": {"max_tokens": 3},
        },
        "rewards": {
            "dv": {"kind": "dvreward", "judge": "python:tests.support.dvreward_judges:brightness"},
        },
        "prompts": {"source": "small:?count=4"},
        "panel": 1,
        "training": {
            "steps": 1,
            "prompts_per_step": 2,
            "group_size": 3,
            "rollout_batch": 6,
            "replay_batch": 6,
            "optimiser": {"lr": 0.01},
            "logging": {"tensorboard": False},
            **training,
        },
    }
    path.write_text(yaml.safe_dump(tree))
    return path


def test_its_weights_are_trained_and_exported(alphabench: Shell, tmp_path: Path) -> None:
    path, out = recipe(tmp_path, lora=None), tmp_path / "out"
    more = "validation=[{benchmark: 'geneval:mini', evaluator: nano, limit: 1}]"
    alphabench("train", path, more, "--out", out, "--device", "cpu")
    (row,) = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    assert row["values"]
    base = ToyPolicy().module.state_dict()
    said = alphabench("export", out, "--out", tmp_path / "new")
    assert "trained tensors and their base" in said.out
    exported = load_file(tmp_path / "new" / "grey.safetensors")
    best = load_file(out / "best" / "model.safetensors")
    assert best
    assert all(torch.equal(exported[name], value) for name, value in best.items())
    assert exported.keys() == base.keys()


def test_a_dry_run_estimates_it_by_the_sizes_that_it_states(
    alphabench: Shell, tmp_path: Path
) -> None:
    said = alphabench("train", recipe(tmp_path), "--dry-run")
    assert "memory a device" in said.out


def test_a_checkpoint_that_cannot_be_trained_is_refused_with_the_reason(
    alphabench: Shell, tmp_path: Path
) -> None:
    said = alphabench("train", recipe(tmp_path), "policy.checkpoint='scene:'", code=2)
    assert "'scene:' cannot be trained: it has no weights" in said.err
