"""Ranks of a training as threads of one process, for tests of what they send each other."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from alphatrainers.distributed import Processes

T = TypeVar("T")


@dataclass
class _Table:
    """Where ranks lay down what they send; everything is pickled on the way."""

    size: int
    values: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.size, timeout=30.0)

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self.values[rank] = pickle.dumps(value)
        self.barrier.wait()
        found = [pickle.loads(self.values[other]) for other in range(self.size)]
        self.barrier.wait()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadRank(Processes):
    """One rank of several."""

    table: _Table = field(default_factory=lambda: _Table(1))

    def of_first(self, value: T) -> T:
        found: T = self.table.exchange(self.rank, value)[0]
        return found

    def gather(self, value: T) -> list[T]:
        return self.table.exchange(self.rank, value)


def at_once(size: int, work: Callable[[Processes], T]) -> list[T]:
    """What each rank's work gives; raises what the first of them raised."""
    table = _Table(size)
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def of_rank(rank: int) -> None:
        try:
            results[rank] = work(ThreadRank(rank=rank, size=size, table=table))
        except BaseException as error:  # noqa: BLE001  the test's thread raises it
            errors.append(error)
            table.barrier.abort()

    threads: Sequence[threading.Thread] = [
        threading.Thread(target=of_rank, args=(rank,)) for rank in range(size)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [results[rank] for rank in range(size)]
