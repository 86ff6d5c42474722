"""Runs jobs in this process, or by the workers of an engine.

Passes batches of jobs to a handler and yields one outcome for each job as it is ready. A batch that
fails is retried in halves; a worker that dies is replaced and its jobs are queued again. Knows
nothing of images, models or files, nor what a worker is: see `engines`.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from alphabench.core.errors import AlphaBenchError
from alphabench.runs.engines import (
    Engine,
    Inbox,
    JobFailure,
    JobWorker,
    WorkerEnd,
    WorkerMessage,
    pack,
)
from alphabench.runs.staged_work import StagedHandler, StagedWork
from alphabench.runs.worker_processes import WorkerProcesses

J = TypeVar("J")
R = TypeVar("R")

Handler = Callable[[Sequence[J]], Sequence[R]]
"""Does a batch of jobs: one result for each, in order. An `AlphaBenchError` in place of a result
stops everything after the batch's other results are yielded."""
Opener = Callable[[str], Handler[J, R]]
"""Makes the handler on a device (`cpu`, `cuda:0`). Picklable, unless everything is done here."""

HOPELESS_AFTER: Final = 8
"""After so many failures without any success, the run stops."""
_TRIES_OF_A_CRASHING_JOB: Final = 2
_TRIES_TO_START: Final = 3
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
    engine: Engine | None = None,
) -> Generator[FinishedJob[J, R] | LostJob[J], None, None]:
    """Do all jobs; outcomes come in the order in which they are ready. Closing it ends the workers.

    Args:
        opener: called once in each worker.
        jobs: picklable, as results are, unless everything is done here.
        devices: one worker each; naming one twice gives it two workers.
        batch_size: jobs in a call at most; halved for good when memory runs out. The last batches
            are smaller, so that all workers end at about the same time.
        note: called with a sentence for each worker that dies or is stopped.
        engine: runs the workers; None is this process for one device, and processes of this
            machine for several.

    Raises:
        AlphaBenchError: a handler raised one; no worker will start; or the first
            `HOPELESS_AFTER` jobs all failed.
    """
    if not jobs:
        return
    waiting = _Queue(jobs, batch_size, len(devices))
    if engine is None and len(devices) == 1:
        outcomes = _run_here(opener(devices[0]), waiting)
    else:
        engine = engine or WorkerProcesses(n_workers=len(devices))
        outcomes = _run_on_workers(engine, opener, waiting, devices, note)
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


def check_opener(
    opener: Opener[J, R], device: str, engine: Engine, *, note: Callable[[str], None] = _silent
) -> None:
    """Open the handler once in a worker of the engine, and end that worker.

    Raises:
        AlphaBenchError: the opener raised one, or no worker will start.
    """
    inbox: Inbox = queue.SimpleQueue()
    packed = pack(opener)
    for _ in range(_TRIES_TO_START):
        worker = engine.start(packed, device, inbox)
        try:
            _, message = _next_message(inbox, engine, [worker], note)
        finally:
            worker.stop()
        if message.kind == "stop":
            raise message.content
        if message.kind == "ready":
            return
    raise _dies_at_start(worker, message.content)


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

    def __init__(self, jobs: Sequence[J], batch_size: int, n_workers: int) -> None:
        self._fresh = deque(jobs)
        self._returned: deque[Sequence[J]] = deque()
        self._batch_size = max(1, batch_size)
        self._n_workers = n_workers

    def take(self) -> Sequence[J] | None:
        if self._returned:
            return self._returned.popleft()
        share = -(-len(self._fresh) // self._n_workers)
        return list(itertools.islice(_drain(self._fresh), min(self._batch_size, share))) or None

    @property
    def is_empty(self) -> bool:
        return not self._fresh and not self._returned

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
    if isinstance(handler, StagedHandler):
        yield from _run_here_staged(handler, waiting)
    while (batch := waiting.take()) is not None:
        try:
            results = handler(batch)
        except AlphaBenchError:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: what fails becomes a Lost job
            yield from _retry_or_lose(waiting, batch, error)
        else:
            yield from _pair(batch, results)


def _run_here_staged(
    handler: StagedHandler, waiting: _Queue[J]
) -> Generator[FinishedJob[J, Any] | LostJob[J], None, None]:
    messages: queue.SimpleQueue[WorkerMessage] = queue.SimpleQueue()
    unanswered: deque[Sequence[J]] = deque()
    is_free = True
    with StagedWork(handler, messages.put) as work:
        while (batch := waiting.take()) is not None or unanswered:
            if batch is not None:
                unanswered.append(batch)
                is_free = work.begin(batch)
            while unanswered and (batch is None or not is_free or not messages.empty()):
                message = messages.get()
                if message.kind == "free":
                    continue
                yield from _outcomes(unanswered.popleft(), message, waiting)
                if batch is None:
                    break  # jobs may have returned to the queue


def _outcomes(
    batch: Sequence[J], message: WorkerMessage, waiting: _Queue[J]
) -> Iterator[FinishedJob[J, Any] | LostJob[J]]:
    if message.kind == "stop":
        raise message.content
    if message.kind == "failure":
        yield from _retry_or_lose(waiting, batch, message.content)
    else:
        yield from _pair(batch, message.content)


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
    waiting: _Queue[J], batch: Sequence[J], error: Exception | JobFailure
) -> Iterator[LostJob[J]]:
    failure = error if isinstance(error, JobFailure) else JobFailure.of(error)
    if len(batch) == 1:
        yield LostJob(batch[0], failure.reason)
    else:
        waiting.give_back(batch, out_of_memory=failure.out_of_memory)


def _run_on_workers(
    engine: Engine,
    opener: Opener[J, R],
    waiting: _Queue[J],
    devices: Sequence[str],
    note: Callable[[str], None],
) -> Generator[FinishedJob[J, R] | LostJob[J], None, None]:
    packed = pack(opener)
    inbox: Inbox = queue.SimpleQueue()
    workers: list[JobWorker] = []
    record = _CrashRecord[J]()
    failed_starts = 0
    patience = 0.0
    try:
        workers += [engine.start(packed, device, inbox) for device in devices]
        while True:
            worker, message = _next_message(inbox, engine, workers, note)
            if message.kind == "gone":
                end: WorkerEnd = message.content
                failed_starts = 0 if worker.ready or end.blameless else failed_starts + 1
                yield from _retire(worker, end, waiting, record, failed_starts, note)
                workers.remove(worker)
                worker.stop()
                workers.append(engine.start(packed, worker.device, inbox))
                _hand_out(waiting, workers)
                continue
            answered = _answered_batch(worker, message, record)
            if message.kind in ("failure", "stop"):
                yield from _outcomes(answered, message, waiting)
            _hand_out(waiting, workers)  # before the results, which take the driver longer
            if message.kind == "results":
                yield from _outcomes(answered, message, waiting)
            if waiting.is_empty and not any(w.batch or record.unfinished[w] for w in workers):
                patience = _SECONDS_TO_LEAVE
                return
    finally:
        for worker in workers:
            worker.stop(patience=patience)


def _hand_out(waiting: _Queue[J], workers: Sequence[JobWorker]) -> None:
    """A batch for each idle worker: what a dead one had in hand does not wait for its successor."""
    for worker in workers:
        if worker.ready and worker.batch is None and (batch := waiting.take()) is not None:
            worker.give(batch)


class _CrashRecord(Generic[J]):
    """What the workers had in hand, and which jobs may have killed one."""

    def __init__(self) -> None:
        self.unfinished: defaultdict[JobWorker, deque[Sequence[J]]] = defaultdict(deque)
        """Worker -> the batches that it finishes while it does another, oldest first."""
        self._deaths: Counter[int] = Counter()
        self._suspects: set[int] = set()

    def is_suspect(self, batch: Sequence[J]) -> bool:
        """Whether no other batch should be begun before it is answered: a crash is its own then."""
        return any(id(job) in self._suspects for job in batch)

    def suspect(self, batch: Sequence[J]) -> None:
        self._suspects.update(map(id, batch))

    def is_given_up(self, job: J) -> bool:
        """Count one more death of a worker with this job alone."""
        self._deaths[id(job)] += 1
        return self._deaths[id(job)] >= _TRIES_OF_A_CRASHING_JOB


def _next_message(
    inbox: Inbox, engine: Engine, workers: Sequence[JobWorker], note: Callable[[str], None]
) -> tuple[JobWorker, WorkerMessage]:
    while True:
        for sentence in engine.look(workers):
            note(sentence)
        with contextlib.suppress(queue.Empty):
            return inbox.get(timeout=_LOOK_SECONDS)


def _answered_batch(
    worker: JobWorker, message: WorkerMessage, record: _CrashRecord[J]
) -> Sequence[J]:
    """The batch that a message is the answer to; empty if it is none."""
    unfinished = record.unfinished[worker]
    if message.kind == "ready":
        worker.ready = True
        return []
    if message.kind == "free":
        if worker.batch is not None and not record.is_suspect(worker.batch):
            unfinished.append(worker.batch)
            worker.batch = None
        return []
    if unfinished:
        return unfinished.popleft()
    batch, worker.batch = worker.batch or [], None
    return batch


def _retire(
    worker: JobWorker,
    end: WorkerEnd,
    waiting: _Queue[J],
    record: _CrashRecord[J],
    failed_starts: int,
    note: Callable[[str], None],
) -> Iterator[LostJob[J]]:
    """Queue the jobs of a dead worker again; give up on a job that repeatedly kills its worker."""
    if failed_starts >= _TRIES_TO_START:
        raise _dies_at_start(worker, end)
    note(f"a worker process {worker.place} died ({end.how}); another takes its work")
    in_hand = [*record.unfinished.pop(worker, ()), *([worker.batch] if worker.batch else [])]
    for batch in reversed(in_hand):
        is_latest = batch is in_hand[-1]
        if len(batch) == 1 and is_latest and not end.blameless and record.is_given_up(batch[0]):
            yield LostJob(batch[0], f"its worker process died ({end.how})")
            continue
        if not end.blameless:
            record.suspect(batch)
        waiting.give_back(batch)


def _dies_at_start(worker: JobWorker, end: WorkerEnd) -> AlphaBenchError:
    return AlphaBenchError(
        f"the worker process {worker.place} dies while it starts ({end.how})",
        hint="is there enough memory? try fewer --workers or --devices",
    )
