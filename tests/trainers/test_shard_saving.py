"""Shards are written while the training goes on; what is lost meanwhile is one checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, distributed

from alphabench.core.errors import AlphaBenchError
from alphatrainers import shards
from alphatrainers.distributed import Processes, leave
from alphatrainers.optimizer import WeightOptimizer
from alphatrainers.settings import TrainingSettings
from alphatrainers.shard_saving import ShardSaver
from alphatrainers.shards import copied_parts, names_of_shards, read_shards, write_shards
from alphatrainers.weight_sets import WeightSets
from tests.support.rank_processes import ranks
from tests.support.toy_policy import ToyPolicy
from tests.support.toy_training import train

T = TypeVar("T")
TOY = "tests.support.toy_training"
SHARDED = (
    "training.compute=bfloat16",  # in shards, of which one process has all
    "training.lora=null",
    "training.steps=6",
    "training.save_every=2",
    "queues=false",
)
SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing(Processes):
    """One process; when its thread has written its parts, and nothing else, something happens."""

    then: Callable[[], None]

    def agree(self, work: Callable[[], T]) -> T:
        result = Processes.agree(self, work)
        if self.group is not None:
            self.then()
        return result


@pytest.fixture(autouse=True)
def no_group() -> Iterator[None]:
    """Shards make a group of one process, which ends with the command."""
    yield
    leave(Processes())


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (folder / "checkpoints").glob("step-*"))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def equal_checkpoints(one: Path, other: Path) -> None:
    """Weights, optimiser and counters; not the random state of the process, which trains twice."""
    equal_shards(one / "shards", other / "shards")
    for name in ("state.json", "replicated.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def equal_shards(one: Path, other: Path) -> None:
    """Bit by bit; safetensors writes the lines of a file's header in any order."""
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    assert names
    for name in names:
        found, expected = load_file(one / name), load_file(other / name)
        assert found.keys() == expected.keys()
        assert all(
            torch.equal(found[key].view(torch.uint8), expected[key].view(torch.uint8))
            for key in expected
        )


def test_the_training_goes_on_while_a_checkpoint_is_written_and_loses_no_number(
    tmp_path: Path,
) -> None:
    held, whole, seen = tmp_path / "held", tmp_path / "whole", list[list[int]]()

    def then() -> None:
        step = max(len(lines(held)), 2)
        if step < 6:  # the last one has no step after it
            wait_until(lambda: len(lines(held)) > step)
        seen.append(steps(held))

    train(held, *SHARDED, "training.keep=1", together=Writing(then=then))
    assert seen == [[], [2], [4]], "the one before stays until the next one is complete"
    assert steps(held) == [6], "the last one is waited for"
    train(whole, *SHARDED, "training.keep=1")
    assert [one["values"] for one in lines(held)] == [one["values"] for one in lines(whole)]
    equal_checkpoints(held / "checkpoints/step-000006", whole / "checkpoints/step-000006")


def test_a_training_killed_while_it_writes_goes_on_from_the_checkpoint_before(
    tmp_path: Path,
) -> None:
    whole, killed, written = tmp_path / "whole", tmp_path / "killed", list[int]()

    def then() -> None:
        written.append(len(lines(whole)))
        if len(written) == 2:  # as a kill leaves the folder, in the middle of step 4's
            wait_until(lambda: len(lines(whole)) > 4)
            shutil.copytree(whole, killed)

    train(whole, *SHARDED, together=Writing(then=then))
    (draft,) = (killed / "checkpoints").glob("draft-*")
    assert list(draft.rglob("*.safetensors")), "its parts are there, and it is not complete"
    assert steps(killed) == [2]
    train(killed, *SHARDED)
    assert not list((killed / "checkpoints").glob("draft-*"))
    assert [one["step"] for one in lines(killed)] == list(range(6))
    assert [one["values"] for one in lines(killed)] == [one["values"] for one in lines(whole)]
    equal_checkpoints(killed / "checkpoints/step-000006", whole / "checkpoints/step-000006")


def test_a_thread_that_cannot_write_stops_the_training_with_its_sentence(tmp_path: Path) -> None:
    written: list[int] = []

    def then() -> None:
        written.append(len(lines(tmp_path)))
        if len(written) == 2:
            raise AlphaBenchError("the disk is full", hint="free some")

    longer = [one for one in SHARDED if "steps" not in one]
    with pytest.raises(AlphaBenchError, match="the disk is full"):
        train(tmp_path, *longer, "training.steps=2000", together=Writing(then=then))
    assert len(lines(tmp_path)) < 2000, "soon after"
    assert steps(tmp_path) == [2]
    assert not list((tmp_path / "checkpoints").glob("draft-*"))
    assert not saving_threads()
    train(tmp_path, *SHARDED)
    assert len(lines(tmp_path)) == 6


def saving_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name == "saving a checkpoint"]


class Failing(ToyPolicy):
    """Fails in its fifth rollout."""

    rollouts = 0

    def rollout(self, programs: Any) -> Any:
        self.rollouts += 1
        if self.rollouts > 8:
            raise AlphaBenchError("the model is broken", hint="mend it")
        return super().rollout(programs)


def test_an_error_of_the_training_lets_the_checkpoint_be_written_first(tmp_path: Path) -> None:
    begun: list[int] = []

    def then() -> None:
        begun.append(len(lines(tmp_path)))
        if len(begun) == 2:
            time.sleep(0.3)

    with pytest.raises(AlphaBenchError, match="the model is broken"):
        train(tmp_path, *SHARDED, policy=Failing(), together=Writing(then=then))
    assert steps(tmp_path) == [2, 4]
    assert not saving_threads()


def test_a_training_that_fails_says_that_its_newest_checkpoint_is_lost_too(tmp_path: Path) -> None:
    begun: list[int] = []
    notes: list[str] = []

    def then() -> None:
        begun.append(len(lines(tmp_path)))
        if len(begun) == 2:
            time.sleep(0.3)  # the training fails meanwhile
            raise AlphaBenchError("the disk is full", hint="free some")

    with pytest.raises(AlphaBenchError, match="the model is broken"):
        train(
            tmp_path,
            *SHARDED,
            policy=Failing(),
            together=Writing(then=then),
            report=notes.append,
        )
    assert notes == ["the newest checkpoint could not be completed (the disk is full)"]
    assert steps(tmp_path) == [2]


def test_a_training_that_is_asked_to_stop_waits_for_what_it_writes(tmp_path: Path) -> None:
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    process: list[Processes] = []

    def then() -> None:
        if len(lines(stopped)) < 3:
            wait_until(lambda: len(lines(stopped)) == 3)
            process[0].stop.requested = True
            time.sleep(0.2)

    process.append(Writing(then=then))
    outcome = train(stopped, *SHARDED, together=process[0])
    assert outcome.stopped
    assert outcome.step >= 3
    assert steps(stopped)[-1] == outcome.step
    train(stopped, *SHARDED)
    train(whole, *SHARDED)
    assert [one["values"] for one in lines(stopped)] == [one["values"] for one in lines(whole)]


@pytest.mark.whole
@pytest.mark.timeout(1200)
def test_two_processes_killed_while_they_write_end_as_one_that_was_left_alone(
    tmp_path: Path,
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    options = ("training.lora=null", "training.steps=60", "training.save_every=1")
    torn = 0
    for kill in range(5):
        with ranks(TOY, [killed, "delay=0.05", "training.parallel=shard", *options]) as running:
            rank = running.pid_of(kill % 2)
            running.wait_for(killed / "metrics.jsonl", lines=max(len(lines(killed)), 5 * kill) + 4)
            wait_until(lambda: bool(list(killed.glob("checkpoints/draft-*/shards/*"))))
            os.kill(rank, signal.SIGKILL)
            assert running.end(seconds=60.0).code != 0
        torn += len(list(killed.glob("checkpoints/draft-*")))
        assert steps(killed), "one is complete at any moment"
    assert torn > 0, "none of the kills came in time"
    with ranks(TOY, [killed, "training.parallel=shard", *options]) as running:
        assert running.end().code == 0
    train(whole, *options)
    for found, expected in zip(lines(killed), lines(whole), strict=True):
        for key, value in expected["values"].items():
            if not key.startswith("forward_passes/"):
                assert found["values"][key] == pytest.approx(value, abs=5e-6), key


def sharded_weights() -> tuple[WeightSets, WeightOptimizer]:
    settings = TrainingSettings(steps=1, lora=None, compute="bfloat16")
    weights = WeightSets(ToyPolicy(), settings, views=frozenset(), processes=Processes())
    optimizer = WeightOptimizer(weights, settings.optimiser, Processes(), n_updates=1)
    optimizer.make_room(f"exp_avg.{name}" for name in weights.trained)
    return weights, optimizer


def test_what_is_written_is_the_state_when_it_began_bit_by_bit(tmp_path: Path) -> None:
    weights, _ = sharded_weights()
    saver, go_on = ShardSaver(Processes()), threading.Event()
    write_shards(tmp_path / "at once", weights.tensors("train"))

    def write(parts: Mapping[str, Tensor], apart: Processes) -> None:
        assert go_on.wait(SECONDS)
        assert apart.group is not distributed.group.WORLD
        write_shards(tmp_path / "beside", parts, group=apart.group)

    saver.begin(weights.tensors("train"), write)
    saver.notice()
    with torch.no_grad():
        for parameter in weights.trained.values():
            parameter.zero_()
    go_on.set()
    saver.finish()
    equal_shards(tmp_path / "at once", tmp_path / "beside")


def test_a_part_is_split_into_files_that_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "FILE_BYTES", 600)
    weights, _ = sharded_weights()
    values = weights.tensors("train")
    write_shards(tmp_path, values)
    files = list(tmp_path.iterdir())
    assert len(files) == 3
    assert all(len(load_file(path)) > 1 for path in files)
    assert names_of_shards(tmp_path) == set(values)
    read: dict[str, Tensor] = {name: torch.zeros(value.shape) for name, value in values.items()}
    read_shards(tmp_path, read)
    for name, value in weights.values("train").items():
        assert torch.equal(read[name], value), name


def test_copies_take_the_memory_of_the_own_part_alone() -> None:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor, Shard
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", rank=1, world_size=4, store=FakeStore())
    group: Any = distributed.group.WORLD
    mesh = DeviceMesh.from_group(group, "cpu")
    part = torch.arange(6.0).view(2, 3)
    value = DTensor.from_local(part, mesh, [Shard(0)], run_check=False)
    copy = copied_parts({"weight": value}, group)["weight"]
    assert isinstance(copy, DTensor)
    assert copy.shape == (8, 3)
    local = copy.to_local()
    assert torch.equal(local, part)
    assert local.untyped_storage().nbytes() == 6 * 4
    assert local.data_ptr() != part.data_ptr()
