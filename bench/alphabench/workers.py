"""Where work runs: in this process, or in one process for each device.

Hands batches of jobs to a handler, gives back one outcome for each job as it comes, and loses none:
a batch that fails is tried in halves, a process that dies is replaced and its jobs are returned.
Knows nothing of images, models or files.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Generic, Literal, TypeVar

from alphabench.errors import AlphaBenchError

J = TypeVar("J")
R = TypeVar("R")

Handler = Callable[[Sequence[J]], Sequence[R]]
"""Does a batch of jobs: one result for each, in order."""
Opener = Callable[[str], Handler[J, R]]
"""Makes the handler on a device (`cpu`, `cuda:0`). Must be picklable for several processes."""

HOPELESS_AFTER: Final = 8
"""So many jobs failing, and none done, means that what fails is not the jobs."""
_TRIES_OF_A_LETHAL_JOB: Final = 2
_TRIES_TO_START: Final = 3


@dataclass(frozen=True, slots=True)
class Done(Generic[J, R]):
    """A job and what came of it."""

    job: J
    result: R


@dataclass(frozen=True, slots=True)
class Lost(Generic[J]):
    """A job that could not be done, even alone."""

    job: J
    reason: str


def run_jobs(
    opener: Opener[J, R], jobs: Sequence[J], *, devices: Sequence[str], batch_size: int
) -> Iterator[Done[J, R] | Lost[J]]:
    """Do all jobs; outcomes come in the order in which they are ready.

    Args:
        opener: called once on each device, here when there is one, in a process of its own
            when there are several.
        jobs: picklable when there are several devices.
        devices: one worker each; naming one twice gives it two workers.
        batch_size: jobs in a call at most; halved for good when memory runs out.

    Raises:
        AlphaBenchError: a handler raised one; no worker will start; or the first
            `HOPELESS_AFTER` jobs all failed.
    """
    if not jobs:
        return
    queue = _Queue(jobs, batch_size)
    outcomes = (
        _run_here(opener(devices[0]), queue)
        if len(devices) == 1
        else _run_in_processes(opener, queue, devices)
    )
    done = 0
    for count, outcome in enumerate(outcomes, start=1):
        done += isinstance(outcome, Done)
        yield outcome
        if isinstance(outcome, Lost) and done == 0 and count >= HOPELESS_AFTER:
            raise AlphaBenchError(
                f"the first {count} all failed, the last one with: {outcome.reason}",
                hint="mend that and give the same command again; failed ones are retried",
            )


def choose_devices(devices: str | None, *, workers: int) -> tuple[str, ...]:
    """One device for each worker.

    Args:
        devices: `cpu`, `cuda:1`, or GPU numbers (`0,1`); None takes the first GPU, or the CPU.
        workers: how many processes on the CPU, or on the one device.

    Raises:
        AlphaBenchError: a device that this machine does not have.
    """
    if devices == "cpu":
        return ("cpu",) * workers
    import torch

    n_gpus = torch.cuda.device_count()
    if devices is None:
        return ("cuda:0" if n_gpus else "cpu",) * workers
    names = [f"cuda:{name}" if name.isdigit() else name for name in devices.split(",")]
    known = ["cpu", *(f"cuda:{number}" for number in range(n_gpus))]
    for name in names:
        if name not in known:
            raise AlphaBenchError(
                f"this machine has no device {name!r}", hint=f"it has {', '.join(known)}"
            )
    return tuple(names) * (workers if len(names) == 1 else 1)


class _Queue(Generic[J]):
    """Jobs to do, returned ones first."""

    def __init__(self, jobs: Sequence[J], batch_size: int) -> None:
        self._fresh = deque(jobs)
        self._returned: deque[Sequence[J]] = deque()
        self._batch_size = max(1, batch_size)

    def take(self) -> Sequence[J] | None:
        if self._returned:
            return self._returned.popleft()
        return list(itertools.islice(_drain(self._fresh), self._batch_size)) or None

    def give_back(self, batch: Sequence[J], *, out_of_memory: bool = False) -> None:
        """For another try, in halves where it has more than one job."""
        middle = len(batch) // 2
        if out_of_memory and middle:
            self._batch_size = min(self._batch_size, middle)
        self._returned.extendleft(half for half in (batch[middle:], batch[:middle]) if half)


def _drain(jobs: deque[J]) -> Iterator[J]:
    while jobs:
        yield jobs.popleft()


def _run_here(handler: Handler[J, R], queue: _Queue[J]) -> Iterator[Done[J, R] | Lost[J]]:
    while (batch := queue.take()) is not None:
        try:
            results = handler(batch)
        except AlphaBenchError:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: what fails becomes a Lost job
            yield from _retry_or_lose(queue, batch, error)
        else:
            yield from _pair(batch, results)


def _pair(batch: Sequence[J], results: Sequence[R]) -> Iterator[Done[J, R]]:
    return (Done(job, result) for job, result in zip(batch, results, strict=True))


def _retry_or_lose(
    queue: _Queue[J], batch: Sequence[J], error: Exception | _Failure
) -> Iterator[Lost[J]]:
    failure = error if isinstance(error, _Failure) else _Failure.of(error)
    if len(batch) == 1:
        yield Lost(batch[0], failure.reason)
    else:
        queue.give_back(batch, out_of_memory=failure.out_of_memory)


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    out_of_memory: bool

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        name = type(error).__name__
        # By name: torch's own class, without importing torch.
        return cls(f"{name}: {error}"[:2000], name in ("OutOfMemoryError", "MemoryError"))


@dataclass(frozen=True, slots=True)
class _Message:
    """What a worker process tells its parent."""

    kind: Literal["ready", "results", "failure", "stop"]
    content: Any = None


class _Worker:
    """A process on one device, and the batch it has in hand."""

    def __init__(self, opener: Opener[Any, Any], device: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.device = device
        self.batch: Sequence[Any] | None = None
        self.ready = False
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(opener, device, threads, theirs), daemon=True
        )
        self.process.start()
        theirs.close()

    def next_message(self) -> _Message | None:
        """None once the process has died."""
        try:
            message: _Message = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return None
        return message

    def give(self, batch: Sequence[Any]) -> None:
        self.batch = batch
        # If it has died, `next_message` will say so, and the batch is still in hand.
        with contextlib.suppress(BrokenPipeError):
            self.connection.send(batch)

    def stop(self) -> None:
        """An idle worker leaves by itself when nobody talks to it; a busy one is ended."""
        self.connection.close()
        if self.batch is None:
            self.process.join(timeout=10)
        self.process.terminate()
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _run_in_processes(
    opener: Opener[J, R], queue: _Queue[J], devices: Sequence[str]
) -> Iterator[Done[J, R] | Lost[J]]:
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    workers = [_Worker(opener, device, threads) for device in devices]
    deaths: dict[int, int] = {}
    failed_starts = 0
    try:
        while workers:
            for connection in wait([worker.connection for worker in workers]):
                worker = next(w for w in workers if w.connection is connection)
                message = worker.next_message()
                if message is None:
                    failed_starts = 0 if worker.ready else failed_starts + 1
                    yield from _bury(worker, queue, deaths, failed_starts)
                    workers.remove(worker)
                    worker.stop()
                    workers.append(_Worker(opener, worker.device, threads))
                    continue
                yield from _hear(worker, message, queue)
                if (batch := queue.take()) is not None:
                    worker.give(batch)
                elif not any(w.batch for w in workers):
                    return
    finally:
        for worker in workers:
            worker.stop()


def _hear(worker: _Worker, message: _Message, queue: _Queue[J]) -> Iterator[Done[J, Any] | Lost[J]]:
    batch, worker.batch = worker.batch, None
    match message.kind:
        case "ready":
            worker.ready = True
        case "stop":
            raise message.content
        case "failure":
            yield from _retry_or_lose(queue, batch or [], message.content)
        case "results":
            yield from _pair(batch or [], message.content)


def _bury(
    worker: _Worker, queue: _Queue[J], deaths: dict[int, int], failed_starts: int
) -> Iterator[Lost[J]]:
    """Return the jobs of a worker that died; give up on a job that kills whoever takes it."""
    how = f"its worker process died (exit code {worker.process.exitcode})"
    if failed_starts >= _TRIES_TO_START:
        raise AlphaBenchError(
            f"the worker process on {worker.device} dies while it starts "
            f"(exit code {worker.process.exitcode})",
            hint="is there enough memory? try fewer --workers or --devices",
        )
    batch = worker.batch or []
    if len(batch) == 1:
        job = batch[0]
        deaths[id(job)] = deaths.get(id(job), 0) + 1
        if deaths[id(job)] >= _TRIES_OF_A_LETHAL_JOB:
            yield Lost(job, how)
            return
    queue.give_back(batch)


def _serve(opener: Opener[J, R], device: str, threads: int, connection: Connection) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    try:
        handler = opener(device)
        connection.send(_Message("ready"))
        while True:
            connection.send(_answer(handler, connection.recv()))
    except AlphaBenchError as error:
        connection.send(_Message("stop", error))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone


def _answer(handler: Handler[J, R], batch: Sequence[J]) -> _Message:
    try:
        return _Message("results", handler(batch))
    except AlphaBenchError:
        raise
    except Exception as error:  # noqa: BLE001 - the boundary: what fails becomes a Lost job
        return _Message("failure", _Failure.of(error))
