"""A training that is killed and resumed ends as the one that was left alone."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from alphabench.core.errors import AlphaBenchError
from alphatrainers.prompt_stream import PromptStream
from tests.support.forks import Forked
from tests.support.toy_policy import PROMPTS
from tests.support.toy_training import train

ROOT = Path(__file__).parents[2]
MANY = (
    "training.old_decay=ramp",
    "training.image.kl_weights.old=0.1",
    "training.updates_per_step=2",
)


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def killed_after(folder: Path, lines: int, *assignments: str) -> None:
    """Begins a training as a process and kills it once it has done some steps."""
    module = ("-m", "tests.support.toy_training")
    process = Forked(*module, folder, "delay=0.1", *assignments, cwd=ROOT)
    try:
        deadline = time.monotonic() + 240.0
        path = folder / "metrics.jsonl"
        while not path.exists() or path.read_bytes().count(b"\n") < lines:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_killed_and_resumed_training_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    killed_after(broken, 12, *MANY, "training.keep=4")
    assert (broken / "checkpoints" / "step-000010").is_dir()
    assert not (broken / "checkpoints" / "step-000020").exists()
    train(broken, *MANY, "training.keep=4")
    train(whole, *MANY, "training.keep=4")

    one, other = metrics(whole), metrics(broken)
    assert [line["step"] for line in other] == list(range(20))
    assert [line["values"] for line in one] == [line["values"] for line in other]
    for part in ("train", "old", "ema"):
        name = f"checkpoints/step-000020/{part}/adapter_model.safetensors"
        assert_equal(load_file(whole / name), load_file(broken / name))
    for name in ("optimizer", "random"):
        path = f"checkpoints/step-000020/{name}.safetensors"
        assert_equal(load_file(whole / path), load_file(broken / path))
    states = [
        json.loads((folder / "checkpoints/step-000020/state.json").read_text())
        for folder in (whole, broken)
    ]
    assert states[0] == states[1]
    stream = PromptStream(PROMPTS, per_step=2, seed=0)
    assert states[1]["queues"] == [[prompt.id for prompt in stream.at(19)]]
    assert states[1]["position"] == 40


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_finished_training_is_prolonged_by_more_steps(tmp_path: Path) -> None:
    train(tmp_path / "a", "training.steps=2")
    train(tmp_path / "a", "training.steps=4")
    train(tmp_path / "b", "training.steps=4")
    assert [m["values"] for m in metrics(tmp_path / "a")] == [
        m["values"] for m in metrics(tmp_path / "b")
    ]


def test_a_training_whose_newest_checkpoint_is_damaged_ends_as_an_uninterrupted_one(
    tmp_path: Path,
) -> None:
    often = ("training.steps=3", "training.save_every=1")
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    train(broken, *often)
    weights = broken / "checkpoints" / "step-000003" / "train" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    train(broken, *often)
    train(whole, *often)
    assert [m["values"] for m in metrics(broken)] == [m["values"] for m in metrics(whole)]
    name = Path("checkpoints") / "step-000003" / "train" / "adapter_model.safetensors"
    assert (broken / name).read_bytes() == (whole / name).read_bytes()


def test_a_folder_is_not_resumed_with_other_settings(tmp_path: Path) -> None:
    train(tmp_path, "training.steps=1")
    with pytest.raises(AlphaBenchError, match=r"training\.seed: 0 -> "):
        train(tmp_path, "training.steps=1", "training.seed=1")
