"""Strict, quiet loading with transformers and diffusers: no missing, no unexpected tensors.

Both libraries initialise tensors that are missing in a checkpoint at random, ignore those that the
model does not use, and merely log it. The result is another model than the named one: fewer layers,
quantised weights without their scales, an adapter left out. Here either is an error.
"""

from __future__ import annotations

import importlib
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError

_LOGGERS: Final = ("transformers", "diffusers")
_MISSING: Final = "newly initialized"
"""Part of the warning of either library about tensors that were missing or of another shape."""
_UNUSED: Final = re.compile(r"were not used when initializing \w+:\s*(.*)", re.DOTALL)
"""Diffusers' warning about unexpected tensors."""
_ROW: Final = re.compile(r"^(.*?)\s+\|\s*(MISSING|UNEXPECTED|MISMATCH|CONVERSION)\b", re.MULTILINE)
"""Transformers' report is a table of tensors."""
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_HARMLESS: Final = re.compile(
    # Counters and tables that older releases stored and newer ones compute.
    r"(?:.+\.)?(?:position_ids|inv_freq|relative_position_index|num_batches_tracked)"
    # Heads of a model of which only the body is used.
    r"|lm_head\.weight|(?:text|visual)_projection\.weight|logit_scale"
)
"""Names of unexpected tensors that change no result."""
_HINTS: Final = (
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
"""Pattern in the names of unexpected tensors -> the hint."""
_DEFAULT_HINT: Final = "check that the JSON files belong to these weights, or fetch them again"


def unexpected_tensors(names: Iterable[str]) -> list[str]:
    """Those of the unexpected tensors that would change what the model computes."""
    return sorted(name for name in names if not _HARMLESS.fullmatch(name))


def unused_error(checkpoint: str, names: list[str]) -> AlphaBenchError:
    """The error for unexpected tensors.

    Args:
        checkpoint: as the user wrote it.
        names: from `without_place`; at least one.
    """
    hint = next((hint for mark, hint in _HINTS if any(map(mark.search, names))), _DEFAULT_HINT)
    return AlphaBenchError(
        f"the weights of {checkpoint!r} hold {len(names)} tensors that the model does not use, "
        f"such as {names[0]!r}",
        hint=hint,
    )


class _WarningCollector(logging.Handler):
    """Collects the libraries' warnings about tensors."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.missing: list[str] = []
        self.unused: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = _COLOUR.sub("", record.getMessage())
        rows: list[tuple[str, str]] = _ROW.findall(message)
        self.unused += unexpected_tensors(name for name, status in rows if status == "UNEXPECTED")
        missing = [name for name, status in rows if status != "UNEXPECTED"]
        if match := _UNUSED.search(message):
            names = [name.strip(" []'\"") for name in match[1].split(",")]
            self.unused += unexpected_tensors(name for name in names if name)
        elif not rows and _MISSING in message:
            missing = [message.splitlines()[0]]
        self.missing += [" ".join(name.split())[:300] for name in missing]


@contextmanager
def strict_loading(name: str) -> Iterator[None]:
    """While `name` is loaded: no progress bars, and no missing or unexpected tensors.

    Raises:
        AlphaBenchError: on leaving, when a tensor of a model was not in its weights, or one of the
            weights is not used by the model.
    """
    listener = _WarningCollector()
    loggers = [logging.getLogger(one) for one in _LOGGERS]
    before = [(logger.level, logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        # Instead of the library's handler, which would print the complete report.
        logger.setLevel(logging.WARNING)
        logger.handlers, logger.propagate = [listener], False
    try:
        with _no_progress_bars():
            yield
    finally:
        for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.handlers, logger.propagate = handlers, propagate
    if listener.missing:
        raise AlphaBenchError(
            f"the weights of {name!r} are incomplete; the model needs: {listener.missing[0]}",
            hint="fetch or save the complete checkpoint again",
        )
    if listener.unused:
        raise unused_error(name, listener.unused)


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Silences a library's messages below errors, so that only AlphaBench's progress is printed."""
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
def _no_progress_bars() -> Iterator[None]:
    # What loads a pipeline has imported diffusers, which takes seconds.
    names = _LOGGERS if "diffusers" in sys.modules else ("transformers",)
    switches: list[Any] = [importlib.import_module(f"{name}.utils.logging") for name in names]
    shown = [switch.is_progress_bar_enabled() for switch in switches]
    for switch in switches:
        switch.disable_progress_bar()
    try:
        yield
    finally:
        for switch, on in zip(switches, shown, strict=True):
            if on:
                switch.enable_progress_bar()
