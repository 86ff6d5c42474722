"""Parses options from text: `name?key=value&key=value` and `--set key=value`.

An option is a field of the frozen dataclass of the part that reads it. Knows none of these
dataclasses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from alphabench.core import strict_filling
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.core.secret_options import refuse_secret

T = TypeVar("T")


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
    options: dict[str, str] = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key:
            raise AlphaBenchError(
                f"{assignment!r} is not an assignment", hint="write it as key=value"
            )
        refuse_secret(key, value)
        if key in options:
            raise AlphaBenchError(f"option {key!r} is given twice", hint="give it once")
        options[key] = value
    return options


def fill(options: type[T], values: Mapping[str, str], *, owner: str) -> T:
    """An instance of the dataclass `options`; see `strict_filling.fill`.

    Args:
        options: a dataclass whose fields are int, float, str, bool, Path, a Literal of strings,
            or one of these or None (written `none`).
        values: text as the user typed it.
        owner: whose options these are, for the error: `"scene:"`.

    Raises:
        AlphaBenchError: an unknown key (with the nearest known one) or a value that does not fit,
            including what the dataclass's own `__post_init__` refuses by ValueError.
    """
    return strict_filling.fill_dataclass(options, values, strict_filling.TEXT, path=owner)


def option_text(value: object) -> str:
    """A value of a recipe as it would be typed after `--set key=`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def json_value(text: str) -> Any:
    """`4` is a number and `{"a": true}` an object; anything that is no JSON is text."""
    try:
        return parse_json(text)
    except UnreadableFileError:
        return text
