"""Runs jobs in this process, or in one worker process for each device.

Passes batches of jobs to a handler and yields one outcome for each job as it is ready. A batch that
fails is retried in halves; a worker process that dies or stays stopped is replaced and its jobs are
queued again. No process outlives its parent. Knows nothing of images, models or files.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final, Generic, Literal, TypeVar

from alphabench.core.errors import AlphaBenchError
from alphabench.core.stopping import leave_with_parent

J = TypeVar("J")
R = TypeVar("R")

Handler = Callable[[Sequence[J]], Sequence[R]]
"""Does a batch of jobs: one result for each, in order. An `AlphaBenchError` in place of a result
stops everything after the batch's other results are yielded."""
Opener = Callable[[str], Handler[J, R]]
"""Makes the handler on a device (`cpu`, `cuda:0`). Must be picklable for several processes."""

HOPELESS_AFTER: Final = 8
"""After so many failures without any success, the run stops."""
_TRIES_OF_A_CRASHING_JOB: Final = 2
_TRIES_TO_START: Final = 3
STOPPED_SECONDS: Final = 30.0
"""How long a worker process may be stopped (SIGSTOP) before it is replaced."""
_SECONDS_TO_LEAVE: Final = 10.0
"""For an idle worker, to end its own child processes."""
_LOOK_SECONDS: Final = 1.0


def _silent(text: str) -> None:
    del text


@dataclass(frozen=True, slots=True)
class FinishedJob(Generic[J, R]):
    """A job and its result."""

    job: J
    result: R


@dataclass(frozen=True, slots=True)
class LostJob(Generic[J]):
    """A job that failed even in a batch of its own."""

    job: J
    reason: str


def run_jobs(
    opener: Opener[J, R],
    jobs: Sequence[J],
    *,
    devices: Sequence[str],
    batch_size: int,
    note: Callable[[str], None] = _silent,
    stopped_seconds: float = STOPPED_SECONDS,
) -> Generator[FinishedJob[J, R] | LostJob[J], None, None]:
    """Do all jobs; outcomes come in the order in which they are ready. Closing it ends the workers.

    Args:
        opener: called once on each device, here when there is one, in a process of its own
            when there are several.
        jobs: picklable when there are several devices.
        devices: one worker each; naming one twice gives it two workers.
        batch_size: jobs in a call at most; halved for good when memory runs out.
        note: called with a sentence for each worker process that dies or is stopped.
        stopped_seconds: how long a worker process may be stopped before it is replaced.

    Raises:
        AlphaBenchError: a handler raised one; no worker will start; or the first
            `HOPELESS_AFTER` jobs all failed.
    """
    if not jobs:
        return
    waiting = _Queue(jobs, batch_size)
    outcomes = (
        _run_here(opener(devices[0]), waiting)
        if len(devices) == 1
        else _run_in_processes(opener, waiting, devices, _Watch(note, stopped_seconds))
    )
    done = 0
    with contextlib.closing(outcomes):
        for count, outcome in enumerate(outcomes, start=1):
            done += isinstance(outcome, FinishedJob)
            yield outcome
            if isinstance(outcome, LostJob) and done == 0 and count >= HOPELESS_AFTER:
                raise AlphaBenchError(
                    f"the first {count} all failed, the last one with: {outcome.reason}",
                    hint="fix that and give the same command again, which retries what failed; "
                    "other settings (--set) need another run folder (--out)",
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
        if name == "mps":
            raise AlphaBenchError(
                "Apple GPUs (mps) are not supported: no model or evaluator was checked on one",
                hint="leave the device out or name cpu, and everything runs on the CPU",
            )
        if name not in known:
            raise AlphaBenchError(
                f"this machine has no device {name!r}",
                hint=f"it has {', '.join(known)}; without a named device, the best one is used",
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


def _run_here(
    handler: Handler[J, R], waiting: _Queue[J]
) -> Generator[FinishedJob[J, R] | LostJob[J], None, None]:
    while (batch := waiting.take()) is not None:
        try:
            results = handler(batch)
        except AlphaBenchError:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: what fails becomes a Lost job
            yield from _retry_or_lose(waiting, batch, error)
        else:
            yield from _pair(batch, results)


def _pair(batch: Sequence[J], results: Sequence[R]) -> Iterator[FinishedJob[J, R]]:
    stopped_by = None
    for job, result in zip(batch, results, strict=True):
        if isinstance(result, AlphaBenchError):
            stopped_by = stopped_by or result
        else:
            yield FinishedJob(job, result)
    if stopped_by is not None:
        raise stopped_by


def _retry_or_lose(
    waiting: _Queue[J], batch: Sequence[J], error: Exception | _Failure
) -> Iterator[LostJob[J]]:
    failure = error if isinstance(error, _Failure) else _Failure.of(error)
    if len(batch) == 1:
        yield LostJob(batch[0], failure.reason)
    else:
        waiting.give_back(batch, out_of_memory=failure.out_of_memory)


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    out_of_memory: bool

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        name = type(error).__name__
        # By name: the class is torch's, which is not imported here.
        return cls(f"{name}: {error}"[:2000], name in ("OutOfMemoryError", "MemoryError"))


@dataclass(frozen=True, slots=True)
class _Message:
    """A message from a worker process to its parent."""

    kind: Literal["ready", "results", "failure", "stop", "gone"]
    content: Any = None


@dataclass(frozen=True, slots=True)
class _Watch:
    """How the parent minds its workers."""

    note: Callable[[str], None]
    stopped_seconds: float


class _Worker:
    """A process on one device, and the batch it has in hand.

    A thread of the parent communicates with it: a worker that is stopped in the middle of a message
    blocks that thread only.
    """

    def __init__(
        self, opener: bytes, device: str, threads: int, inbox: queue.SimpleQueue[_Received]
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.device = device
        self.batch: Sequence[Any] | None = None
        self.ready = False
        self._stopped_for, self._looked = 0.0, time.monotonic()
        self._inbox = inbox
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(opener, device, threads, theirs), daemon=True
        )
        # It inherits the signal mask: an interrupt of the process group never reaches it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        self._talker = threading.Thread(target=self._talk, daemon=True)
        self._talker.start()

    def give(self, batch: Sequence[Any]) -> None:
        self.batch = batch
        self._outbox.put(bytes(ForkingPickler.dumps(batch)))

    def stopped_for(self) -> float:
        """Seconds for which it was observed to be stopped without a break.

        Always 0 where the system does not report it.
        """
        passed, self._looked = time.monotonic() - self._looked, time.monotonic()
        if _is_stopped(self.process.pid):
            self._stopped_for += min(passed, 2 * _LOOK_SECONDS)
        else:
            self._stopped_for = 0.0
        return self._stopped_for

    def stop(self, *, patience: float = 0.0) -> None:
        """An idle worker exits when its connection is closed; a busy one is killed."""
        self._outbox.put(None)
        if patience and self.ready and self.batch is None:
            self.process.join(timeout=patience)
        self.process.kill()
        self.process.join(timeout=_SECONDS_TO_LEAVE)
        self._talker.join(timeout=_SECONDS_TO_LEAVE)

    def _talk(self) -> None:
        with self._connection:
            try:
                self._inbox.put((self, _unpack(self._connection.recv_bytes())))
                while (batch := self._outbox.get()) is not None:
                    self._connection.send_bytes(batch)
                    self._inbox.put((self, _unpack(self._connection.recv_bytes())))
            except (EOFError, OSError):
                self.process.join(timeout=_SECONDS_TO_LEAVE)
                self._inbox.put((self, _Message("gone")))


_Received = tuple[_Worker, _Message]


def _pack(message: _Message) -> bytes:
    return bytes(ForkingPickler.dumps(message))


def _unpack(content: bytes) -> _Message:
    try:
        message: _Message = ForkingPickler.loads(content)
    except Exception as error:  # noqa: BLE001 - the boundary: what fails becomes a Lost job
        return _Message("failure", _Failure.of(error))
    return message


def _is_stopped(pid: int | None) -> bool:
    if pid is None or not hasattr(os, "waitid"):
        return False
    with contextlib.suppress(ChildProcessError):
        return bool(os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT))
    return False


def _run_in_processes(
    opener: Opener[J, R], waiting: _Queue[J], devices: Sequence[str], watch: _Watch
) -> Generator[FinishedJob[J, R] | LostJob[J], None, None]:
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    packed = bytes(ForkingPickler.dumps(opener))
    inbox: queue.SimpleQueue[_Received] = queue.SimpleQueue()
    workers: list[_Worker] = []
    deaths: dict[int, int] = {}
    failed_starts = 0
    patience = 0.0
    try:
        workers += [_Worker(packed, device, threads, inbox) for device in devices]
        while True:
            worker, message = _next_message(inbox, workers, watch)
            if message.kind == "gone":
                failed_starts = 0 if worker.ready else failed_starts + 1
                yield from _retire(worker, waiting, deaths, failed_starts, watch)
                workers.remove(worker)
                worker.stop()
                workers.append(_Worker(packed, worker.device, threads, inbox))
                continue
            yield from _receive(worker, message, waiting)
            if (batch := waiting.take()) is not None:
                worker.give(batch)
            elif not any(w.batch for w in workers):
                patience = _SECONDS_TO_LEAVE
                return
    finally:
        for worker in workers:
            worker.stop(patience=patience)


def _next_message(
    inbox: queue.SimpleQueue[_Received], workers: Sequence[_Worker], watch: _Watch
) -> _Received:
    while True:
        for worker in workers:
            if worker.stopped_for() >= watch.stopped_seconds:
                watch.note(
                    f"a worker process on {worker.device} was stopped by a signal for "
                    f"{watch.stopped_seconds:.0f} s; it is ended, and another takes its work"
                )
                worker.process.kill()
        with contextlib.suppress(queue.Empty):
            return inbox.get(timeout=_LOOK_SECONDS)


def _receive(
    worker: _Worker, message: _Message, waiting: _Queue[J]
) -> Iterator[FinishedJob[J, Any] | LostJob[J]]:
    batch, worker.batch = worker.batch, None
    match message.kind:
        case "ready":
            worker.ready = True
        case "stop":
            raise message.content
        case "failure":
            yield from _retry_or_lose(waiting, batch or [], message.content)
        case "results":
            yield from _pair(batch or [], message.content)


def _retire(
    worker: _Worker, waiting: _Queue[J], deaths: dict[int, int], failed_starts: int, watch: _Watch
) -> Iterator[LostJob[J]]:
    """Queue the jobs of a dead worker again; give up on a job that repeatedly kills its worker."""
    how = f"its worker process died (exit code {worker.process.exitcode})"
    if failed_starts >= _TRIES_TO_START:
        raise AlphaBenchError(
            f"the worker process on {worker.device} dies while it starts "
            f"(exit code {worker.process.exitcode})",
            hint="is there enough memory? try fewer --workers or --devices",
        )
    watch.note(
        f"a worker process on {worker.device} died (exit code {worker.process.exitcode}); "
        "another takes its work"
    )
    batch = worker.batch or []
    if len(batch) == 1:
        job = batch[0]
        deaths[id(job)] = deaths.get(id(job), 0) + 1
        if deaths[id(job)] >= _TRIES_OF_A_CRASHING_JOB:
            yield LostJob(job, how)
            return
    waiting.give_back(batch)


def _serve(opener: bytes, device: str, threads: int, connection: Connection) -> None:
    """The life of a worker process; the opener is unpacked only once the parent is watched."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    parent = multiprocessing.parent_process()
    assert parent is not None
    assert parent.pid is not None
    leave_with_parent(parent.pid)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    with contextlib.suppress(EOFError, ConnectionError):  # the parent has closed the connection
        try:
            handler = ForkingPickler.loads(opener)(device)
        except Exception as error:  # noqa: BLE001 - the boundary: what fails becomes a sentence
            connection.send_bytes(_pack(_Message("stop", _in_a_sentence(error, device))))
            return
        connection.send_bytes(_pack(_Message("ready")))
        while True:
            connection.send_bytes(_respond(handler, connection.recv()))


def _in_a_sentence(error: Exception, device: str) -> AlphaBenchError:
    if isinstance(error, AlphaBenchError):
        return error
    return AlphaBenchError(
        f"the worker process on {device} could not start: {_Failure.of(error).reason}",
        hint="a single worker on this device shows where; is there enough memory for several?",
    )


def _respond(handler: Handler[J, R], batch: Sequence[J]) -> bytes:
    try:
        return _pack(_Message("results", handler(batch)))
    except AlphaBenchError as error:
        return _pack(_Message("stop", error))
    except Exception as error:  # noqa: BLE001 - the boundary: what fails becomes a Lost job
        return _pack(_Message("failure", _Failure.of(error)))
