"""The part of torchrun's store that belongs to one start of a training's processes.

torchrun keeps its store from one restart to the next, and nodes may count their restarts
differently, so that what an earlier start has written cannot be told by a number. Here the
processes find each other by tokens that no earlier one can have written. Knows no training.
"""

from __future__ import annotations

import json
import time
import uuid
from datetime import timedelta
from typing import Any

from torch import distributed

from alphabench.core.errors import AlphaBenchError

_LOOK_SECONDS = 0.02


def own_store(store: Any, *, rank: int, size: int, patience: timedelta) -> Any:
    """The store with a prefix of its own for this start, once all processes are there.

    Args:
        store: of torchrun.
        rank: of this process.
        size: of the group.
        patience: how long to wait for the others.

    Raises:
        AlphaBenchError: they did not come.
    """
    token, deadline = uuid.uuid4().hex, time.monotonic() + patience.total_seconds()
    store.set(f"token/{rank}", token)
    found: list[str] | None = None
    while True:
        tokens = _tokens(store, size) if rank == 0 else _published(store)
        if tokens != found and tokens is not None and len(tokens) == size:
            # The first process publishes the tokens that it sees; some may be of an earlier start.
            if rank == 0:
                store.set("tokens", json.dumps(tokens))
            if tokens[rank] == token:
                found = tokens
                store.set(f"agreed/{token}", json.dumps(tokens))
        if found is not None and all(_agrees(store, one, found) for one in found):
            break
        if time.monotonic() > deadline:
            raise AlphaBenchError(
                f"not all of the {size} processes have come within {patience}",
                hint="look at the output of the other machines, then give the same command again",
            )
        time.sleep(_LOOK_SECONDS)
    prefixed = distributed.PrefixStore  # type: ignore[attr-defined]  # torch names no exports
    return prefixed(found[0], store)


def _tokens(store: Any, size: int) -> list[str] | None:
    keys = [f"token/{rank}" for rank in range(size)]
    return [store.get(key).decode() for key in keys] if store.check(keys) else None


def _published(store: Any) -> list[str] | None:
    return json.loads(store.get("tokens")) if store.check(["tokens"]) else None


def _agrees(store: Any, token: str, tokens: list[str]) -> bool:
    """Whether the process of a token goes by the same ones."""
    key = f"agreed/{token}"
    return bool(store.check([key])) and json.loads(store.get(key)) == tokens
