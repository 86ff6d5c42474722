"""Loading with transformers and diffusers, without their chatter and with nothing left to chance.

Both libraries fill tensors that a checkpoint lacks with random numbers, pass over those that a
model has no place for, and merely log it. A model loaded so would be measured as if it were the one
that was named: fewer layers, quantised weights without their scales, an adapter left out. Here
either is an error.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError

_LOGGERS: Final = ("transformers", "diffusers")
_LACKING: Final = "newly initialized"
"""Stands in the warning of either library about tensors that were missing or of another shape."""
_UNUSED: Final = re.compile(r"were not used when initializing \w+:\s*(.*)", re.DOTALL)
"""Diffusers, about tensors that a model has no place for."""
_ROW: Final = re.compile(r"^(.*?)\s+\|\s*(MISSING|UNEXPECTED|MISMATCH|CONVERSION)\b", re.MULTILINE)
"""Transformers' report is a table of tensors."""
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_HARMLESS: Final = re.compile(
    # Counters and tables that older releases stored and newer ones compute.
    r"(?:.+\.)?(?:position_ids|inv_freq|relative_position_index|num_batches_tracked)"
    # Heads of a model whose body alone is used: they come behind all that it computes.
    r"|lm_head\.weight|(?:text|visual)_projection\.weight|logit_scale"
)
"""Names of tensors that change nothing where a model has no place for them."""
_SHOWS: Final = (
    (
        re.compile(r"weight_scale|scale_weight|scaled_fp8|input_scale|scale_input|comfy_quant"),
        "these are scaled 8-bit weights: take the same checkpoint in bfloat16",
    ),
    (
        re.compile(r"absmax|quant_map|quant_state|\.SCB$|weight_format"),
        "these are weights of bitsandbytes: its config.json needs the quantization_config",
    ),
    (
        re.compile(r"qweight|qzeros|\.scales$|g_idx"),
        "these are GPTQ or AWQ weights: its config.json needs the quantization_config",
    ),
    (
        re.compile(r"lora_|base_layer|\.alpha$|lokr_|hada_"),
        "an adapter was left in the weights: merge it, or give it to --lora",
    ),
)
"""What the names of unused tensors show -> what to do."""
_OTHERWISE: Final = "check that the JSON files belong to these weights, or fetch them again"


def unexpected_tensors(names: Iterable[str]) -> list[str]:
    """Those of the tensors without a place in a model whose absence changes what it computes."""
    return sorted(name for name in names if not _HARMLESS.fullmatch(name))


def unused_error(checkpoint: str, names: list[str]) -> AlphaBenchError:
    """For tensors that a model has no place for.

    Args:
        checkpoint: as the user wrote it.
        names: from `without_place`; at least one.
    """
    hint = next((hint for mark, hint in _SHOWS if any(map(mark.search, names))), _OTHERWISE)
    return AlphaBenchError(
        f"the weights of {checkpoint!r} hold {len(names)} tensors that the model has no place for, "
        f"such as {names[0]!r}",
        hint=hint,
    )


class _Listener(logging.Handler):
    """Keeps what the libraries confess."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lacking: list[str] = []
        self.unused: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = _COLOUR.sub("", record.getMessage())
        rows: list[tuple[str, str]] = _ROW.findall(message)
        self.unused += unexpected_tensors(name for name, status in rows if status == "UNEXPECTED")
        lacking = [name for name, status in rows if status != "UNEXPECTED"]
        if found := _UNUSED.search(message):
            names = [name.strip(" []'\"") for name in found[1].split(",")]
            self.unused += unexpected_tensors(name for name in names if name)
        elif not rows and _LACKING in message:
            lacking = [message.splitlines()[0]]
        self.lacking += [" ".join(name.split())[:300] for name in lacking]


@contextmanager
def strict_loading(name: str) -> Iterator[None]:
    """For the time of loading `name`: no bars on the terminal, no tensor left to chance.

    Raises:
        AlphaBenchError: on leaving, when a tensor of a model was not in its weights, or one of the
            weights has no place in the model.
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
    if listener.lacking:
        raise AlphaBenchError(
            f"the weights of {name!r} lack tensors that the model needs: {listener.lacking[0]}",
            hint="fetch or save the checkpoint again, whole",
        )
    if listener.unused:
        raise unused_error(name, listener.unused)


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
