"""Notices when a process of a training has died, and ends the others with one sentence.

Each process writes a heartbeat to the store that torchrun provides, from a thread of its own. The
first process reads those of all others, and the others read the first one's; who sees a death
records it, and all end. An exception is recorded in the same way before its process ends, so that
the first process can tell it. A heartbeat says how far its process is, too: one whose heartbeat
goes on while its work has stopped is named and ended as well. Knows no collective operation and no
training.
"""

from __future__ import annotations

import atexit
import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphabench.core.locking import is_running
from alphabench.core.terminal import warn
from alphatrainers.rank_activity import ActivityReport, RankActivity, StallWatch
from alphatrainers.stop_request import StopRequest

EXIT_CODE: Final = 2
BEAT_SECONDS: Final = 1.0
LOST_SECONDS: Final = 25.0
"""A process without a heartbeat for so long is dead; so is the store that does not answer."""
START_SECONDS: Final = 300.0
"""For a process until its first heartbeat: it may import libraries from a slow disk."""
TELL_SECONDS: Final = 10.0
"""For the process that tells the user why, before the others end."""
_SIGNAL_SECONDS: Final = 3.0
"""For a process that was stopped by a signal, to say so itself."""
_SAME_ERROR_SECONDS: Final = 0.5
_END_SECONDS: Final = 5.0
"""For the threads of a watch to end, before the process does."""
_CAUSE_SECONDS: Final = 5.0
"""Longer than a heartbeat is missed, for the cause of a failed collective operation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankFailure:
    """Why a training of several processes ends; the first one that is recorded counts."""

    rank: int
    message: str
    hint: str
    kind: str
    """`error`: of that process, which is still there to tell; `lost`: it is gone; `signal`;
    `hung`: it lives and does nothing."""
    ranks: tuple[int, ...] = ()
    """All that hang."""


class RankWatch:
    """The heartbeats of one training, in one of its processes.

    Args:
        store: of the group; this object uses copies of the connection.
        rank: of this process.
        size: of the group.
        end: ends this process at once with an exit code.
        beat_seconds: between two heartbeats.
        lost_seconds: without one until a process is dead.
    """

    def __init__(
        self,
        store: Any,
        *,
        rank: int,
        size: int,
        end: Callable[[int], object] = os._exit,
        beat_seconds: float = BEAT_SECONDS,
        lost_seconds: float = LOST_SECONDS,
    ) -> None:
        self._store, self._main_store = store.clone(), store.clone()
        self._rank, self._size, self._end = rank, size, end
        self._beat_seconds, self._lost_seconds = beat_seconds, lost_seconds
        self._over = threading.Event()
        self._telling, self._told_here = threading.Lock(), threading.Event()
        self._silent: dict[int, tuple[bytes, int]] = {}
        self._unanswered = 0
        self.activity = RankActivity()
        """What this process does; it tells the others with each heartbeat."""
        self._stalls = StallWatch(beat_seconds)
        self._stop: StopRequest | None = None
        self._main_store.set(f"place/{rank}", json.dumps([_machine(), os.getpid()]))
        self._threads = [
            threading.Thread(target=work, name=f"{work.__name__} of ranks", daemon=True)
            for work in (self._beat, self._guard_store)
        ]
        for thread in self._threads:
            thread.start()
        # Python ends a daemon where it stands; inside torch's store, that aborts the process.
        atexit.register(self._end_threads)

    def share(self, stop: StopRequest) -> None:
        """Spreads the request to stop: from this process to all others, and from them here."""
        stop.useless = self._is_broken
        self._stop = stop

    def _is_broken(self) -> bool:
        """Whether a process has ended or failed, so that no collective operation will end."""
        try:
            return self._failure(self._main_store) is not None or bool(self.ended())
        except RuntimeError:  # the store is gone
            return True

    def leave(self) -> None:
        """This process has done its part; the others do not miss it."""
        if not self._over.is_set():
            self._over.set()
            self._main_store.set(f"left/{self._rank}", "1")
            self._end_threads()
            atexit.unregister(self._end_threads)

    def _end_threads(self) -> None:
        self._over.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_END_SECONDS)

    def claim(self) -> bool:
        """Whether the caller may tell the user why the training ends: the first one may."""
        return self._telling.acquire(blocking=False)

    def ended(self) -> list[int]:
        """Ranks on this machine whose processes are gone, without having left."""
        return [rank for rank in range(self._size) if rank != self._rank and self._is_gone(rank)]

    def reason_to_stop(self) -> str | None:
        """For a process that torchrun terminates: which other one ended; None if it was told."""
        try:
            failure, gone = self._failure(self._main_store), self.ended()
            self._main_store.set(f"left/{self._rank}", "1")
        except RuntimeError:  # the store may be gone as well
            failure, gone = None, []
        if not self.claim():
            self._told_here.wait(TELL_SECONDS)
            return None
        self._told_here.set()
        if failure is not None and failure.kind == "error":
            return f"{self._name(failure.rank)}: {failure.message}"
        return f"{self._names(gone)} ended unexpectedly" if gone else ""

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Tells what is raised inside, once for all processes, and ends this one.

        Raises:
            SystemExit: in the place of any exception, once it was told; 2 if the user can fix it.
        """
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            self._record_signal()
            raise
        except Exception as error:
            threading.Thread(target=self._end_late, name="end of ranks", daemon=True).start()
            raise SystemExit(self._report(error)) from error

    def _record_signal(self) -> None:
        """This process was stopped; where torchrun does that, another one may have ended before."""
        own = RankFailure(rank=self._rank, message="", hint="", kind="signal")
        try:
            gone = self.ended()
            self._record(self._lost(*gone) if gone else own)
            self._main_store.set(f"left/{self._rank}", "1")
        except RuntimeError:  # the store is gone
            return

    def _report(self, error: Exception) -> int:
        """Tells an error, or waits until the first process has; the exit code."""
        own = _of_error(self._rank, error)
        cause = self._cause() if _is_lost_contact(error) else None
        if cause is None and _is_bug(error):
            traceback.print_exception(error)
        first = cause or self._record(own)
        if first.message == own.message:
            first = replace(first, rank=self._rank)  # one that all processes have is its own
        if (self._tells(first) or not self._is_told(self._main_store)) and self.claim():
            # In a thread: a signal that comes now ends the main thread wherever it is.
            teller = threading.Thread(target=self._tell, args=(first, self._main_store))
            teller.start()
            teller.join()
        self._told_here.wait(TELL_SECONDS if self._telling.locked() else 0.0)
        return 1 if cause is None and _is_bug(error) else EXIT_CODE

    def _cause(self) -> RankFailure | None:
        """Another process's failure, which a failed collective operation follows from."""
        # Another machine's end is only known from its silence.
        deadline = time.monotonic() + self._lost_seconds + _CAUSE_SECONDS
        while time.monotonic() < deadline:
            try:
                failure = self._failure(self._main_store)
                gone = [] if failure else self.ended()
            except RuntimeError:
                return self._lost(0)
            if failure is not None or gone:
                return failure or self._record(self._lost(*gone))
            time.sleep(0.1)
        return None

    def _beat(self) -> None:
        """The life of the thread that sends heartbeats and looks for those of others."""
        beat = 0
        while not self._over.wait(self._beat_seconds):
            beat += 1
            try:
                self._store.set(f"beat/{self._rank}", f"{beat} {self.activity.report().to_text()}")
                self._spread_stop()
                lost = [rank for rank in self._watched() if self._is_lost(rank)]
                failure = self._failure(self._store)
                if failure is None and lost:
                    failure = self._record(self._lost(*lost), self._store)
                elif failure is None and self._rank == 0 and (hung := self._hung()):
                    failure = self._record(hung, self._store)
            except RuntimeError:
                return  # the other thread ends this process in time
            self._unanswered = 0
            if failure is not None:
                self._end_by(failure)

    def _spread_stop(self) -> None:
        if self._stop is None:
            return
        if self._stop.requested:
            self._store.set("stop", "1")
        elif self._store.check(["stop"]):
            self._stop.nudge()

    def _guard_store(self) -> None:
        """The life of the thread that ends this process where the store does not answer."""
        while not self._over.wait(self._beat_seconds):
            self._unanswered += 1
            if self._unanswered * self._beat_seconds > self._lost_seconds:
                if self.claim():
                    self._tell(self._lost(0), None)
                self._end(EXIT_CODE)

    def _end_by(self, failure: RankFailure) -> None:
        """Ends this process because of another one; the first living one tells why."""
        if failure.rank == self._rank and failure.kind not in {"lost", "hung"}:
            return  # the main thread raises it
        if self._rank in failure.ranks:
            faulthandler.dump_traceback(all_threads=True)
        waits = 2.0 * TELL_SECONDS + _SIGNAL_SECONDS
        self._unanswered = -round(waits / self._beat_seconds)
        # What has come to this process, too, is told by its main thread.
        time.sleep(_SIGNAL_SECONDS if failure.kind == "signal" else _SAME_ERROR_SECONDS)
        if self._tells(failure):
            if failure.kind == "lost":
                self._kill(failure.rank)
            if self.claim():
                self._tell(failure, self._store)
            self._told_here.wait(TELL_SECONDS)
        else:
            self._is_told(self._store)
        self._end(EXIT_CODE)

    def _kill(self, rank: int) -> None:
        """A lost process of this machine may only be suspended; torchrun would wait for it."""
        machine, pid = json.loads(self._store.get(f"place/{rank}"))
        if machine == _machine() and pid != os.getpid():
            with suppress(OSError):  # it is gone, as it should be
                os.kill(pid, signal.SIGKILL)

    def _end_late(self) -> None:
        """A failed process may hang in a library that waits for the others."""
        time.sleep(self._lost_seconds + _CAUSE_SECONDS + 2.0 * TELL_SECONDS)
        self._end(EXIT_CODE)

    def _watched(self) -> Iterator[int]:
        yield from range(1, self._size) if self._rank == 0 else (0,)

    def _is_lost(self, rank: int) -> bool:
        key = f"beat/{rank}"
        beat = self._store.get(key) if self._store.check([key]) else b""
        known, count = self._silent.get(rank, (b"", 0))
        count = count + 1 if beat == known else 0
        self._silent[rank] = beat, count
        # Counted, not timed: while this process is suspended, nothing grows old.
        limit = self._lost_seconds if beat else max(START_SECONDS, self._lost_seconds)
        if count * self._beat_seconds <= limit and not self._is_gone(rank, self._store):
            return False
        return not self._store.check([f"left/{rank}"])

    def _hung(self) -> RankFailure | None:
        """The processes that live and make no progress, this one included."""
        reports = {}
        for rank in range(self._size):
            if self._store.check([f"left/{rank}"]) or not self._store.check([f"beat/{rank}"]):
                continue
            text = self._store.get(f"beat/{rank}").decode().partition(" ")[2]
            reports[rank] = ActivityReport.from_text(text)
        hung = self._stalls.stalled(reports)
        if not hung:
            return None
        machine = json.loads(self._store.get(f"place/{hung[0]}"))[0].partition(" ")[0]
        where = f" on {machine!r}" if len(hung) == 1 else ""
        each = ", ".join(dict.fromkeys(reports[rank].phase for rank in hung))
        have, they = ("has", "it") if len(hung) == 1 else ("have", "they")
        return RankFailure(
            rank=hung[0],
            ranks=tuple(hung),
            message=f"{self._names(hung)}{where} {have} made no progress for "
            f"{_lasted(self._stalls.seconds(hung[0]))}; {they} last began: {each}",
            hint="what each thread does there is in its output; repeat the command with --resume "
            "to continue. If it was only slow, raise training.guards.stalled_seconds",
            kind="hung",
        )

    def _is_gone(self, rank: int, store: Any = None) -> bool:
        """Whether the process was on this machine and does not run any more."""
        store = store or self._main_store
        key = f"place/{rank}"
        if not store.check([key]) or store.check([f"left/{rank}"]):
            return False
        machine, pid = json.loads(store.get(key))
        return machine == _machine() and not is_running(pid)

    def _failure(self, store: Any) -> RankFailure | None:
        if not store.check(["failure"]):
            return None
        return _read_failure(store.get("failure"))

    def _record(self, failure: RankFailure, store: Any = None) -> RankFailure:
        """The failure that counts: this one, or one that was recorded before."""
        try:
            text = (store or self._main_store).compare_set(
                "failure", "", json.dumps(asdict(failure))
            )
        except RuntimeError:  # the store is gone
            return failure
        return _read_failure(text)

    def _lost(self, *ranks: int) -> RankFailure:
        return RankFailure(
            rank=ranks[0],
            message=f"{self._names(list(ranks))} ended unexpectedly",
            hint="was it killed, or short of memory? Its output may say more. Repeat the command "
            "with --resume to continue from the last checkpoint",
            kind="lost",
        )

    def _tells(self, failure: RankFailure) -> bool:
        """Whether this process is the one that tells the user: the first, or the next to it."""
        teller = 1 if failure.rank == 0 and failure.kind == "lost" else 0
        return self._rank == min(teller, self._size - 1)

    def _tell(self, failure: RankFailure, store: Any) -> None:
        """Writes why the training ends to standard error, as the command line does."""
        if sys.stderr.isatty():
            sys.stderr.write("\x1b[?25h")  # a progress display hides the cursor
        message = failure.message
        if failure.kind == "signal":
            message = f"{self._name(failure.rank)} was stopped by a signal"
        elif failure.kind == "error" and failure.rank != self._rank:
            message = f"{self._name(failure.rank)}: {message}"
        warn(f"error: {message}")
        warn(f"hint: {failure.hint or 'repeat the command with --resume to continue'}")
        sys.stderr.flush()
        self._told_here.set()
        with suppress(RuntimeError, AttributeError):  # without a store, nobody waits
            store.set("told", "1")

    def _is_told(self, store: Any) -> bool:
        """Waits until the user was told."""
        deadline = time.monotonic() + TELL_SECONDS
        while time.monotonic() < deadline:
            try:
                if store.check(["told"]):
                    return True
            except RuntimeError:
                return False
            time.sleep(0.05)
        return False

    def _name(self, rank: int) -> str:
        return f"process {rank + 1} of {self._size}"

    def _names(self, ranks: list[int]) -> str:
        if len(ranks) == 1:
            return self._name(ranks[0])
        return f"processes {', '.join(str(rank + 1) for rank in ranks)} of {self._size}"


def _lasted(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _read_failure(text: str | bytes) -> RankFailure:
    values = json.loads(text)
    return RankFailure(**{**values, "ranks": tuple(values["ranks"])})


def _of_error(rank: int, error: Exception) -> RankFailure:
    told = _sentence(error)
    if isinstance(told, AlphaBenchError):
        return RankFailure(rank=rank, message=told.message, hint=told.hint, kind="error")
    return RankFailure(
        rank=rank,
        message=f"{type(error).__name__}: {error}",
        hint="its traceback is above; repeat the command with --resume to continue",
        kind="error",
    )


def _sentence(error: Exception) -> Exception:
    """An error that the user can fix stays; so does one that we must; memory is for the user."""
    if not isinstance(error, torch.OutOfMemoryError | MemoryError):
        return error
    return TrainingStoppedError(
        f"out of memory: {error}",
        hint="lower training.rollout_batch and training.replay_batch, or set "
        "training.recompute=true or training.parallel=shard in a new training",
    )


def _is_lost_contact(error: Exception) -> bool:
    """Whether a collective operation failed, as it does when another process has ended."""
    from torch import distributed

    contact: Any = getattr(distributed, "DistError", ())
    return isinstance(error, contact) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _is_bug(error: Exception) -> bool:
    return not isinstance(_sentence(error), AlphaBenchError)


def _machine() -> str:
    """Tells machines and containers apart: processes with equal numbers are then the same."""
    parts = [socket.gethostname()]
    for file in ("/proc/sys/kernel/random/boot_id",):
        path = Path(file)
        parts += [path.read_text(encoding="ascii").strip()] if path.exists() else []
    spaces = Path("/proc/self/ns/pid")
    parts += [str(spaces.readlink())] if spaces.exists() else []
    return " ".join(parts)
