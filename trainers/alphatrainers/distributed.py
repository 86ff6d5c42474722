"""The processes that train together: sums, collections, waiting. One process needs no setup.

Launched by torchrun; the backend is nccl on CUDA devices and gloo elsewhere. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

import torch
from torch import Tensor, distributed

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError

T = TypeVar("T")
PATIENCE: Final = timedelta(hours=6)
"""A validation of the first process may take long; the others wait for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """This process among all of them; alone by default."""

    rank: int = 0
    size: int = 1

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
        if any(self.gather(failure is not None)):
            raise failure or TrainingStoppedError("another process stopped", hint="see its message")
        return result  # type: ignore[return-value]  # without failure there is a result

    def copy_from_first(self, tensor: Tensor) -> None:
        """Overwrites the tensor with the first process's."""
        if self.size > 1:
            distributed.broadcast(tensor, src=0)

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            distributed.barrier()


def join(device: torch.device) -> Processes:
    """Joins the group that torchrun launched; alone if it did not launch us.

    Args:
        device: this process's own, e.g. `cuda:3` for local rank 3.
    """
    if not distributed.is_torchelastic_launched():
        return Processes()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=PATIENCE)
    return Processes(rank=distributed.get_rank(), size=distributed.get_world_size())


def leave() -> None:
    """Ends what `join` began; does nothing for a process alone."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
