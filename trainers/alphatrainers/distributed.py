"""The processes that train together: sums, collections, waiting. One process needs no setup.

Launched by torchrun; the backend is nccl on CUDA devices and gloo elsewhere. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed.rendezvous import rendezvous

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphatrainers.rank_watch import RankWatch

T = TypeVar("T")
PATIENCE: Final = timedelta(hours=6)
"""Longest wait for another process that lives, e.g. while its judge is away. `rank_watch` notices
one that has died."""
JOIN_PATIENCE: Final = timedelta(minutes=10)
"""For the store of the group, until all processes have been started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """This process among all of them; alone by default."""

    rank: int = 0
    size: int = 1
    watch: RankWatch | None = None
    """Ends this process when another one has died; None for a process alone."""

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part: every `size`-th one, so that any number of processes has all."""
        return list(items[self.rank :: self.size])

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank. Small Python objects only."""
        if self.size == 1:
            return [value]
        gathered: list[T | None] = [None] * self.size
        distributed.all_gather_object(gathered, value)
        return gathered  # type: ignore[return-value]  # every entry is filled by now

    def of_first(self, value: T) -> T:
        """The first process's value, in all. Python objects only."""
        if self.size == 1:
            return value
        sent = [value]
        distributed.broadcast_object_list(sent, src=0)
        return sent[0]

    def agree(self, work: Callable[[], T]) -> T:
        """Does the work in each process; if it fails in one, all raise, and none waits for ever.

        Raises:
            AlphaBenchError: what this process's work raised.
            TrainingStoppedError: if the work of another process failed.
        """
        result: T | None = None
        failure: AlphaBenchError | None = None
        try:
            result = work()
        except AlphaBenchError as error:
            failure = error
        told = self.gather((failure.message, failure.hint) if failure else None)
        for rank, of_rank in enumerate(told):
            if of_rank is not None:
                where = f"process {rank + 1} of {self.size}: " if self.size > 1 else ""
                raise failure or TrainingStoppedError(where + of_rank[0], hint=of_rank[1])
        return result  # type: ignore[return-value]  # without failure there is a result

    def copy_from_first(self, tensor: Tensor) -> None:
        """Overwrites the tensor with the first process's."""
        if self.size > 1:
            distributed.broadcast(tensor, src=0)

    def wait(self) -> None:
        """Until all have come here."""
        self.gather(None)

    def reporting(self) -> AbstractContextManager[None]:
        """Within it, an exception of one process ends all; see `rank_watch`."""
        return nullcontext() if self.watch is None else self.watch.reporting()


def join(device: torch.device) -> Processes:
    """Joins the group that torchrun launched; alone if it did not launch us.

    Args:
        device: this process's own, e.g. `cuda:3` for local rank 3.
    """
    if not distributed.is_torchelastic_launched():
        return Processes()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if distributed.is_initialized():
        return Processes(rank=distributed.get_rank(), size=distributed.get_world_size())
    store, rank, size = next(rendezvous("env://", timeout=JOIN_PATIENCE))
    watch = RankWatch(store, rank=rank, size=size) if size > 1 else None
    # Python objects go through gloo, so that they need no memory of a GPU.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=PATIENCE
    )
    return Processes(rank=rank, size=size, watch=watch)


def leave(together: Processes) -> None:
    """Ends what `join` began; does nothing for a process alone."""
    if together.watch is not None:
        together.watch.leave()
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
