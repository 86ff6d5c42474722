"""What an engine is: a place that runs workers, and the messages that workers send to the driver.

The driver is the process that hands out jobs and writes the run folder. An engine starts workers
for it: processes of this machine (`worker_processes`), or Ray actors of a cluster. Both open the
handler once, do one batch at a time and send the same messages. Knows no queue and no job.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from alphabench.core.errors import AlphaBenchError

BatchHandler = Callable[[Sequence[Any]], Sequence[Any]]
"""Does a batch of jobs: one result for each, in order."""


@dataclass(frozen=True, slots=True)
class JobFailure:
    """Why a batch failed in a worker that is still alive."""

    reason: str
    out_of_memory: bool

    @classmethod
    def of(cls, error: Exception) -> JobFailure:
        """From the exception, whose text is cut to 2,000 characters."""
        name = type(error).__name__
        # By name: the class is torch's, which is not imported here.
        return cls(f"{name}: {error}"[:2000], name in ("OutOfMemoryError", "MemoryError"))


@dataclass(frozen=True, slots=True)
class WorkerEnd:
    """How a worker ended that the driver did not stop."""

    how: str
    """As in brackets after `died`: `exit code -9`."""
    blameless: bool = False
    """Its job cannot have been the cause: its machine is gone."""


@dataclass(frozen=True, slots=True)
class WorkerMessage:
    """A message from a worker to the driver."""

    kind: Literal["ready", "free", "results", "failure", "stop", "gone"]
    """The handler is open; another batch may be given, though the last one is not answered yet; the
    results of the oldest batch that is not answered; a `JobFailure` of it; an `AlphaBenchError`
    that stops everything; a `WorkerEnd`, after which nothing comes from this worker."""
    content: Any = None


class JobWorker(Protocol):
    """One worker, as the driver sees it."""

    device: str
    """Inside the worker: `cpu`, `cuda:0`."""
    place: str
    """For messages, after `the worker process`: `on cuda:1`."""
    batch: Sequence[Any] | None
    """The batch that it has begun, or is to begin; the driver alone changes it."""
    ready: bool
    """The handler is open; the driver alone changes it."""

    def give(self, batch: Sequence[Any]) -> None:
        """Begin a batch; only when it is free, or the previous batch was answered."""

    def stop(self, *, patience: float = 0.0) -> None:
        """End it, whatever it does; an idle one has `patience` seconds to leave by itself."""


Inbox = queue.SimpleQueue[tuple[JobWorker, WorkerMessage]]
"""Where all workers of a driver put their messages."""


class Engine(Protocol):
    """A place that runs workers."""

    def start(self, opener: bytes, device: str, inbox: Inbox) -> JobWorker:
        """Start a worker, without waiting for it.

        Args:
            opener: packed with `pack`; makes the handler on a device.
            device: that the worker opens it on.
            inbox: for its messages: first `ready`, `stop` or `gone`, then one for each batch, in
                order, which `free` may precede.
        """

    def look(self, workers: Iterable[JobWorker]) -> Iterable[str]:
        """Look after these workers, about once a second; yields sentences for the user.

        Raises:
            AlphaBenchError: none of them will ever do anything again.
        """


@runtime_checkable
class RemoteEngine(Engine, Protocol):
    """An engine whose workers are on other machines."""

    def share(self, folder: Path) -> None:
        """Workers that start from now on read and write here; it need not exist yet."""
        ...


def pack(content: object) -> bytes:
    """As it is sent to and from workers."""
    return bytes(ForkingPickler.dumps(content))


def pack_message(message: WorkerMessage) -> bytes:
    """A message as it is sent; of one that cannot be packed, the failure."""
    try:
        return pack(message)
    except Exception as error:  # noqa: BLE001 - the boundary: what fails becomes a Lost job
        return pack(WorkerMessage("failure", JobFailure.of(error)))


def unpack_message(content: bytes) -> WorkerMessage:
    """A message as it was packed; one that cannot be read is a failure."""
    try:
        message: WorkerMessage = ForkingPickler.loads(content)
    except Exception as error:  # noqa: BLE001 - the boundary: what fails becomes a Lost job
        return WorkerMessage("failure", JobFailure.of(error))
    return message


def open_handler(
    opener: bytes,
    device: str,
    place: str,
    *,
    unpack: Callable[[bytes], Any] = ForkingPickler.loads,
) -> tuple[BatchHandler | None, bytes]:
    """In a worker: the handler, and the packed message that says whether it is open."""
    try:
        handler: BatchHandler = unpack(opener)(device)
    except Exception as error:  # noqa: BLE001 - the boundary: what fails becomes a sentence
        return None, pack(WorkerMessage("stop", _in_a_sentence(error, place)))
    return handler, pack(WorkerMessage("ready"))


def _in_a_sentence(error: Exception, place: str) -> AlphaBenchError:
    if isinstance(error, AlphaBenchError):
        return error
    return AlphaBenchError(
        f"the worker process {place} could not start: {JobFailure.of(error).reason}",
        hint="a single worker on this device shows where; is there enough memory for several?",
    )


def respond(handler: BatchHandler, batch: Sequence[Any]) -> bytes:
    """In a worker: the packed answer to a batch."""
    try:
        return pack(WorkerMessage("results", handler(batch)))
    except AlphaBenchError as error:
        return pack(WorkerMessage("stop", error))
    except Exception as error:  # noqa: BLE001 - the boundary: what fails becomes a Lost job
        return pack(WorkerMessage("failure", JobFailure.of(error)))
