"""A request to stop a training early: the running step is abandoned or finished, then all is saved.

It comes with a signal, to one process or to several, and the heartbeats of `rank_watch` spread it.
What has changed no weight is abandoned at once; anything else is finished first, so that what is
saved is always the state between two steps. Knows no file and no collective operation.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType


class StepAbandoned(BaseException):
    """The training was asked to stop. Not an error: no boundary may turn it into a status."""


class StopRequest:
    """Whether one process of a training was asked to stop, and what follows.

    A `Deferral` of `alphabench.core.stopping`: SIGTERM does not unwind a training in force.
    """

    def __init__(self) -> None:
        self.requested = False
        self.saved: str = ""
        """What was saved, in words; empty until the request was carried out."""
        self.useless: Callable[[], bool] = lambda: False
        """Whether no process could save any more, because another one has ended."""
        self._in_force = self._abandons = False

    @property
    def carried_out(self) -> bool:
        """Whether the training has ended as requested."""
        return bool(self.saved)

    def covers(self, by: signal.Signals) -> bool:
        """Whether a training is in force that ends by itself after this signal."""
        return self._in_force and by == signal.SIGTERM

    def begin(self, by: signal.Signals) -> bool:
        """Takes a signal, in the main thread; False: the process must unwind.

        Raises:
            StepAbandoned: inside `abandonable`.
        """
        if not self.covers(by) or (not self.requested and self.useless()):
            return False
        self.requested = True
        if self._abandons:
            raise StepAbandoned
        return True

    def nudge(self) -> None:
        """Passes another process's request on to this one, from a thread; its handler takes it."""
        main = threading.main_thread().ident
        if main is not None and self.covers(signal.SIGTERM) and not self.requested:
            # To the main thread, so that it is woken where it waits for a judge.
            signal.pthread_kill(main, signal.SIGTERM)

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Within it, a request is carried out; once there is one, for good."""
        self._in_force = True
        try:
            yield
        finally:
            self._in_force = self.requested

    def check(self) -> None:
        """Between two pieces of work that have changed no weight.

        Raises:
            StepAbandoned: if there is a request.
        """
        if self.requested:
            raise StepAbandoned

    def abandonable(self) -> Abandonable:
        """Work that may be cut off anywhere: it changes no weight and waits for no process."""
        return Abandonable(self._set_abandons)

    def _set_abandons(self, value: bool) -> None:
        self._abandons = value
        if value:
            self.check()


class Abandonable:
    """The block of `StopRequest.abandonable`."""

    def __init__(self, switch: Callable[[bool], None]) -> None:
        self._switch = switch

    def __enter__(self) -> None:
        try:
            self._switch(True)
        except StepAbandoned:
            self._switch(False)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._switch(False)
