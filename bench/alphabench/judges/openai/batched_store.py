"""Stores replies from an event loop without blocking it. Knows no file and no format."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from alphabench.questions import Question, Reply

StoreReplies = Callable[[Sequence[tuple[Question, Reply]]], None]
"""Stores replies; they are durable when it returns."""


class BatchedStore:
    """Calls `store` in a thread; replies that arrive during a call form the next batch."""

    def __init__(self, store: StoreReplies) -> None:
        self._store = store
        self._pending: list[tuple[Question, Reply, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def save(self, question: Question, reply: Reply) -> None:
        """Return once the reply is durable.

        Raises:
            Exception: whatever `store` raised for the batch with this reply.
        """
        saved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((question, reply, saved))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_batches())
        await saved

    async def _write_batches(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            error: Exception | None = None
            try:
                await asyncio.to_thread(self._store, [(q, reply) for q, reply, _ in batch])
            except Exception as caught:  # noqa: BLE001 - every waiting `save` raises it
                error = caught
            for _, _, saved in batch:
                if saved.done():
                    continue
                if error is None:
                    saved.set_result(None)
                else:
                    saved.set_exception(error)
        self._writer = None
