"""Shares the images and verdicts of a validation over all processes of a training.

An engine of `alphabench.runs.engines`: the first process hands out the batches that it would do
alone, one to each process at a time, and receives the results in that order, so that the run folder
is the same with any number of processes. Each process opens a handler of its own, with the weights
and models that it has loaded already. Images are written by the process that generates them, into
the run folder; everything else by the first one. Knows no benchmark.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, NoReturn, TypeVar

from alphabench.runs.engines import (
    BatchHandler,
    Inbox,
    JobWorker,
    open_handler,
    respond,
    unpack_message,
)
from alphatrainers.distributed import Processes

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Held(Generic[T]):
    """Something that every process has loaded: sent to another one, it becomes that one's own."""

    name: str
    mine: T

    def __call__(self, *, device: str) -> T:
        """As `CheckpointFactory.open` and `Evaluation.open`; it is on the device already."""
        del device
        return self.mine

    def __reduce__(self) -> tuple[object, ...]:
        return _held, (self.name,)


def _held(name: str) -> NoReturn:
    raise RuntimeError(f"{name!r} can only be read by a process of the training")


class _Order(NamedTuple):
    """From the first process to all."""

    kind: Literal["open", "work", "done"]
    opener: bytes = b""
    batches: tuple[Sequence[Any] | None, ...] = ()
    """One for each process."""


@dataclass(slots=True, eq=False)
class RankWorker:
    """One process of the training, as the first one sees it."""

    device: str
    place: str
    batch: Sequence[Any] | None = None
    ready: bool = False
    to_do: Sequence[Any] | None = None
    """The batch in hand, until it is sent."""

    def give(self, batch: Sequence[Any]) -> None:
        """See `JobWorker`."""
        self.batch = self.to_do = batch

    def stop(self, *, patience: float = 0.0) -> None:
        """It goes on to wait for orders."""
        del patience
        self.to_do = None


class RankEngine:
    """Runs the jobs of validations on all processes, in rounds of one batch for each.

    Args:
        processes: of the training.
        device: of this one.
    """

    def __init__(self, processes: Processes, device: str) -> None:
        self._processes, self._device = processes, device
        self._workers: list[RankWorker] = []
        self._opener = b""
        self._inbox: Inbox | None = None
        self._own: Callable[[], Mapping[str, Held[Any]]] = dict
        self._handler: BatchHandler | None = None

    @property
    def devices(self) -> tuple[str, ...]:
        """One for each process, for `Work.devices`."""
        return (self._device,) * self._processes.size

    def lead(self, held: Callable[[], Mapping[str, Held[Any]]], work: Callable[[], T]) -> T:
        """Does work that runs jobs on this engine, in the first process.

        Args:
            held: gives what this process has loaded, by the names in `Held`.
            work: uses this engine.
        """
        self._own = held
        try:
            return work()
        finally:
            self._processes.of_first(_Order("done"))

    def assist(self, held: Callable[[], Mapping[str, Held[Any]]]) -> None:
        """Does what the first process orders while it leads, in each other process.

        Args:
            held: gives what this process has loaded; its errors stop the first one's work.
        """
        self._own = held
        while (order := self._processes.of_first(_Order("done"))).kind != "done":
            self._follow(order)

    def start(self, opener: bytes, device: str, inbox: Inbox) -> RankWorker:
        """See `Engine`; the n-th call is for the n-th process."""
        if opener != self._opener or inbox is not self._inbox:
            self._workers, self._opener, self._inbox = [], opener, inbox
        worker = RankWorker(device, f"of rank {len(self._workers)}")
        self._workers.append(worker)
        return worker

    def look(self, workers: Iterable[JobWorker]) -> Iterable[str]:
        """See `Engine`: a round, when no reply of the last one is left."""
        del workers
        assert self._inbox is not None
        if not self._inbox.empty():
            return ()
        if not any(worker.ready for worker in self._workers):
            asked, order = self._workers, _Order("open", opener=self._opener)
        else:
            asked = [worker for worker in self._workers if worker.to_do is not None]
            self._processes.stop.check()  # while the others wait for an order
            order = _Order("work", batches=tuple(worker.to_do for worker in self._workers))
        replies = self._follow(self._processes.of_first(order))
        for worker, reply in zip(self._workers, replies, strict=True):
            if worker in asked:
                worker.to_do = None
                self._inbox.put((worker, unpack_message(reply)))
        return ()

    def _follow(self, order: _Order) -> list[bytes]:
        """Does this process's part; the replies of all."""
        reply = b""
        self._processes.begins(f"validation, {order.kind}")
        if order.kind == "open":
            place = f"of rank {self._processes.rank}"
            self._handler, reply = open_handler(
                order.opener, self._device, place, unpack=self._unpacked
            )
        elif (batch := order.batches[self._processes.rank]) is not None:
            assert self._handler is not None
            reply = respond(self._handler, batch)
        return self._processes.gather(reply)

    def _unpacked(self, opener: bytes) -> Any:
        own = self._own()

        class OwnUnpickler(pickle.Unpickler):
            def find_class(self, module: str, name: str) -> Any:
                if (module, name) == (__name__, _held.__name__):
                    return own.__getitem__
                return super().find_class(module, name)

        return OwnUnpickler(io.BytesIO(opener)).load()
