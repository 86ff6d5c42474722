"""Loading with transformers and diffusers, without their chatter and without invented weights.

Both libraries fill tensors that a checkpoint lacks with random numbers and merely log it; a model
loaded so would be measured as if it were the real one. Here that is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from alphabench.errors import AlphaBenchError

_CONFESSION: Final = "newly initialized"
"""Stands in the warning of either library about tensors that were missing or of another shape."""
_LOGGERS: Final = ("transformers", "diffusers")


class _Listener(logging.Handler):
    """Keeps the first line of each message that confesses."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if _CONFESSION in message:
            missing = [line for line in message.splitlines() if "MISSING" in line and "|" in line]
            first = missing[0].partition("|")[0] if missing else message.splitlines()[0]
            self.heard.append(" ".join(first.split())[:300])


@contextmanager
def strict_loading(name: str) -> Iterator[None]:
    """For the time of loading `name`: no bars on the terminal, no tensor left to chance.

    Raises:
        AlphaBenchError: on leaving, when a tensor of a model was not in its weights.
    """
    listener = _Listener()
    loggers = [logging.getLogger(one) for one in _LOGGERS]
    before = [(logger.level, logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        # In place of the library's own handler, or the whole report would stand on the terminal.
        logger.setLevel(logging.WARNING)
        logger.handlers, logger.propagate = [listener], False
    try:
        with _no_bars():
            yield
    finally:
        for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.handlers, logger.propagate = handlers, propagate
    if listener.heard:
        raise AlphaBenchError(
            f"the weights of {name!r} lack tensors that the model needs: {listener.heard[0]}",
            hint="fetch or save the checkpoint again, whole",
        )


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Keeps a library's remarks below errors off the terminal; ours is the only progress there."""
    loggers = [logging.getLogger(name) for name in names or _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logger.level, logging.ERROR))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _no_bars() -> Iterator[None]:
    import diffusers.utils.logging as diffusers_logging
    import transformers.utils.logging as transformers_logging

    switches: tuple[Any, ...] = (diffusers_logging, transformers_logging)
    shown = [switch.is_progress_bar_enabled() for switch in switches]
    for switch in switches:
        switch.disable_progress_bar()
    try:
        yield
    finally:
        for switch, on in zip(switches, shown, strict=True):
            if on:
                switch.enable_progress_bar()
