"""Batches in two stages: begun one after the other, and finished in a thread meanwhile.

Generating needs the device, and encoding and writing images does not: so a worker begins its next
batch while the last one is finished. Knows no image and no file.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self, runtime_checkable

from alphabench.core.errors import AlphaBenchError
from alphabench.runs.engines import JobFailure, WorkerMessage

_MOST_UNFINISHED: Final = 2
"""Batches that are begun and not finished, at most: their images are held in memory."""


@runtime_checkable
class StagedHandler(Protocol):
    """A batch handler whose second stage can run in another thread."""

    def __call__(self, batch: Sequence[Any], /) -> Sequence[Any]:
        """Both stages, one after the other."""
        ...

    def begin(self, batch: Sequence[Any], /) -> Any:
        """The first stage, or `FinishedEarly`; never called twice at once."""
        ...

    def finish(self, batch: Sequence[Any], begun: Any, /) -> Sequence[Any]:
        """The second stage, in the order of the first; gives one result for each job."""
        ...


class FinishedEarly(NamedTuple):
    """What `begin` returns where nothing is left for the second stage."""

    results: Sequence[Any]


class _Begun(NamedTuple):
    batch: Sequence[Any]
    begun: Any
    answer: WorkerMessage | None
    """Where there is nothing to finish."""


class StagedWork:
    """Does the batches of one worker. Use as a context manager: its end waits for the thread.

    Args:
        handler: does both stages.
        send: called with the messages about each batch: `free` once another one may begin, and
            later `results`, `failure` or `stop`, in the order of the batches. A batch that failed
            or was finished in its first stage has no `free`. Called from both threads.
    """

    def __init__(self, handler: StagedHandler, send: Callable[[WorkerMessage], None]) -> None:
        self._handler, self._send = handler, send
        self._begun: queue.SimpleQueue[_Begun | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(_MOST_UNFINISHED)
        self._thread = threading.Thread(target=self._finish_all, name="finishing", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._begun.put(None)
        self._thread.join()

    def begin(self, batch: Sequence[Any]) -> bool:
        """The first stage, in this thread; waits while too many are unfinished.

        Returns:
            Whether another batch may begin before this one is answered.
        """
        self._room.acquire()
        begun, answer = None, None
        try:
            begun = self._handler.begin(batch)
        except Exception as error:  # noqa: BLE001 - the boundary: it becomes a message
            answer = _message_of(error)
        if isinstance(begun, FinishedEarly):
            answer = WorkerMessage("results", begun.results)
        if answer is None:
            self._send(WorkerMessage("free"))
        self._begun.put(_Begun(batch, begun, answer))
        return answer is None

    def _finish_all(self) -> None:
        while (one := self._begun.get()) is not None:
            message = one.answer
            if message is None:
                try:
                    message = WorkerMessage("results", self._handler.finish(one.batch, one.begun))
                except Exception as error:  # noqa: BLE001 - the boundary: it becomes a message
                    message = _message_of(error)
            del one  # and its images
            self._room.release()
            self._send(message)


def _message_of(error: Exception) -> WorkerMessage:
    """How a worker reports an error in a batch: a user's mistake stops everything."""
    if isinstance(error, AlphaBenchError):
        return WorkerMessage("stop", error)
    return WorkerMessage("failure", JobFailure.of(error))
