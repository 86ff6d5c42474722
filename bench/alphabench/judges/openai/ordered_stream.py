"""Runs coroutines in a background event loop for a plain iterator: bounded, results in order.

The loop lives in a thread of its own and ends with the iterator, whether that is used up, closed or
left by an exception. An error costs no result that was there or under way. Knows nothing of judges.
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
        """Why nothing more can be done, though every result so far is good."""
        ...

    async def close(self) -> None:
        """Finish what is worth finishing, drop the rest, free everything."""
        ...


def in_order(
    items: Iterable[T],
    open_worker: Callable[[], Awaitable[Worker[T, R]]],
    *,
    window: int,
    missed: Callable[[T], R],
) -> Iterator[R]:
    """The result for each item, in order, with at most `window` items in hand.

    After an error no further item is begun; the results of those in hand are still given, and the
    error is raised behind them.

    Args:
        items: read as results are consumed; may be endless.
        open_worker: called once, inside the loop.
        window: items begun or done whose results are not consumed yet.
        missed: what stands in the place of a result that an error cost.
    """
    with _Background() as background:
        worker = background.run(_opened(open_worker))
        begun: deque[tuple[T, Future[R]]] = deque()
        errors: list[Exception] = []

        def first_result() -> R:
            item, future = begun.popleft()
            try:
                return future.result()
            except Exception as error:  # noqa: BLE001 - raised again when the others are given
                errors.append(error)
                return missed(item)

        try:
            for rank, item in enumerate(items):
                begun.append((item, background.begin(worker.work(rank, item))))
                while begun and (len(begun) >= window or begun[0][1].done()):
                    yield first_result()
                if errors or worker.stopped_by is not None:
                    break
            while begun:
                yield first_result()
        finally:
            background.run(worker.close())
        if error := next(iter(errors), worker.stopped_by):
            raise error


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
