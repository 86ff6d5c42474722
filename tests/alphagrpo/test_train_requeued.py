"""A training that a cluster stops, kills and starts again ends as one that was left alone."""

from __future__ import annotations

import json
import random
import signal
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.alphagrpo.test_train_several_processes import POLICY
from tests.cli.conftest import Shell
from tests.support.rank_processes import Ranks, ranks

TRAINING = (
    "train",
    "nano-awm",
    *POLICY,
    "validation=[{benchmark: 'geneval:mini', evaluator: nano, limit: 2}]",
    "panel=2",
    "training.steps=30",
    "training.validate_every=10",
    "training.save_every=3",
    "training.lora={rank: 1, alpha: 2}",
    "training.optimiser.lr=2e-3",
    "--device=cpu",
)
RESTARTS = 3
PATIENCE = 3600.0
"""Seconds for one training: 2 to 3 a step on two cores of its own, 40 on busy ones."""
LAST = "checkpoints/step-000030"


def rows(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    without = {"seconds", "memory"}
    return [{key: value for key, value in row.items() if key not in without} for row in found]


def same_training(one: Path, other: Path) -> None:
    """Every number of every step and validation, weights, optimiser and counters."""
    for name in ("metrics.jsonl", "validation.jsonl"):
        assert rows(one / name) == rows(other / name), name
    # Not torch's own generators: libraries draw from them when they are loaded, a policy never.
    for name in ("train/adapter_model.safetensors", "optimizer.safetensors"):
        found, expected = load_file(one / LAST / name), load_file(other / LAST / name)
        assert found.keys() == expected.keys()
        assert all(bool((found[key] == expected[key]).all()) for key in expected), name
    states = [json.loads((folder / LAST / "state.json").read_text()) for folder in (one, other)]
    for state in states:
        for curve in state["curves"].values():
            for point in ("best", "first"):
                curve[point]["folder"] = None  # of one training or the other
    assert states[0] == states[1]


def disturb(running: Ranks, chance: random.Random) -> str:
    """One of what happens to jobs; what it was."""
    rank = chance.randrange(2)
    running.pid_of(rank)
    kind = chance.choice(["terminated", "killed", "terminated launcher", "killed launcher"])
    if kind == "terminated":
        running.send(rank, signal.SIGTERM)
    elif kind == "killed":
        running.send(rank, signal.SIGKILL)
    else:
        by = signal.SIGTERM if kind == "terminated launcher" else signal.SIGKILL
        running.send_launcher(by)
    return kind


def wait_to_disturb(running: Ranks, folder: Path, chance: random.Random) -> bool:
    """Waits for a random moment: one in four anywhere, others once a step was done; False: it
    ended before."""
    anywhere = chance.random() < 0.25
    deadline = time.monotonic() + (chance.uniform(0.0, 10.0) if anywhere else 600.0)
    fewest = steps_done(folder)
    while time.monotonic() < deadline and running.process.poll() is None:
        done = steps_done(folder)
        if not anywhere and done > fewest:
            time.sleep(chance.uniform(0.0, 1.0))
            break
        fewest = min(done, fewest)  # a training that resumes drops steps after its checkpoint
        time.sleep(0.01)
    return running.process.poll() is None


def steps_done(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.whole
@pytest.mark.timeout(3 * PATIENCE)
def test_ten_random_stops_kills_and_requeues_change_no_number(tmp_path: Path) -> None:
    shell = Shell(folder=tmp_path, cache=tmp_path / "cache")
    environment = {**shell.environment, "OMP_NUM_THREADS": "1"}
    chance, done = random.Random(17), list[str]()

    def start(folder: str) -> AbstractContextManager[Ranks]:
        words = (*TRAINING, "--out", folder)  # the same each time, as a requeued job
        return ranks(
            "alphabench", words, folder=tmp_path, environment=environment, restarts=RESTARTS
        )

    with start("calm") as running:
        ended = running.end(seconds=PATIENCE)
    assert ended.code == 0, ended.said[-3000:]
    for _ in range(11):
        with start("disturbed") as running:
            for _ in range(min(RESTARTS, 10 - len(done))):
                if not wait_to_disturb(running, tmp_path / "disturbed", chance):
                    break
                done.append(disturb(running, chance))
                print(done[-1], flush=True)  # for one who looks on with -s
                if "launcher" in done[-1]:
                    break
            ended = running.end(seconds=PATIENCE)
        if ended.code == 0:
            break
    assert ended.code == 0, ended.said[-3000:]
    assert len(done) == 10, f"it was quicker than {done}"
    same_training(tmp_path / "disturbed", tmp_path / "calm")
