"""Checks of arguments given from Python: each mistake is one sentence, whatever was passed.

Converts what people pass to what the library takes: paths as text, devices as numbers, options as
values.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.options import option_text
from alphabench.core.secret_options import refuse_secret


def path_or_none(name: str, value: Any) -> Path | None:
    """A path given as text or path.

    Raises:
        AlphaBenchError: it is neither, or empty.
    """
    text = text_or_none(name, value)
    return None if text is None else Path(text).expanduser()


def text_or_none(name: str, value: Any) -> str | None:
    """A text, or a path as text.

    Raises:
        AlphaBenchError: it is neither, or empty.
    """
    if value is None:
        return None
    text = fspath(value) if isinstance(value, PathLike) else value
    if not isinstance(text, str) or not text.strip():
        raise _wrong(name, value, "text or a path")
    return text


def whole_number(name: str, value: Any, *, least: int) -> int:
    """A whole number of at least `least`; numpy's integers are such numbers.

    Raises:
        AlphaBenchError: it is none.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise _wrong(name, value, "a whole number") from None
    if number < least:
        raise AlphaBenchError(
            f"{name} cannot be {number}", hint=f"give a whole number of at least {least}"
        )
    return number


def dollars_or_none(name: str, value: Any) -> float | None:
    """An amount; whether a budget of it is possible is checked where it is used.

    Raises:
        AlphaBenchError: it is no finite number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(name, value, "an amount in US dollars")
    return float(value)


def truth(name: str, value: Any) -> bool:
    """True or False.

    Raises:
        AlphaBenchError: anything else.
    """
    if not isinstance(value, bool):
        raise _wrong(name, value, "True or False")
    return value


def one_of(name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse what is none of the choices.

    Raises:
        AlphaBenchError: it names the nearest choice.
    """
    if not isinstance(value, str):
        raise _wrong(name, value, f"one of {', '.join(choices)}")
    if value not in choices:
        raise unknown_name(name, value, choices)


def device_list(devices: Any) -> str | None:
    """Devices as `--devices` takes them: `0,1` for `[0, 1]`, `cuda:0` for `cuda`.

    Raises:
        AlphaBenchError: they are neither text, numbers, torch devices nor a sequence of these.
    """
    if devices is None:
        return None
    several = isinstance(devices, Iterable) and not isinstance(devices, str)
    chosen = list(devices) if several else [devices]
    if not chosen or any(isinstance(one, bool) for one in chosen):
        raise _wrong("devices", devices, "'cpu', a GPU number, or a list of them")
    return ",".join("cuda:0" if name == "cuda" else name for name in map(str, chosen))


def option_mapping(options: Any) -> dict[str, Any]:
    """Options by name, with their values as given.

    Raises:
        AlphaBenchError: no mapping with texts as keys, or a secret, which would be recorded.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        raise _wrong("options", options, "a mapping such as {'steps': 28}")
    for key, value in options.items():
        refuse_secret(key, option_text(value))
    return dict(options)


def _wrong(name: str, value: Any, wanted: str) -> AlphaBenchError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{type(value).__name__} object"
    return AlphaBenchError(f"{name} cannot be {shown}", hint=f"give {wanted}")
