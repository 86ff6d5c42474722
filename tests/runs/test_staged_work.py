"""A batch is finished while the next one is begun; nothing is lost, and a crash has one culprit."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.core.errors import AlphaBenchError
from alphabench.runs.staged_work import FinishedEarly
from alphabench.runs.workers import HOPELESS_AFTER, FinishedJob, LostJob, run_jobs

SOON = 20.0
"""Seconds that a thread may take on a busy machine."""


def _pass(jobs: Sequence[int]) -> None:
    del jobs


@dataclass
class Squares:
    """Begins by doubling nothing, finishes by squaring; misbehaves on request."""

    in_begin: Callable[[Sequence[int]], None] = _pass
    in_finish: Callable[[Sequence[int]], None] = _pass
    sizes: list[int] = field(default_factory=list)

    def __call__(self, jobs: Sequence[int]) -> Sequence[int]:
        return self.finish(jobs, self.begin(jobs))

    def begin(self, jobs: Sequence[int]) -> list[int]:
        self.sizes.append(len(jobs))
        self.in_begin(jobs)
        return list(jobs)

    def finish(self, jobs: Sequence[int], begun: list[int]) -> list[int]:
        self.in_finish(jobs)
        return [job * job for job in begun]


def failing_on(bad: frozenset[int], jobs: Sequence[int]) -> None:
    if bad.intersection(jobs):
        raise ValueError("bad job")


def lethal_on(bad: frozenset[int], jobs: Sequence[int]) -> None:
    if bad.intersection(jobs):
        os.kill(os.getpid(), signal.SIGKILL)


def once(flag: Path, jobs: Sequence[int]) -> None:
    if 5 in jobs and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)


Act = Callable[[Sequence[int]], None]
STAGES = ("begin", "finish")


def squares(device: str, *, in_begin: Act = _pass, in_finish: Act = _pass) -> Squares:
    del device
    return Squares(in_begin=in_begin, in_finish=in_finish)


def acting(stage: str, act: Act) -> partial[Squares]:
    return partial(squares, in_begin=act) if stage == "begin" else partial(squares, in_finish=act)


def sizes(device: str) -> Callable[[Sequence[int]], list[int]]:
    del device
    return lambda jobs: [len(jobs)] * len(jobs)


def results(outcomes: Sequence[FinishedJob[int, int] | LostJob[int]]) -> dict[int, int | None]:
    assert len({one.job for one in outcomes}) == len(outcomes)
    return {one.job: one.result if isinstance(one, FinishedJob) else None for one in outcomes}


def test_a_batch_is_finished_while_the_next_is_begun_and_no_more_than_that() -> None:
    begun, finished = threading.Event(), list[int]()
    begun_ahead: list[int] = []

    def in_begin(jobs: Sequence[int]) -> None:
        begun_ahead.append(jobs[0] - len(finished))
        if jobs[0] == 1:
            begun.set()

    def in_finish(jobs: Sequence[int]) -> None:
        assert begun.wait(SOON), "the next batch waited for this one"
        finished.extend(jobs)

    opener = partial(squares, in_begin=in_begin, in_finish=in_finish)
    done = list(run_jobs(opener, range(6), devices=["cpu"], batch_size=1))
    assert [one.job for one in done] == list(range(6))
    assert max(begun_ahead) == 1


@given(
    jobs=st.lists(st.integers(0, 60), unique=True, max_size=40),
    bad=st.frozensets(st.integers(0, 60), max_size=5),
    batch_size=st.integers(1, 9),
    stage=st.sampled_from(STAGES),
)
def test_only_the_jobs_that_fail_alone_are_lost_in_either_stage(
    jobs: list[int], bad: frozenset[int], batch_size: int, stage: str
) -> None:
    if len(bad.intersection(jobs)) >= HOPELESS_AFTER or set(jobs) == bad:
        return
    opener = acting(stage, partial(failing_on, bad))
    done = list(run_jobs(opener, jobs, devices=["cpu"], batch_size=batch_size))
    assert results(done) == {job: None if job in bad else job * job for job in jobs}


@pytest.mark.parametrize("stage", STAGES)
def test_a_mistake_of_the_user_stops_everything_soon_in_either_stage(stage: str) -> None:
    begun: list[int] = []
    done: list[int] = []

    def refusing(jobs: Sequence[int]) -> None:
        if 2 in jobs:
            raise AlphaBenchError("the disk is full", hint="free some space")

    def opener(device: str) -> Squares:
        handler = acting(stage, refusing)(device)
        handler.sizes = begun
        return handler

    with pytest.raises(AlphaBenchError, match="the disk is full"):
        done.extend(one.job for one in run_jobs(opener, range(9), devices=["cpu"], batch_size=1))
    assert done == [0, 1]
    assert len(begun) <= 5


def test_an_interrupt_leaves_no_batch_behind_that_was_begun() -> None:
    finished: list[int] = []

    def interrupted(jobs: Sequence[int]) -> None:
        if 3 in jobs:
            raise KeyboardInterrupt

    opener = partial(squares, in_begin=interrupted, in_finish=finished.extend)
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs(opener, range(9), devices=["cpu"], batch_size=1))
    assert finished == [0, 1, 2]


def test_what_is_finished_in_its_first_stage_is_answered_before_the_next_begins() -> None:
    order: list[str] = []

    class Quick(Squares):
        def begin(self, jobs: Sequence[int]) -> FinishedEarly:  # type: ignore[override]
            order.append(f"begin {jobs[0]}")
            return FinishedEarly([7])

    for one in run_jobs(lambda _: Quick(), range(3), devices=["cpu"], batch_size=1):
        assert isinstance(one, FinishedJob)
        order.append(f"{one.job}: {one.result}")
    assert order == ["begin 0", "0: 7", "begin 1", "1: 7", "begin 2", "2: 7"]


def test_two_processes_finish_in_threads_what_one_does() -> None:
    devices = ["cpu", "cpu"]
    assert results(list(run_jobs(squares, range(23), devices=devices, batch_size=4))) == {
        job: job * job for job in range(23)
    }


def test_a_job_that_kills_its_worker_in_the_second_stage_is_given_up_and_no_other() -> None:
    opener = acting("finish", partial(lethal_on, frozenset({5})))
    found = results(list(run_jobs(opener, range(8), devices=["cpu", "cpu"], batch_size=2)))
    assert found == {job: None if job == 5 else job * job for job in range(8)}


def test_a_worker_that_is_killed_with_two_batches_in_hand_returns_both(tmp_path: Path) -> None:
    opener = partial(squares, in_begin=partial(once, tmp_path / "killed"))
    found = results(list(run_jobs(opener, range(8), devices=["cpu", "cpu"], batch_size=1)))
    assert found == {job: job * job for job in range(8)}


def test_the_last_batches_are_small_so_that_all_workers_end_together() -> None:
    done = list(run_jobs(sizes, range(17), devices=["cpu", "cpu"], batch_size=4))
    found = Counter(one.result for one in done if isinstance(one, FinishedJob))
    assert {size: count // size for size, count in found.items()} == {4: 3, 3: 1, 1: 2}
