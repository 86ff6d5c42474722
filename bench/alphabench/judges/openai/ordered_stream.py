"""Runs coroutines in a background event loop for a plain iterator: bounded, results in order.

The loop runs in its own thread and ends with the iterator, whether that is exhausted, closed or
left by an exception. An error loses no result that was complete or under way. Knows no judge.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class Worker(Protocol[T_contra, R_co]):
    """Does the work inside the loop."""

    async def work(self, rank: int, item: T_contra, /) -> R_co:
        """The result for one item; `rank` counts them from 0."""
        ...

    @property
    def stopped_by(self) -> Exception | None:
        """Why no more work can be done, though every result so far is valid."""
        ...

    async def close(self) -> None:
        """Finish the work that was paid for, drop the rest, free all resources."""
        ...


def in_order(
    items: Iterable[T],
    open_worker: Callable[[], Awaitable[Worker[T, R]]],
    *,
    window: int,
    missed: Callable[[T], R],
) -> Iterator[R]:
    """The result for each item, in order, with at most `window` items under way.

    After an error no further item is started; the results of those under way are still yielded,
    then the error is raised.

    Args:
        items: read as results are consumed; may be endless.
        open_worker: called once, inside the loop.
        window: items started or done whose results are not consumed yet.
        missed: the result in place of one that an error prevented.
    """
    with _Background() as background:
        worker = background.run(_await(open_worker))
        started: deque[tuple[T, Future[R]]] = deque()
        errors: list[Exception] = []

        def first_result() -> R:
            item, future = started.popleft()
            try:
                return future.result()
            except Exception as error:  # noqa: BLE001 - raised again after the other results
                errors.append(error)
                return missed(item)

        try:
            for rank, item in enumerate(items):
                started.append((item, background.begin(worker.work(rank, item))))
                while started and (len(started) >= window or started[0][1].done()):
                    yield first_result()
                if errors or worker.stopped_by is not None:
                    break
            while started:
                yield first_result()
        finally:
            background.run(worker.close())
        if error := next(iter(errors), worker.stopped_by):
            raise error


async def _await(open_worker: Callable[[], Awaitable[R]]) -> R:
    return await open_worker()


class _Background:
    """A thread with an event loop."""

    def __enter__(self) -> _Background:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.run(_cancel_all())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def begin(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        return self.begin(work).result()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
