"""Work is done once, wherever it runs, and nothing is lost on the way."""

from __future__ import annotations

import gc
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.core.errors import AlphaBenchError
from alphabench.runs.worker_processes import WorkerProcesses
from alphabench.runs.workers import (
    HOPELESS_AFTER,
    FinishedJob,
    Handler,
    LostJob,
    choose_devices,
    run_jobs,
)

Numbers = Handler[int, int]


def squares(device: str) -> Numbers:
    return lambda jobs: [job * job for job in jobs]


def failing_on(bad: frozenset[int], device: str) -> Numbers:
    def handle(jobs: Sequence[int]) -> list[int]:
        if bad.intersection(jobs):
            raise ValueError("bad job")
        return [job * job for job in jobs]

    return handle


def killed_by(lethal: frozenset[int], device: str) -> Numbers:
    def handle(jobs: Sequence[int]) -> list[int]:
        if lethal.intersection(jobs):
            os.kill(os.getpid(), signal.SIGKILL)
        return [job * job for job in jobs]

    return handle


def killed_once(flag: Path, device: str) -> Numbers:
    def handle(jobs: Sequence[int]) -> list[int]:
        if not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [job * job for job in jobs]

    return handle


def dying_in_the_middle_of_a_message(flag: Path, device: str) -> Numbers:
    """Announces a megabyte, sends a few bytes of it and is killed."""

    def handle(jobs: Sequence[int]) -> list[int]:
        if not flag.exists():
            flag.touch()
            (pipe,) = [one for one in gc.get_objects() if isinstance(one, Connection)]
            os.write(pipe.fileno(), struct.pack("!i", 1 << 20) + b"x" * 100)
            os.kill(os.getpid(), signal.SIGKILL)
        return [job * job for job in jobs]

    return handle


def stopped_once(flag: Path, device: str) -> Numbers:
    def handle(jobs: Sequence[int]) -> list[int]:
        if not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        return [job * job for job in jobs]

    return handle


def unreadable(device: str) -> Callable[[Sequence[int]], Sequence[object]]:
    return lambda jobs: [threading.Lock() for _ in jobs]


def breaking_at_start(device: str) -> Numbers:
    raise ConnectionResetError("the weights cannot be fetched")


def dying_at_start(device: str) -> Numbers:
    os._exit(7)


def refusing(device: str) -> Numbers:
    def handle(jobs: Sequence[int]) -> list[int]:
        raise AlphaBenchError("no such model", hint="name another")

    return handle


def results(outcomes: Sequence[FinishedJob[int, int] | LostJob[int]]) -> dict[int, int | None]:
    return {o.job: o.result if isinstance(o, FinishedJob) else None for o in outcomes}


@given(
    jobs=st.lists(st.integers(0, 60), unique=True, max_size=40),
    bad=st.frozensets(st.integers(0, 60), max_size=5),
    batch_size=st.integers(1, 9),
)
def test_only_the_jobs_that_fail_alone_are_lost_at_any_batch_size(
    jobs: list[int], bad: frozenset[int], batch_size: int
) -> None:
    if len(bad.intersection(jobs)) >= HOPELESS_AFTER or set(jobs) == bad:
        return
    done = list(run_jobs(partial(failing_on, bad), jobs, devices=["cpu"], batch_size=batch_size))
    assert results(done) == {job: None if job in bad else job * job for job in jobs}
    assert len(done) == len(jobs)


def test_a_lost_job_says_why() -> None:
    opener = partial(failing_on, frozenset({2}))
    (lost,) = [
        o
        for o in run_jobs(opener, [1, 2, 3], devices=["cpu"], batch_size=3)
        if isinstance(o, LostJob)
    ]
    assert lost.reason == "ValueError: bad job"


def test_when_everything_fails_the_run_stops_and_says_with_what() -> None:
    opener = partial(failing_on, frozenset(range(100)))
    with pytest.raises(AlphaBenchError, match=r"all failed.*bad job"):
        list(run_jobs(opener, range(100), devices=["cpu"], batch_size=4))


def test_after_memory_ran_out_no_larger_batch_is_tried_again() -> None:
    sizes = []

    def small_machine(device: str) -> Numbers:
        def handle(jobs: Sequence[int]) -> list[int]:
            sizes.append(len(jobs))
            if len(jobs) > 3:
                raise MemoryError
            return list(jobs)

        return handle

    done = list(run_jobs(small_machine, range(20), devices=["cpu"], batch_size=8))
    assert len(done) == 20
    assert sizes.count(8) == 1
    assert max(sizes[3:]) <= 4


def test_a_mistake_of_the_user_stops_the_work_in_this_process_and_in_others() -> None:
    for devices in (["cpu"], ["cpu", "cpu"]):
        with pytest.raises(AlphaBenchError, match="no such model") as caught:
            list(run_jobs(refusing, range(4), devices=devices, batch_size=2))
        assert caught.value.hint == "name another"


def _stops_at_three(_device: str) -> Handler[int, int | AlphaBenchError]:
    def work(batch: Sequence[int]) -> list[int | AlphaBenchError]:
        stop = AlphaBenchError("stopped", hint="h")
        return [stop if job == 3 else 10 * job for job in batch]

    return work


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu")])
def test_an_error_among_results_stops_the_work_behind_them(devices: tuple[str, ...]) -> None:
    done: list[object] = []
    with pytest.raises(AlphaBenchError, match="stopped"):
        done.extend(
            one.job
            for one in run_jobs(_stops_at_three, range(2, 40), devices=devices, batch_size=4)
        )
    assert {2, 4, 5} <= set(done)
    assert len(done) <= 3 + 4 * 2


def test_two_processes_do_what_one_does() -> None:
    alone = results(list(run_jobs(squares, range(23), devices=["cpu"], batch_size=4)))
    shared = results(list(run_jobs(squares, range(23), devices=["cpu", "cpu"], batch_size=4)))
    assert shared == alone


def test_a_worker_that_is_killed_returns_its_jobs(tmp_path: Path) -> None:
    opener = partial(killed_once, tmp_path / "killed")
    done = list(run_jobs(opener, range(12), devices=["cpu", "cpu"], batch_size=4))
    assert results(done) == {job: job * job for job in range(12)}


def test_a_job_that_kills_its_worker_is_given_up_and_the_others_are_done() -> None:
    opener = partial(killed_by, frozenset({5}))
    found = results(list(run_jobs(opener, range(8), devices=["cpu", "cpu"], batch_size=4)))
    assert found == {job: None if job == 5 else job * job for job in range(8)}


def test_workers_that_die_while_they_start_are_not_restarted_for_ever() -> None:
    with pytest.raises(AlphaBenchError, match="dies while it starts"):
        list(run_jobs(dying_at_start, range(4), devices=["cpu", "cpu"], batch_size=2))


def test_a_worker_that_breaks_at_the_start_says_with_what(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(AlphaBenchError, match=r"could not start: .*weights cannot be fetched"):
        list(run_jobs(breaking_at_start, range(4), devices=["cpu", "cpu"], batch_size=2))
    assert "Traceback" not in capfd.readouterr().err


def test_a_worker_that_dies_while_it_sends_a_result_returns_its_jobs(tmp_path: Path) -> None:
    opener, notes = partial(dying_in_the_middle_of_a_message, tmp_path / "died"), list[str]()
    done = list(run_jobs(opener, range(6), devices=["cpu"] * 2, batch_size=2, note=notes.append))
    assert results(done) == {job: job * job for job in range(6)}
    assert notes == [
        f"a worker process on cpu died (exit code {-signal.SIGKILL}); another takes its work"
    ]


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="the system does not tell")
def test_a_worker_that_stays_stopped_is_replaced(tmp_path: Path) -> None:
    opener, notes = partial(stopped_once, tmp_path / "stopped"), list[str]()
    done = list(
        run_jobs(
            opener,
            range(6),
            devices=["cpu"] * 2,
            batch_size=2,
            note=notes.append,
            engine=WorkerProcesses(n_workers=2, stopped_seconds=0.1),
        )
    )
    assert results(done) == {job: job * job for job in range(6)}
    assert "was stopped by a signal" in notes[0]


def test_a_result_that_cannot_be_sent_is_a_lost_job() -> None:
    outcomes = list(run_jobs(unreadable, [1], devices=["cpu", "cpu"], batch_size=1))
    assert [type(one) for one in outcomes] == [LostJob]
    assert "cannot pickle" in str(outcomes[0])


def test_no_jobs_open_nothing() -> None:
    assert list(run_jobs(dying_at_start, [], devices=["cpu"], batch_size=2)) == []


def test_devices_are_checked_against_the_machine() -> None:
    assert choose_devices("cpu", workers=3) == ("cpu", "cpu", "cpu")
    with pytest.raises(AlphaBenchError, match="no device 'cuda:77'"):
        choose_devices("77", workers=1)


def waiting_for_its_successor(flag: Path, device: str) -> Numbers:
    """The second worker is killed with the last job; who follows it never starts."""
    if flag.exists():
        time.sleep(600)

    def handle(jobs: Sequence[int]) -> list[int]:
        if jobs == [0]:
            time.sleep(1.0)  # until the other one has taken the last job
        elif not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [job * job for job in jobs]

    return handle


@pytest.mark.timeout(60)
def test_an_idle_worker_takes_what_a_dead_one_had_in_hand(tmp_path: Path) -> None:
    opener = partial(waiting_for_its_successor, tmp_path / "killed")
    done = list(run_jobs(opener, range(2), devices=["cpu", "cpu"], batch_size=1))
    assert results(done) == {0: 0, 1: 1}
