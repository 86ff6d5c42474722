"""The processes that train together: sums, collections, waiting. One process needs no setup.

Launched by torchrun; the backend is nccl on CUDA devices and gloo elsewhere. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed.rendezvous import rendezvous

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphatrainers.rank_activity import RankActivity
from alphatrainers.rank_store import own_store
from alphatrainers.rank_watch import RankWatch
from alphatrainers.stop_request import StepAbandoned, StopRequest

T = TypeVar("T")
PATIENCE: Final = timedelta(hours=6)
"""Longest wait for another process that lives, e.g. while its judge is away. `rank_watch` notices
one that has died or hangs."""
JOIN_PATIENCE: Final = timedelta(minutes=10)
"""For the store of the group, until all processes have been started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """This process among all of them; alone by default."""

    rank: int = 0
    size: int = 1
    watch: RankWatch | None = None
    """Ends this process when another one has died; None for a process alone."""
    stop: StopRequest = field(default_factory=StopRequest)
    """Whether the training was asked to stop."""
    group: Any = None
    """torch's group of them, which collective operations use; None is the one that `join` made."""

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
            with self.waiting():
                distributed.all_reduce(tensor, group=self.group)
        return tensor

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank. Small Python objects only."""
        if self.size == 1:
            return [value]
        gathered: list[T | None] = [None] * self.size
        with self.waiting():
            distributed.all_gather_object(gathered, value, group=self.group)
        return gathered  # type: ignore[return-value]  # every entry is filled by now

    def of_first(self, value: T) -> T:
        """The first process's value, in all. Python objects only."""
        if self.size == 1:
            return value
        sent = [value]
        with self.waiting():
            distributed.broadcast_object_list(sent, src=0, group=self.group)
        return sent[0]

    def agree(self, work: Callable[[], T]) -> T:
        """Does the work in each process; if it fails in one, all raise, and none waits for ever.

        Raises:
            AlphaBenchError: what this process's work raised.
            TrainingStoppedError: if the work of another process failed.
            StepAbandoned: if a process has abandoned its work, and none failed.
        """
        result: T | None = None
        failure: AlphaBenchError | None = None
        abandoned = False
        try:
            result = work()
        except AlphaBenchError as error:
            failure = error
        except StepAbandoned:
            abandoned = True
        told = self.gather((failure.message, failure.hint) if failure else abandoned)
        for rank, of_rank in enumerate(told):
            if isinstance(of_rank, tuple):
                where = f"process {rank + 1} of {self.size}: " if self.size > 1 else ""
                raise failure or TrainingStoppedError(where + of_rank[0], hint=of_rank[1])
        if any(told):
            raise StepAbandoned
        return result  # type: ignore[return-value]  # without failure there is a result

    def copy_from_first(self, tensor: Tensor) -> None:
        """Overwrites the tensor with the first process's."""
        if self.size > 1:
            with self.waiting():
                distributed.broadcast(tensor, src=0, group=self.group)

    def wait(self) -> None:
        """Until all have come here."""
        self.gather(None)

    def waiting(self) -> AbstractContextManager[None]:
        """Within it, this process waits for the others."""
        return nullcontext() if self.watch is None else self.watch.activity.waiting()

    def apart(self) -> Processes:
        """The same processes in a group of their own, for a thread; all call it at once.

        What the thread waits for there meets nothing that the main threads wait for. Values are
        those of the CPU. It takes no part in stops, and its waits are not those of the process.
        """
        group: Any = distributed.new_group(backend="gloo", timeout=PATIENCE)
        return replace(self, group=group, watch=None, stop=StopRequest())

    @property
    def activity(self) -> RankActivity | None:
        """What this process does, for the others; None for a process alone."""
        return None if self.watch is None else self.watch.activity

    def begins(self, phase: str) -> None:
        """Tells the others that this process begins something that no display shows."""
        if self.watch is not None:
            self.watch.activity.begin(phase)

    @contextmanager
    def expecting_progress(self, *, stalled_seconds: float, judge_seconds: float) -> Iterator[None]:
        """Within it, a process that makes no progress for so long ends all; see `rank_activity`."""
        if self.watch is None:
            yield
            return
        activity = self.watch.activity
        activity.judge_seconds, activity.stalled_seconds = judge_seconds, stalled_seconds
        try:
            yield
        finally:
            activity.stalled_seconds = 0.0

    def defer_signals(self) -> StopRequest:
        """The request that this process's handler of SIGTERM takes; all processes share theirs."""
        if self.watch is not None:
            self.watch.share(self.stop)
        return self.stop

    def reason_to_stop(self) -> str | None:
        """What stopped this process, if that was no person; None if the user was told before."""
        if self.stop.carried_out:
            return f"terminated {self.stop.saved}"
        return "" if self.watch is None else self.watch.reason_to_stop()

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
    store = own_store(store, rank=rank, size=size, patience=JOIN_PATIENCE)
    watch = RankWatch(store, rank=rank, size=size) if size > 1 else None
    distributed.init_process_group(
        _backend(device), store=store, rank=rank, world_size=size, timeout=PATIENCE
    )
    return Processes(rank=rank, size=size, watch=watch)


def require_group(device: torch.device) -> None:
    """Makes a group of this process alone, unless it is in one: shards need a group."""
    if not distributed.is_initialized():
        store = distributed.HashStore()  # type: ignore[attr-defined]  # torch does not say so
        distributed.init_process_group(_backend(device), store=store, rank=0, world_size=1)


def _backend(device: torch.device) -> str:
    # Python objects go through gloo, so that they need no memory of a GPU.
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"


def leave(together: Processes) -> None:
    """Ends what `join` began; does nothing for a process alone."""
    if together.watch is not None:
        together.watch.leave()
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
