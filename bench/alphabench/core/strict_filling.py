"""Fills frozen dataclasses from mappings: options as text, JSON objects and YAML trees.

The one place that decides what a field accepts. A key without a field is an error that names the
nearest field, because otherwise a typo would silently leave the default in force. Knows no
dataclass of ours and opens no file.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin

from alphabench.core.errors import AlphaBenchError, unknown_name

T = TypeVar("T")
_LONGEST: Final = 80
"""Characters of a value that a message repeats."""
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_EXPECTED: Final = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    Path: "a path",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one kind of source writes values, and what its errors call them."""

    scalar: Callable[[Any, type], Any]
    """The value for a field of type bool, int, float, str or Path; ValueError if it has none."""
    is_none: Callable[[Any], bool]
    """Whether a value stands for None in a field that may be None."""
    unknown_key: str
    """What an unknown key is called; `{path}` is the object that holds it."""
    unknown_choice: str
    """What a value outside of a Literal is called; `{path}` is its field."""
    field: str
    """What a field is called, by `{path}` and `{name}`."""
    example: str
    """How a missing field would be written, by `{name}`."""
    noun: str
    """What a hint tells the user to correct."""


def fill_dataclass(
    cls: type[T], values: Mapping[str, Any], dialect: Dialect, *, path: str = ""
) -> T:
    """An instance of the dataclass `cls`; absent keys keep their defaults.

    Args:
        cls: a dataclass whose fields are bool, int, float, str, Path, a Literal, another such
            dataclass, one of these or None, a tuple of one of these, or a mapping from str to one
            of these.
        values: by field name.
        dialect: of the source: `TEXT`, `JSON` or `YAML`.
        path: names the object in errors; empty for a whole tree.

    Raises:
        AlphaBenchError: an unknown key (with the nearest), an absent one without default, a value
            of another type, or what the dataclass's own `__post_init__` refuses by ValueError.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    owner = path or "the top level"
    for key in values:
        if key not in fields:
            error = unknown_name(dialect.unknown_key.format(path=owner), str(key), fields)
            if deeper := _elsewhere(cls, str(key), path) if dialect.field == _DOTTED else []:
                error = AlphaBenchError(
                    error.message, hint=f"did you mean {' or '.join(map(repr, deeper[:3]))}?"
                )
            raise error
    typed = {
        name: _value(values[name], hints[name], dialect, _field_path(dialect, path, name))
        for name in fields
        if name in values
    }
    for name, field in fields.items():
        if name not in typed and _is_required(field):
            example = dialect.example.format(name=name)
            raise AlphaBenchError(f"{owner} lacks {name!r}", hint=f"add `{example}`")
    try:
        return cls(**typed)
    except ValueError as error:
        # A refusal that begins with a field's name gets the whole path of that field.
        named = re.match(r"\w+", str(error))
        if dialect.field == _DOTTED and named is not None and named[0] in fields:
            message = _field_path(dialect, path, str(error))
        else:
            message = f"{owner}: {error}"
        raise AlphaBenchError(message, hint=f"correct the {dialect.noun}") from error


def _elsewhere(cls: type[Any], key: str, path: str) -> list[str]:
    """Paths of the fields of that name in the objects within, the nearest first."""
    within = []
    for name, hint in typing.get_type_hints(cls).items():
        arms = [hint, *get_args(hint)] if get_origin(hint) in (Union, types.UnionType) else [hint]
        for arm in arms:
            if isinstance(arm, type) and dataclasses.is_dataclass(arm):
                within.append((arm, f"{path}.{name}".lstrip(".")))
    found = [
        f"{place}.{key}"
        for arm, place in within
        if key in {f.name for f in dataclasses.fields(arm)}
    ]
    return found + [one for arm, place in within for one in _elsewhere(arm, key, place)]


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.init and field.default is missing and field.default_factory is missing


def _field_path(dialect: Dialect, path: str, name: str) -> str:
    return dialect.field.format(path=path, name=name).lstrip(".")


def _value(value: Any, hint: Any, dialect: Dialect, path: str) -> Any:
    origin, arms = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if dialect.is_none(value):
            return None
        (inner,) = [arm for arm in arms if arm is not types.NoneType]
        return _value(value, inner, dialect, path)
    if origin is Literal:
        if value not in arms:
            kind = dialect.unknown_choice.format(path=path)
            raise unknown_name(kind, str(value), map(str, arms))
        return value
    if origin is tuple:
        return _tuple(value, arms, dialect, path)
    if origin is None:
        return _plain(value, hint, dialect, path)
    if issubclass(origin, Mapping):
        return {
            str(key): _value(inner, arms[1], dialect, f"{path}.{key}")
            for key, inner in _mapping(value, path).items()
        }
    raise TypeError(f"{path}: settings of type {hint} are not supported")


def _plain(value: Any, hint: Any, dialect: Dialect, path: str) -> Any:
    if hint is Any or hint is object:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return fill_dataclass(hint, _mapping(value, path), dialect, path=path)
    if hint not in _EXPECTED:
        raise TypeError(f"{path}: settings of type {hint} are not supported")
    try:
        return dialect.scalar(value, hint)
    except ValueError as error:
        raise _refusal(value, path, _EXPECTED[hint]) from error


def _tuple(value: Any, arms: tuple[Any, ...], dialect: Dialect, path: str) -> tuple[Any, ...]:
    endless = arms[1:] == (...,)
    if not isinstance(value, list) or not (endless or len(value) == len(arms)):
        raise _refusal(value, path, "a list" if endless else f"a list of {len(arms)}")
    hints = [arms[0]] * len(value) if endless else arms
    return tuple(
        _value(item, hint, dialect, f"{path}[{index}]")
        for index, (item, hint) in enumerate(zip(value, hints, strict=True))
    )


def _mapping(value: Any, path: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _refusal(value, path, "a mapping")
    return value


def _refusal(value: Any, path: str, expected: str) -> AlphaBenchError:
    text = repr(value)
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
    return AlphaBenchError(f"{path} cannot be {text}", hint=f"it takes {expected}")


def _from_text(text: str, kind: type) -> Any:
    if kind is bool:
        if text.casefold() not in (*_TRUE, *_FALSE):
            raise ValueError(text)
        return text.casefold() in _TRUE
    value = kind(text)
    if kind is float and not math.isfinite(value):
        raise ValueError(text)
    return value


def _from_json(value: Any, kind: type) -> Any:
    # A whole number stays one in a float field: identities record it as it was written.
    accepted = (int, float) if kind is float else (kind,)
    if type(value) not in accepted or (kind is float and not math.isfinite(value)):
        raise ValueError(value)
    return value


def _from_yaml(value: Any, kind: type) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    if kind is float and isinstance(value, str):
        value = float(value)  # YAML 1.1 reads 1e-5 as a string
    checked = _from_json(value, kind)
    return float(checked) if kind is float else checked


_DOTTED: Final = "{path}.{name}"

TEXT: Final = Dialect(
    scalar=_from_text,
    is_none=lambda text: text.casefold() == "none",
    unknown_key="option of {path}",
    unknown_choice="value of {path}",
    field="{path} option {name!r}",
    example="{name}=...",
    noun="option",
)
"""What a user types as `key=value`; `none` stands for None."""
JSON: Final = Dialect(
    scalar=_from_json,
    is_none=lambda value: value is None,
    unknown_key="setting of {path}",
    unknown_choice="value of {path}",
    field="{name} in {path}",
    example='"{name}": ...',
    noun="file",
)
"""The content of a file that came with other files, such as a checkpoint's."""
YAML: Final = Dialect(
    scalar=_from_yaml,
    is_none=lambda value: value is None,
    unknown_key="setting at {path}",
    unknown_choice="choice for {path}",
    field=_DOTTED,
    example="{name}: ...",
    noun="setting",
)
"""A tree of settings; nested objects have dotted paths."""
