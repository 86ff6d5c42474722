"""Runs coroutines in a background event loop for a plain iterator: bounded, results in order.

The loop lives in a thread of its own and ends with the iterator, whether that is used up, closed or
left by an exception. Knows nothing of judges.
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

    async def close(self) -> None:
        """Finish what is worth finishing, drop the rest, free everything."""
        ...


def in_order(
    items: Iterable[T], open_worker: Callable[[], Awaitable[Worker[T, R]]], *, window: int
) -> Iterator[R]:
    """The result for each item, in order, with at most `window` items in hand.

    Args:
        items: read as results are consumed; may be endless.
        open_worker: called once, inside the loop.
        window: items begun or done whose results are not consumed yet.
    """
    with _Background() as background:
        worker = background.run(_opened(open_worker))
        begun: deque[Future[R]] = deque()
        try:
            for rank, item in enumerate(items):
                begun.append(background.begin(worker.work(rank, item)))
                while begun and (len(begun) >= window or begun[0].done()):
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            background.run(worker.close())


async def _opened(open_worker: Callable[[], Awaitable[R]]) -> R:
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
