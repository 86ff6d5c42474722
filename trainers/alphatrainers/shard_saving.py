"""Writes the shards of a checkpoint while the training goes on, in a thread of each process.

The thread writes copies of the process's own parts, and meets those of the other processes in a
group of its own, so that what it waits for is never mistaken for what the training waits for. There
is one checkpoint at a time. Its failure is raised in the training's threads, in all processes at
the same point. `torch.distributed.checkpoint.async_save` is not used: it ends with the parts, while
a checkpoint ends with what the first process adds, and its name. Knows no file.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from torch import Tensor

from alphatrainers.distributed import Processes
from alphatrainers.shards import copied_parts


class ShardSaver:
    """Saves one checkpoint after the other, beside a training.

    Args:
        processes: of the training. All of them call each method at the same point, except
            `wait_alone`.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._apart: Processes | None = None
        self._saving: _Saving | None = None

    def begin(
        self,
        parts: Mapping[str, Tensor],
        write: Callable[[Mapping[str, Tensor], Processes], None],
    ) -> None:
        """Returns once the parts are copied, which may change then.

        Args:
            parts: this process's DTensors.
            write: writes the copies; called in a thread, with the processes as that sees them.

        Raises:
            AlphaBenchError: the checkpoint before could not be written.
        """
        self.finish()
        if self._apart is None:
            self._apart = self._processes.apart()
        copies = copied_parts(parts, self._apart.group)
        self._saving = _Saving(write, copies, self._apart)

    def notice(self) -> None:
        """Finishes a checkpoint that all processes have written; does not wait for it.

        Raises:
            AlphaBenchError: it could not be written.
        """
        if self._saving is not None and all(self._processes.gather(self._saving.is_over)):
            self.finish()

    def finish(self) -> None:
        """Waits until the checkpoint that was begun is written, if there is one.

        Raises:
            AlphaBenchError: it could not be written; earlier ones are intact.
        """
        saving = self._saving
        if saving is not None:
            with self._processes.waiting():
                saving.wait()
            self._saving = None
            self._processes.agree(saving.check)

    def wait_alone(self) -> BaseException | None:
        """Waits in this process, whatever the others do; what its thread raised, if anything."""
        saving, self._saving = self._saving, None
        if saving is None:
            return None
        with self._processes.waiting():
            saving.wait()
        return saving.failure


class _Saving:
    """A checkpoint that a thread writes."""

    def __init__(
        self,
        write: Callable[[Mapping[str, Tensor], Processes], None],
        copies: dict[str, Tensor],
        apart: Processes,
    ) -> None:
        self.failure: BaseException | None = None
        # A daemon: a process that must end does not wait for one that hangs.
        self._thread = threading.Thread(
            target=self._run, args=(write, copies, apart), name="saving a checkpoint", daemon=True
        )
        self._thread.start()

    def _run(
        self,
        write: Callable[[Mapping[str, Tensor], Processes], None],
        copies: dict[str, Tensor],
        apart: Processes,
    ) -> None:
        try:
            write(copies, apart)
        except BaseException as error:  # noqa: BLE001  the training's thread raises it
            self.failure = error
        finally:
            copies.clear()  # the thread's arguments would hold their memory

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> None:
        self._thread.join()

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure
