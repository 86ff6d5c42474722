"""A process of a training that dies ends the others with one sentence, and the training resumes."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from torch import distributed

from alphabench.core.errors import AlphaBenchError
from alphatrainers.rank_activity import RankActivity
from alphatrainers.rank_watch import RankWatch
from tests.support.rank_processes import ranks
from tests.support.toy_training import train

ROOT = Path(__file__).parents[2]
TOY = "tests.support.toy_training"
SOON = timedelta(seconds=5)


class Group:
    """Watches of one group in threads of this process, which no watch ends."""

    def __init__(self, size: int) -> None:
        store = distributed.TCPStore  # type: ignore[attr-defined]  # torch names no exports
        self.store = store("127.0.0.1", 0, None, True, SOON)
        self.ended: list[list[int]] = [[] for _ in range(size)]
        self.watches = [self.watch(rank, size) for rank in range(size)]

    def watch(self, rank: int, size: int) -> RankWatch:
        return RankWatch(
            self.store,
            rank=rank,
            size=size,
            end=self._ender(rank),
            beat_seconds=0.02,
            lost_seconds=0.4,
        )

    def _ender(self, rank: int) -> Callable[[int], None]:
        def end(code: int) -> None:
            self.ended[rank].append(code)
            self.watches[rank].leave()

        return end

    def wait_for_end(self, rank: int) -> None:
        deadline = time.monotonic() + 20.0
        while not self.ended[rank]:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def group() -> Iterator[Group]:
    made = Group(3)
    yield made
    for watch in made.watches:
        watch.leave()


def fall_silent(watch: RankWatch) -> None:
    """Its heart stops, and nothing else tells that it has gone."""
    watch._over.set()


def test_a_process_without_a_heartbeat_ends_all_and_the_first_one_tells(
    group: Group, capfd: pytest.CaptureFixture[str]
) -> None:
    time.sleep(0.2)
    fall_silent(group.watches[2])
    group.wait_for_end(0)
    group.wait_for_end(1)
    said = capfd.readouterr().err
    assert said.count("error: process 3 of 3 ended unexpectedly") == 1
    assert said.count("error") == 1
    assert group.ended == [[2], [2], []]


def test_when_the_first_process_dies_the_second_one_tells(
    group: Group, capfd: pytest.CaptureFixture[str]
) -> None:
    time.sleep(0.2)
    fall_silent(group.watches[0])
    group.wait_for_end(1)
    group.wait_for_end(2)
    said = capfd.readouterr().err
    assert said.count("error: process 1 of 3 ended unexpectedly") == 1
    assert said.count("error") == 1


def test_a_process_that_has_done_its_part_is_not_missed(group: Group) -> None:
    time.sleep(0.1)
    group.watches[2].leave()
    time.sleep(0.8)
    assert group.ended == [[], [], []]


def test_an_error_of_one_process_is_told_by_the_first(
    group: Group, capfd: pytest.CaptureFixture[str]
) -> None:
    codes: list[object] = []

    def work() -> None:
        try:
            with group.watches[1].reporting():
                raise AlphaBenchError("the disk is full", hint="free some")
        except SystemExit as error:
            codes.append(error.code)

    thread = threading.Thread(target=work)
    thread.start()
    group.wait_for_end(0)
    group.wait_for_end(2)
    thread.join()
    said = capfd.readouterr().err
    assert said == "error: process 2 of 3: the disk is full\nhint: free some\n"
    assert codes == [2]


def test_an_error_that_all_processes_have_is_told_once(
    group: Group, capfd: pytest.CaptureFixture[str]
) -> None:
    def work(rank: int) -> None:
        with suppress(SystemExit), group.watches[rank].reporting():
            raise AlphaBenchError("all rewards are equal", hint="change it")

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (1, 2, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert capfd.readouterr().err == "error: all rewards are equal\nhint: change it\n"


def test_a_failed_collective_operation_is_told_as_the_death_that_it_follows_from(
    group: Group, capfd: pytest.CaptureFixture[str]
) -> None:
    time.sleep(0.2)
    fall_silent(group.watches[2])
    with pytest.raises(SystemExit) as ended, group.watches[0].reporting():
        raise RuntimeError("[gloo/transport] Connection closed by peer")
    assert ended.value.code == 2
    said = capfd.readouterr().err
    assert said.startswith("error: process 3 of 3 ended unexpectedly")
    assert "Connection closed" not in said


def test_a_mistake_of_ours_keeps_its_traceback(
    group: Group, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, group.watches[0].reporting():
        raise KeyError("weights")
    assert ended.value.code == 1
    said = capfd.readouterr().err
    assert "Traceback (most recent call last)" in said
    assert "error: KeyError: 'weights'" in said


ENDS_WITH_AN_ERROR = """
import atexit, threading
from datetime import timedelta
from torch import distributed
from alphatrainers.rank_watch import RankWatch

def threads():
    names = [one.name for one in threading.enumerate()]
    print(sorted(name for name in names if name.startswith("_")))

atexit.register(threads)  # what is registered later is called before
store = distributed.TCPStore("127.0.0.1", 0, None, True, timedelta(seconds=5))
watch = RankWatch(store, rank=0, size=1)
threads()
with watch.reporting():
    raise KeyError("weights")
"""


def test_a_process_that_fails_ends_its_threads_before_python_aborts_them() -> None:
    # A daemon that Python ends inside torch's store: "terminate called without an active exception"
    done = subprocess.run(
        [sys.executable, "-c", ENDS_WITH_AN_ERROR],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == ["['_beat of ranks', '_guard_store of ranks']", "[]"]
    assert done.returncode == 1, done.stderr


def test_a_watch_that_is_left_has_no_threads(group: Group) -> None:
    for watch in group.watches:
        watch.leave()
    assert not any(thread.is_alive() for watch in group.watches for thread in watch._threads)


def test_a_process_whose_torchrun_stops_it_says_which_one_ended(group: Group) -> None:
    assert group.watches[0].reason_to_stop() == ""
    assert group.watches[0].reason_to_stop() is None, "it was told"


@pytest.fixture
def working(group: Group) -> Iterator[Callable[[int], None]]:
    """Three processes that make progress all the time; a call halts one of them."""
    halted = [threading.Event() for _ in group.watches]

    def work(rank: int) -> None:
        activity = group.watches[rank].activity
        activity.begin("rollout")
        while not halted[rank].wait(0.05):
            activity.advance()

    for watch in group.watches:
        watch.activity.stalled_seconds = 0.6
    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    yield lambda rank: halted[rank].set()
    for rank, thread in enumerate(threads):
        halted[rank].set()
        thread.join()


def test_a_process_that_hangs_while_its_heart_beats_is_named_with_what_it_last_began(
    group: Group, working: Callable[[int], None], capfd: pytest.CaptureFixture[str]
) -> None:
    time.sleep(0.3)
    group.watches[1].activity.begin("update")
    working(1)
    for rank in range(3):
        group.wait_for_end(rank)
    said = capfd.readouterr().err
    (line,) = [line for line in said.splitlines() if line.startswith("error")]
    assert line.startswith(
        f"error: process 2 of 3 on {socket.gethostname()!r} has made no progress"
    )
    assert line.endswith("it last began: update")
    assert "training.guards.stalled_seconds" in said
    assert "most recent call first" in said, "the stacks of the process"


def test_the_first_process_notices_that_it_hangs_itself(
    group: Group, working: Callable[[int], None], capfd: pytest.CaptureFixture[str]
) -> None:
    working(0)
    group.wait_for_end(2)
    assert "error: process 1 of 3 on" in capfd.readouterr().err


def test_a_process_that_waits_for_its_judge_or_for_the_others_does_not_hang(
    group: Group, working: Callable[[int], None]
) -> None:
    working(1)
    working(2)
    time.sleep(0.1)
    group.watches[1].activity.begin("rewards")
    with group.watches[2].activity.waiting():
        time.sleep(1.5)
        assert group.ended == [[], [], []]


def test_processes_that_all_wait_for_one_another_are_named(
    group: Group, working: Callable[[int], None], capfd: pytest.CaptureFixture[str]
) -> None:
    for rank in range(3):
        working(rank)
    time.sleep(0.1)
    with ExitStack() as stack:
        for watch in group.watches:
            stack.enter_context(watch.activity.waiting())
        group.wait_for_end(0)
    assert "error: processes 1, 2, 3 of 3 have made no progress" in capfd.readouterr().err


def test_what_takes_long_in_one_piece_has_more_time() -> None:
    activity = RankActivity(stalled_seconds=100.0, judge_seconds=1800.0)
    allowed = {}
    for phase in (
        "rollout",
        "rewards",
        "update",
        "saving a checkpoint",
        "validation geneval, images",
    ):
        activity.begin(phase)
        allowed[phase.partition(" ")[0]] = activity.report().allowed_seconds
    assert allowed == {
        "rollout": 100.0,
        "rewards": None,
        "update": 100.0,
        "saving": 400.0,
        "validation": 1900.0,
    }
    assert RankActivity().report().allowed_seconds is None


def values(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["values"] for line in lines]


def same_numbers(one: Path, other: Path) -> None:
    """Sums over two processes round in another order than those of one."""
    for found, expected in zip(values(one), values(other), strict=True):
        for key, value in expected.items():
            if not key.startswith("forward_passes/"):
                assert found[key] == pytest.approx(value, abs=5e-6), key


@pytest.mark.whole
def test_a_rank_that_hangs_in_its_second_step_is_named_and_ends_all(tmp_path: Path) -> None:
    options = ("training.steps=8", "training.guards.stalled_seconds=5", "hangs=1")
    with ranks(TOY, [tmp_path / "hangs", *options]) as running:
        running.wait_for(tmp_path / "hangs" / "metrics.jsonl")
        ended = running.end()
    assert ended.code != 0
    assert re.search(r"error: process 2 of 2 on .* has made no progress for \d+ s", ended.said)
    assert "it last began: rollout" in ended.said
    assert "in rollout" in ended.said, "its stack"


@pytest.mark.whole
def test_a_killed_process_ends_the_other_one_and_both_resume_to_the_same_numbers(
    tmp_path: Path,
) -> None:
    broken, whole, failing = tmp_path / "broken", tmp_path / "whole", tmp_path / "failing"
    options = ("training.steps=8", "training.save_every=2")
    with ranks(TOY, [broken, "delay=0.1", *options]) as running:
        running.wait_for(broken / "metrics.jsonl", lines=3)
        running.send(1, signal.SIGKILL)
        ended = running.end()
    assert ended.seconds < 60.0
    assert ended.code != 0
    assert ended.said.count("process 2 of 2 ended unexpectedly") == 1
    # Afterwards, in the same processes, one of them raises an error.
    with ranks(TOY, [broken, *options, "--", failing, "broken=1"]) as running:
        ended = running.end()
    assert ended.seconds < 200.0
    assert ended.code != 0
    assert ended.said.count("error: process 2 of 2: the disk of process 1 is full") == 1
    train(whole, *options)
    same_numbers(broken, whole)


@pytest.mark.whole
@pytest.mark.timeout(1500)
def test_ten_kills_of_a_random_process_leave_no_hang_and_lose_no_number(tmp_path: Path) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    options = ("training.steps=120", "training.save_every=2", "training.keep=2")
    chance = random.Random(16)
    for kill in range(10):
        with ranks(TOY, [broken, "delay=0.05", *options]) as running:
            done = len(values(broken)) if (broken / "metrics.jsonl").exists() else 0
            if kill % 3:  # else anywhere, also before it has begun
                running.wait_for(broken / "metrics.jsonl", lines=max(done - 1, 1))
                time.sleep(chance.uniform(0.0, 1.5))
            else:
                time.sleep(chance.uniform(3.0, 9.0))
            running.send(chance.randrange(2), signal.SIGKILL)
            ended = running.end()
        assert ended.seconds < 60.0
        assert ended.code != 0
    with ranks(TOY, [broken, *options]) as running:
        assert running.end().code == 0
    train(whole, *options)
    same_numbers(broken, whole)
