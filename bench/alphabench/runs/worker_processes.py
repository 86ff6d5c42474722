"""The engine of this machine: each worker is a process of its own.

A process that stays stopped is ended. No process outlives its parent. Knows no queue and no job.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, Final

from alphabench.core.stopping import leave_with_parent
from alphabench.runs.engines import (
    Inbox,
    JobWorker,
    WorkerEnd,
    WorkerMessage,
    open_handler,
    pack,
    pack_message,
    respond,
    unpack_message,
)
from alphabench.runs.staged_work import StagedHandler, StagedWork

STOPPED_SECONDS: Final = 30.0
"""How long a worker process may be stopped (SIGSTOP) before it is replaced."""
_SECONDS_TO_LEAVE: Final = 10.0
_LONGEST_LOOK: Final = 2.0
"""A longer time between two looks counts as this much: the driver itself was stopped."""


class WorkerProcesses:
    """Starts worker processes on devices of this machine.

    Args:
        n_workers: that share its CPU cores.
        stopped_seconds: how long a worker may be stopped before it is ended.
    """

    def __init__(self, *, n_workers: int, stopped_seconds: float = STOPPED_SECONDS) -> None:
        self._threads = max(1, (os.cpu_count() or 1) // n_workers)
        self._stopped_seconds = stopped_seconds

    def start(self, opener: bytes, device: str, inbox: Inbox) -> JobWorker:
        return _WorkerProcess(opener, device, self._threads, inbox)

    def look(self, workers: Iterable[JobWorker]) -> Iterator[str]:
        for worker in workers:
            assert isinstance(worker, _WorkerProcess)
            if worker.stopped_for() >= self._stopped_seconds:
                yield (
                    f"a worker process {worker.place} was stopped by a signal for "
                    f"{self._stopped_seconds:.0f} s; it is ended, and another takes its work"
                )
                worker.process.kill()


class _WorkerProcess:
    """A process on one device, and the batch it has in hand.

    Two threads of the parent communicate with it: a worker that is stopped in the middle of a
    message blocks these only.
    """

    def __init__(self, opener: bytes, device: str, threads: int, inbox: Inbox) -> None:
        context = multiprocessing.get_context("spawn")
        self.device = device
        self.place = f"on {device}"
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
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._send, self._receive)
        ]
        for thread in self._threads:
            thread.start()

    def give(self, batch: Sequence[Any]) -> None:
        self.batch = batch
        self._outbox.put(pack(batch))

    def stopped_for(self) -> float:
        """Seconds for which it was observed to be stopped without a break.

        Always 0 where the system does not report it.
        """
        passed, self._looked = time.monotonic() - self._looked, time.monotonic()
        if _is_stopped(self.process.pid):
            self._stopped_for += min(passed, _LONGEST_LOOK)
        else:
            self._stopped_for = 0.0
        return self._stopped_for

    def stop(self, *, patience: float = 0.0) -> None:
        """An idle worker exits when it is told to; a busy one is killed."""
        self._outbox.put(None)
        if patience and self.ready and self.batch is None:
            self.process.join(timeout=patience)
        self.process.kill()
        self.process.join(timeout=_SECONDS_TO_LEAVE)
        for thread in self._threads:
            thread.join(timeout=_SECONDS_TO_LEAVE)

    def _send(self) -> None:
        with contextlib.suppress(OSError):  # it is gone, which `_receive` reports
            while (batch := self._outbox.get()) is not None:
                self._connection.send_bytes(batch)
            self._connection.send_bytes(pack(None))

    def _receive(self) -> None:
        with self._connection, contextlib.suppress(EOFError, OSError):
            while True:
                self._inbox.put((self, unpack_message(self._connection.recv_bytes())))
        self.process.join(timeout=_SECONDS_TO_LEAVE)
        end = WorkerEnd(f"exit code {self.process.exitcode}")
        self._inbox.put((self, WorkerMessage("gone", end)))


def _is_stopped(pid: int | None) -> bool:
    if pid is None or not hasattr(os, "waitid"):
        return False
    with contextlib.suppress(ChildProcessError):
        return bool(os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT))
    return False


def _serve(opener: bytes, device: str, threads: int, connection: Connection) -> None:
    """The life of a worker process; the opener is unpacked only once the parent is watched."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    parent = multiprocessing.parent_process()
    assert parent is not None
    assert parent.pid is not None
    leave_with_parent(parent.pid)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    with contextlib.suppress(EOFError, ConnectionError):  # the parent has closed the connection
        handler, message = open_handler(opener, device, f"on {device}")
        connection.send_bytes(message)
        if isinstance(handler, StagedHandler):
            _serve_staged(handler, connection)
            return
        while handler is not None and (batch := connection.recv()) is not None:
            connection.send_bytes(respond(handler, batch))


def _serve_staged(handler: StagedHandler, connection: Connection) -> None:
    sending = threading.Lock()

    def send(message: WorkerMessage) -> None:
        content = pack_message(message)
        with sending, contextlib.suppress(ConnectionError):  # the parent is gone
            connection.send_bytes(content)

    with StagedWork(handler, send) as work:
        while (batch := connection.recv()) is not None:
            work.begin(batch)
