"""How processes end: a command that is told to stop, a child whose parent is gone.

A first SIGINT, SIGTERM or SIGHUP unwinds the main thread. Where that takes longer than
`GRACE_SECONDS` (a library that loads weights, threads that wait for a server), and at a second
signal, the process ends as it is: every result is on disk before the next one is begun, so nothing
that was done is lost. Knows nothing of what a command does.
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
from typing import Final

GRACE_SECONDS: Final = 2.0
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DONE: Final = b"\0"
_PR_SET_PDEATHSIG: Final = 1
"""Of Linux' prctl(2)."""


class Stopping:
    """Watches for signals while a command runs.

    Args:
        say: tells the user, once, that the command was stopped by a signal; may be called in
            another thread.
        grace_seconds: for the main thread to unwind.
    """

    def __init__(
        self, say: Callable[[signal.Signals], None], *, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self.signal: signal.Signals | None = None
        """The one that stopped the command; its exit code is 128 more."""
        self._say = say
        self._grace_seconds = grace_seconds
        self._telling = threading.Lock()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within, the first signal raises KeyboardInterrupt or, if not SIGINT, SystemExit.

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
        heard = [one for one in SIGNALS if before[one] != signal.SIG_IGN]
        os.set_blocking(writer, False)
        wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        watch = threading.Thread(target=self._end_in_time, args=(reader,), daemon=True)
        watch.start()
        try:
            for one in heard:
                signal.signal(one, self._unwind)
            yield
        finally:
            if self.signal is None:
                for one in heard:
                    signal.signal(one, before[one])
                signal.set_wakeup_fd(wakeup)
                os.write(writer, _DONE)
                watch.join()
                os.close(reader)
                os.close(writer)

    def leave(self) -> None:
        """End the process where a signal has unwound it; does nothing where none has come.

        What is registered with `atexit` runs; threads are not waited for, and large libraries not
        taken down piece by piece.
        """
        if self.signal is None:
            return
        self._tell(self.signal)
        atexit._run_exitfuncs()
        os._exit(128 + self.signal)

    def _tell(self, by: signal.Signals) -> None:
        if self._telling.acquire(blocking=False):
            self._say(by)

    def _unwind(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal is not None:
            return
        self.signal = signal.Signals(number)
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    def _end_in_time(self, reader: int) -> None:
        """In a thread of its own, woken by the system when a signal comes."""
        (first,) = os.read(reader, 1)
        while first not in (*_DONE, *SIGNALS):
            (first,) = os.read(reader, 1)
        if first in _DONE:
            return
        deadline = time.monotonic() + self._grace_seconds
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([reader], [], [], left)
            if ready and os.read(reader, 1)[0] in SIGNALS:
                break
        self._tell(signal.Signals(first))
        os._exit(128 + first)


def leave_with_parent(parent: int) -> None:
    """End this process when its parent ends, however that ends.

    On Linux the system sees to it, also while this process is stopped; elsewhere a thread looks
    once a second.

    Args:
        parent: its process number. If it has gone already, this process ends at once.
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
