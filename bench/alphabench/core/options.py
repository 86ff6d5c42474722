"""Turns text into options: `name?key=value&key=value` and `--set key=value`.

An option is a field of the frozen dataclass of the part that reads it; this module fills such a
dataclass and refuses what does not fit. It knows none of them.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.core.secret_options import refuse_secret

T = TypeVar("T")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def split_spec(spec: str) -> tuple[str, dict[str, str]]:
    """`"scene:?error=0.2"` -> `("scene:", {"error": "0.2"})`.

    Raises:
        AlphaBenchError: an option without `=`.
    """
    name, _, query = spec.partition("?")
    return name, pairs(part for part in query.split("&") if part)


def pairs(assignments: Iterable[str]) -> dict[str, str]:
    """`["steps=20"]` -> `{"steps": "20"}`.

    Raises:
        AlphaBenchError: an assignment without `=`, one key twice, or a secret, which would be
            recorded.
    """
    found: dict[str, str] = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key:
            raise AlphaBenchError(
                f"{assignment!r} is not an assignment", hint="write it as key=value"
            )
        refuse_secret(key, value)
        if key in found:
            raise AlphaBenchError(f"option {key!r} is given twice", hint="give it once")
        found[key] = value
    return found


def fill(options: type[T], values: Mapping[str, str], *, owner: str) -> T:
    """An instance of the dataclass `options`; fields that `values` lacks keep their defaults.

    Args:
        options: a dataclass whose fields are int, float, str, bool, Path, a Literal of strings,
            or one of these or None (written `none`).
        values: text as the user typed it.
        owner: whose options these are, for the error: `"scene:"`.

    Raises:
        AlphaBenchError: an unknown key (with the nearest known one) or a value that does not fit,
            including what the dataclass's own `__post_init__` refuses by ValueError.
    """
    hints = typing.get_type_hints(options)
    known = [f.name for f in dataclasses.fields(options)]  # type: ignore[arg-type]
    typed: dict[str, Any] = {}
    for key, text in values.items():
        if key not in known:
            raise unknown_name(f"option of {owner}", key, known)
        typed[key] = _convert(text, hints[key], f"{owner} option {key!r}")
    try:
        return options(**typed)
    except ValueError as error:
        raise AlphaBenchError(f"{owner}: {error}", hint="correct the option") from error


def json_value(text: str) -> Any:
    """`4` is a number and `{"a": true}` an object; anything that is no JSON is text."""
    try:
        return parse_json(text)
    except UnreadableFileError:
        return text


def _convert(text: str, hint: Any, name: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if text.casefold() == "none":
            return None
        (hint,) = [arm for arm in get_args(hint) if arm is not type(None)]
        origin = get_origin(hint)
    if origin is Literal:
        if text not in get_args(hint):
            raise unknown_name(f"value of {name}", text, get_args(hint))
        return text
    if hint is bool:
        if text.casefold() in (*_TRUE, *_FALSE):
            return text.casefold() in _TRUE
        raise AlphaBenchError(f"{name} cannot be {text!r}", hint="write true or false")
    if hint not in (int, float, str, Path):
        raise TypeError(f"{name}: options of type {hint} are not supported")
    try:
        value = hint(text)
        if hint is float and not math.isfinite(value):
            raise ValueError(text)
        return value
    except ValueError as error:
        wanted = {"int": "a whole number", "float": "a finite number"}[hint.__name__]
        raise AlphaBenchError(f"{name} cannot be {text!r}", hint=f"it takes {wanted}") from error
