"""Ends processes: a command that receives a signal, a child whose parent has ended.

A first SIGINT, SIGTERM or SIGHUP unwinds the main thread. If that takes longer than
`GRACE_SECONDS` (a library that loads weights, threads that wait for a server), or at a second
signal, the process ends at once: a result is recorded once it is on disk, so nothing that was
recorded is lost. A command may defer a signal: it then ends by itself, in its own time. Knows
nothing of what a command does.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final, Protocol

GRACE_SECONDS: Final = 2.0
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
UNDER_TORCHRUN: Final = "TORCHELASTIC_RUN_ID"
"""torchrun sets it in the environment of its processes."""
_DONE: Final = b"\0"
_UNWINDS: Final = b"\xff"
"""A signal that was to be deferred is not."""
_PR_SET_PDEATHSIG: Final = 1
"""Of Linux' prctl(2)."""


class Deferral(Protocol):
    """A command that ends by itself after a signal, once it has saved what it did."""

    @property
    def carried_out(self) -> bool:
        """Whether it has ended so, after a SIGTERM."""
        ...

    def covers(self, by: signal.Signals) -> bool:
        """Whether it would end by itself now; called in any thread."""
        ...

    def begin(self, by: signal.Signals) -> bool:
        """A signal came; called in the main thread. False: it cannot, and unwinds."""
        ...


class Stopping:
    """Watches for signals while a command runs.

    Args:
        report: informs the user, once, that a signal stopped the command; may be called in
            another thread.
        grace_seconds: for the main thread to unwind.
        deferral: gives the command's, if it has one.
    """

    def __init__(
        self,
        report: Callable[[signal.Signals], None],
        *,
        grace_seconds: float = GRACE_SECONDS,
        deferral: Callable[[], Deferral | None] = lambda: None,
    ) -> None:
        self._deferral = deferral
        self._wake: Callable[[], object] = lambda: None
        self.signal: signal.Signals | None = None
        """The signal that stopped the command; the exit code is 128 more."""
        self._report = report
        self._grace_seconds = grace_seconds
        self._reporting = threading.Lock()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within the block, the first signal raises KeyboardInterrupt (SIGINT) or SystemExit.

        A signal that was ignored before (`nohup`) stays ignored. Outside the main thread, and where
        the system has no pipe left for it, nothing is watched. Once a signal has come, the watch
        goes on until the process has ended.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        try:
            reader, writer = os.pipe()
        except OSError:  # too many open files, which the command itself will report
            yield
            return
        before = {one: signal.getsignal(one) for one in SIGNALS}
        watched = [one for one in SIGNALS if before[one] != signal.SIG_IGN]
        os.set_blocking(writer, False)
        self._wake = lambda: os.write(writer, _UNWINDS)
        wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        watch = threading.Thread(target=self._end_in_time, args=(reader,), daemon=True)
        watch.start()
        try:
            for one in watched:
                signal.signal(one, self._unwind)
            yield
        finally:
            if self.signal is None:
                for one in watched:
                    signal.signal(one, before[one])
                signal.set_wakeup_fd(wakeup)
                os.write(writer, _DONE)
                watch.join()
                os.close(reader)
                os.close(writer)

    def leave(self) -> None:
        """End the process if a signal has unwound it; does nothing otherwise.

        What is registered with `atexit` runs; threads are not waited for, and large libraries are
        not shut down.
        """
        deferral = self._deferral()
        if self.signal is None and deferral is not None and deferral.carried_out:
            self.signal = signal.SIGTERM
        if self.signal is None:
            return
        self._report_once(self.signal)
        atexit._run_exitfuncs()
        os._exit(128 + self.signal)

    def _report_once(self, by: signal.Signals) -> None:
        if self._reporting.acquire(blocking=False):
            self._report(by)

    def _unwind(self, number: int, frame: FrameType | None) -> None:
        del frame
        by, deferral = signal.Signals(number), self._deferral()
        if self.signal is not None or (deferral is not None and deferral.begin(by)):
            return
        self.signal = by
        self._wake()
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    def _is_deferred(self, number: int) -> bool:
        deferral = self._deferral()
        if self.signal is not None or deferral is None or number not in SIGNALS:
            return False
        return deferral.covers(signal.Signals(number))

    def _end_in_time(self, reader: int) -> None:
        """Runs in a separate thread, which the system wakes when a signal comes."""
        (first,) = os.read(reader, 1)
        while first not in (*_DONE, *_UNWINDS, *SIGNALS) or self._is_deferred(first):
            (first,) = os.read(reader, 1)
        if first in _DONE:
            return
        first = self.signal or first
        deadline = time.monotonic() + self._grace_seconds
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([reader], [], [], left)
            if ready and os.read(reader, 1)[0] in SIGNALS:
                break
        self._report_once(signal.Signals(first))
        os._exit(128 + first)


def leave_with_parent(parent: int) -> None:
    """End this process when its parent ends, for whatever reason.

    On Linux the system does this, even while this process is suspended; elsewhere a thread checks
    once a second.

    Args:
        parent: its process number. If it has ended already, this process ends at once.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, name="leave with parent", daemon=True).start()
