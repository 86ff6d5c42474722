"""Several processes: the same losses, gradients and weights as one, replicated or sharded."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from alphabench.core.errors import AlphaBenchError
from alphatrainers.distributed import Processes, join
from tests.support.toy_training import train

ROOT = Path(__file__).parents[2]
COMMON = ("training.steps=2", "training.save_every=1", "training.prompts_per_step=4")
CASES = {
    "replicated adapters": (*COMMON, "training.updates_per_step=2"),
    "sharded adapters": (*COMMON, "training.parallel=shard"),
    "sharded weights": (*COMMON, "training.parallel=shard", "training.lora=null"),
    "odd share": (*COMMON[:2], "training.parallel=shard", "training.prompts_per_step=3"),
}


def alone(assignments: tuple[str, ...]) -> list[str]:
    return [part for part in assignments if "parallel" not in part]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases, trained by two processes that torchrun launches."""
    folder = tmp_path_factory.mktemp("together")
    words: list[str] = []
    for name, assignments in CASES.items():
        words += ["--", str(folder / name), *assignments]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", "-m", "tests.support.toy_training", *words]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one_does(tmp_path: Path, together: Path, name: str) -> None:
    train(tmp_path, *alone(CASES[name]))
    for one, two in zip(metrics(tmp_path), metrics(together / name), strict=True):
        for key, value in one["values"].items():
            if not key.startswith("forward_passes/"):
                assert two["values"][key] == pytest.approx(value, abs=2e-6), key
    # Adam's first moment after the first update is a tenth of the gradient.
    for step in (1, 2):
        path = f"checkpoints/step-00000{step}/optimizer.safetensors"
        moments = load_file(tmp_path / path), load_file(together / name / path)
        assert moments[0].keys() == moments[1].keys()
        largest = 0.0
        for key, value in moments[0].items():
            if key.startswith("exp_avg."):
                assert torch.allclose(value, moments[1][key], atol=1e-7), key
                largest = max(largest, float(value.abs().max()))
        assert largest > 1e-3, "a gradient of nothing proves nothing"


def test_queues_of_two_processes_are_not_resumed_by_one(together: Path) -> None:
    folder = together / "sharded weights"
    settings = [*alone(CASES["sharded weights"])[1:], "training.parallel=shard", "training.steps=3"]
    with pytest.raises(AlphaBenchError, match="those of 2 processes"):
        train(folder, *settings)


def test_shares_are_disjoint_and_complete_for_any_number_of_processes() -> None:
    items = list(range(11))
    for size in range(1, 6):
        shares = [Processes(rank=rank, size=size).share(items) for rank in range(size)]
        assert sorted(chain.from_iterable(shares)) == items
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_process_that_torchrun_did_not_launch_is_alone() -> None:
    found = join(torch.device("cpu"))
    assert (found.rank, found.size, found.first) == (0, 1, True)
    assert found.gather("x") == ["x"]
    assert float(found.sum(torch.ones(()))) == 1.0
