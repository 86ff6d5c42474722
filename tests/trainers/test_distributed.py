"""Several processes: the same losses, gradients and weights as one, replicated or sharded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from subprocess import STDOUT
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from alphabench.core.errors import AlphaBenchError
from alphatrainers.distributed import Processes, join, leave
from alphatrainers.shards import names_of_shards, read_shards
from tests.support.forks import Forked
from tests.support.rank_processes import torchrun_variables
from tests.support.toy_policy import ToyPolicy
from tests.support.toy_training import train

ROOT = Path(__file__).parents[2]
COMMON = ("training.steps=2", "training.save_every=1", "training.prompts_per_step=4")
CASES = {
    "replicated adapters": (*COMMON, "training.updates_per_step=2"),
    "sharded adapters": (*COMMON, "training.parallel=shard"),
    "sharded weights": (*COMMON, "training.parallel=shard", "training.lora=null"),
    "resumed from one": (*COMMON, "queues=false", "training.parallel=shard", "training.lora=null"),
    "split groups": (*COMMON[:2], "training.prompts_per_step=1"),
    "split groups, sharded": (
        *COMMON[:2],
        "training.prompts_per_step=1",
        "training.parallel=shard",
    ),
    "computed in bfloat16": (
        *COMMON[1:],
        "training.steps=1",
        "training.parallel=shard",
        "training.lora=null",
        "training.compute=bfloat16",
    ),
    "odd share": (*COMMON[:2], "training.parallel=shard", "training.prompts_per_step=3"),
}


def alone(assignments: tuple[str, ...]) -> list[str]:
    return [part for part in assignments if "parallel" not in part]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases, trained by two processes with the variables that torchrun sets.

    Trainings that torchrun itself launches are in `test_rank_watch.py` and marked `whole`.
    """
    folder = tmp_path_factory.mktemp("together")
    first_step = ("training.steps=1", *CASES["resumed from one"][1:])
    train(folder / "resumed from one", *first_step)
    words: list[str] = []
    for name, assignments in CASES.items():
        words += ["--", str(folder / name), *assignments]
    module = ("-m", "tests.support.toy_training")
    with (folder / "said").open("w") as said:
        both = [
            Forked(*module, *words, cwd=ROOT, variables=one, stdout=said.fileno(), stderr=STDOUT)
            for one in torchrun_variables(2)
        ]
        try:
            codes = [process.wait(timeout=280) for process in both]
        finally:
            for process in both:
                process.kill()
                process.wait()
    assert codes == [0, 0], (folder / "said").read_text()[-3000:]
    return folder


@pytest.fixture
def no_group() -> Iterator[None]:
    """Weights in shards make a group of one process, which ends with the command."""
    yield
    leave(Processes())


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one_does(
    tmp_path: Path, together: Path, no_group: None, name: str
) -> None:
    train(tmp_path, *alone(CASES[name]))
    for one, two in zip(metrics(tmp_path), metrics(together / name), strict=True):
        for key, value in one["values"].items():
            if not key.startswith("forward_passes/"):
                assert two["values"][key] == pytest.approx(value, abs=2e-6), key
    # Adam's first moment after the first update is a tenth of the gradient.
    for step in range(1, len(metrics(tmp_path)) + 1):
        moments = moments_of(tmp_path, step), moments_of(together / name, step)
        assert moments[0].keys() == moments[1].keys()
        largest = 0.0
        for key, value in moments[0].items():
            if key.startswith("exp_avg."):
                assert torch.allclose(value, moments[1][key], atol=1e-7), key
                largest = max(largest, float(value.abs().max()))
        assert largest > 1e-3, "a gradient of nothing proves nothing"


def moments_of(folder: Path, step: int) -> dict[str, torch.Tensor]:
    """The optimiser's values in a checkpoint of either form."""
    checkpoint = folder / "checkpoints" / f"step-{step:06d}"
    if (checkpoint / "optimizer.safetensors").exists():
        return load_file(checkpoint / "optimizer.safetensors")
    read = [load_file(checkpoint / "replicated.safetensors")]
    names = {name for name in names_of_shards(checkpoint / "shards") if "optimizer/" in name}
    shapes: dict[str, Any] = dict(ToyPolicy().module.named_parameters())
    read.append(
        {
            name: torch.zeros_like(shapes[name.partition("exp_avg")[2].partition(".")[2]])
            for name in names
        }
    )
    read_shards(checkpoint / "shards", read[-1])
    return {
        name.removeprefix("optimizer/"): value
        for values in read
        for name, value in values.items()
        if name.startswith("optimizer/")
    }


def test_weights_in_shards_are_those_of_one_process(tmp_path: Path, together: Path) -> None:
    files = sorted((together / "sharded weights" / "checkpoints" / "step-000002").rglob("*"))
    names = [path.name for path in files if path.is_file()]
    assert sum("shard-" in name for name in names) == 2, "one of each process"
    assert "model.safetensors" not in names


def test_a_sharded_training_goes_on_in_one_process(tmp_path: Path, together: Path) -> None:
    settings = ("queues=false", "training.parallel=shard", "training.lora=null", *COMMON[1:])
    moved, alone = tmp_path / "moved", tmp_path / "alone"
    shutil.copytree(together / "resumed from one", moved)
    train(moved, "training.steps=3", *settings)
    train(alone, "training.steps=3", *settings)
    for found, expected in zip(metrics(moved), metrics(alone), strict=True):
        for key, value in expected["values"].items():
            if not key.startswith("forward_passes/"):
                assert found["values"][key] == pytest.approx(value, abs=2e-6), key
    for view in ("train", "ema", "reference"):
        name = f"checkpoints/step-000003/{view}/model.safetensors"
        found_weights, weights = load_file(moved / name), load_file(alone / name)
        assert found_weights.keys() == weights.keys()
        for key, value in weights.items():
            assert torch.allclose(found_weights[key], value, atol=1e-6), key


def test_a_checkpoint_with_a_truncated_shard_is_set_aside(tmp_path: Path, together: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(together / "resumed from one", folder)
    shard = next((folder / "checkpoints/step-000002/shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-8])
    settings = ("queues=false", "training.parallel=shard", "training.lora=null", *COMMON)
    train(folder, *settings)
    assert (folder / "checkpoints/damaged-step-000002").is_dir()
    assert len(metrics(folder)) == 2


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
