"""Processes that torchrun starts again find each other, and nothing of those before them."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from torch import distributed

from alphabench.core.errors import AlphaBenchError
from alphatrainers.rank_store import own_store

SOON = timedelta(seconds=20)


@pytest.fixture
def shared() -> Any:
    store = distributed.TCPStore  # type: ignore[attr-defined]  # torch names no exports
    return store("127.0.0.1", 0, None, True, SOON)


def started(shared: Any, *, size: int) -> list[Any]:
    """The stores of a group that starts, each of a process of its own."""
    found: list[Any] = [None] * size

    def join(rank: int) -> None:
        found[rank] = own_store(shared.clone(), rank=rank, size=size, patience=SOON)

    threads = [threading.Thread(target=join, args=(rank,)) for rank in reversed(range(size))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_what_an_earlier_start_has_written_is_gone(shared: Any) -> None:
    for start in range(4):
        stores = started(shared, size=3)
        assert not stores[1].check(["stop"])
        stores[0].set("stop", str(start))
        assert stores[2].get("stop") == str(start).encode()


def test_one_that_never_came_in_an_earlier_start_confuses_nobody(shared: Any) -> None:
    with pytest.raises(AlphaBenchError, match="not all of the 2 processes"):
        own_store(shared.clone(), rank=0, size=2, patience=timedelta(seconds=0.2))
    with pytest.raises(AlphaBenchError, match="not all of the 2 processes"):
        own_store(shared.clone(), rank=1, size=2, patience=timedelta(seconds=0.2))
    stores = started(shared, size=2)
    stores[0].set("here", "1")
    assert stores[1].check(["here"])
