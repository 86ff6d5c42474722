"""Reads a training's YAML strictly into frozen dataclasses; knows none of them.

A key that no field has is an error that names the nearest one: otherwise a typo trains with the
default and nobody notices. `key=value` on the command line changes the tree before it is read.
Opens no file. Text from anywhere may be read: YAML's safe loader, and no more values than a recipe
can need, however its aliases multiply them.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin

import yaml

from alphabench.core.errors import AlphaBenchError, unknown_name

T = TypeVar("T")
Tree = dict[str, Any]
_MOST_VALUES: Final = 100_000
"""In one tree, each alias counted as all that it stands for."""
_LONGEST: Final = 80
"""Characters of a value that a message repeats."""


class _StrictLoader(yaml.SafeLoader):
    """YAML's own safe loader, which also refuses a key that is written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            # Merges of merges grow without bound before anything can count them.
            raise AlphaBenchError("the merge key `<<` is not read", hint="write its keys out")
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            line = node.start_mark.line + 1
            raise AlphaBenchError(
                f"{sorted(map(str, twice))} is written twice below line {line}", hint="keep one"
            )
        return super().construct_mapping(node, deep=deep)


def parse(text: str, *, source: str) -> Tree:
    """The tree of a YAML text.

    Raises:
        AlphaBenchError: if it is no YAML, has a key twice, is no mapping, or is too large.
    """
    too_large = AlphaBenchError(
        f"{source} is nested too deeply, or holds too many values or too large a number",
        hint="write the settings alone, without aliases",
    )
    try:
        tree = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  a subclass of the safe loader
        if _n_values(tree) > _MOST_VALUES:
            raise too_large
    except yaml.YAMLError as error:
        raise AlphaBenchError(
            f"{source} is not YAML: {_fault(error)}", hint="correct it"
        ) from error
    except (ValueError, TypeError) as error:  # what looks like a date or a number and is none
        raise AlphaBenchError(f"{source} is not YAML: {error}", hint="correct it") from error
    except RecursionError as error:
        raise too_large from error
    if not isinstance(tree, dict):
        raise AlphaBenchError(f"{source} holds no settings", hint="write `key: value` lines")
    return tree


def _n_values(tree: Any) -> int:
    """How many values a tree holds when all its aliases are written out."""
    sizes: dict[int, float] = {}

    def size(value: Any) -> float:
        if not isinstance(value, dict | list):
            # An integer of thousands of digits cannot even be printed.
            return math.inf if isinstance(value, int) and value.bit_length() > 63 else 1.0
        if id(value) not in sizes:
            sizes[id(value)] = math.inf  # for an alias inside of what it stands for
            inside = value.values() if isinstance(value, dict) else value
            sizes[id(value)] = 1.0 + sum(map(size, inside))
        return sizes[id(value)]

    return int(min(size(tree), 2.0 * _MOST_VALUES))


def _fault(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        where = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
        return f"{error.problem} ({where})"
    return " ".join(str(error).split())


def override(tree: Tree, assignments: Iterable[str]) -> Tree:
    """A copy of the tree with `a.b=value` applied; values are read as YAML.

    Raises:
        AlphaBenchError: for an assignment without `=`, a key that is given twice, or a way through
            something that has no keys.
    """
    changed: Tree = _copied(tree)
    given: set[str] = set()
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        *path, last = key.split(".")
        if not (separator and last and all(path)):
            raise AlphaBenchError(
                f"{assignment!r} is not an assignment", hint="write it as key=value"
            )
        if key in given:
            raise AlphaBenchError(f"{key!r} is given twice", hint="give it once")
        given.add(key)
        place = changed
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise AlphaBenchError(
                    f"{assignment!r}: {part!r} is a value and has no keys", hint="set it itself"
                )
        place[last] = parse(f"value: {text}", source=repr(assignment))["value"]
    return changed


def build(cls: type[T], tree: Mapping[str, Any], *, where: str = "") -> T:
    """An instance of the frozen dataclass `cls`; absent keys keep their defaults.

    Fields are bool, int, float, str, Path, a Literal, another such dataclass, one of these or None,
    a tuple of one of these, or a mapping from str to one of these.

    Raises:
        AlphaBenchError: an unknown key (with the nearest), an absent one without default, a value
            of another type, or what the dataclass's own `__post_init__` refuses by ValueError.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    place = where or "the top level"
    for key in tree:
        if key not in fields:
            raise unknown_name(f"setting at {place}", str(key), fields)
    values = {
        name: _value(tree[name], hints[name], f"{where}.{name}".lstrip("."))
        for name in fields
        if name in tree
    }
    absent = [name for name, f in fields.items() if name not in values and _required(f)]
    if absent:
        raise AlphaBenchError(f"{place} lacks {absent[0]!r}", hint=f"add `{absent[0]}: ...`")
    try:
        return cls(**values)
    except ValueError as error:
        # A refusal that begins with a field's name gets the whole way to that field.
        named = re.match(r"\w+", str(error))
        if named is not None and named[0] in fields:
            said = f"{where}.{error}".lstrip(".")
        else:
            said = f"{place}: {error}"
        raise AlphaBenchError(said, hint="correct the setting") from error


def plain(settings: object) -> Any:
    """What `build` would read again: dicts, lists, numbers and strings."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return {f.name: plain(getattr(settings, f.name)) for f in dataclasses.fields(settings)}
    if isinstance(settings, Mapping):
        return {str(key): plain(value) for key, value in settings.items()}
    if isinstance(settings, tuple | list):
        return [plain(value) for value in settings]
    return str(settings) if isinstance(settings, Path) else settings


def write(settings: object) -> str:
    """The settings as YAML."""
    return str(yaml.safe_dump(plain(settings), sort_keys=False, allow_unicode=True))


def _copied(tree: Tree) -> Tree:
    return {k: _copied(v) if isinstance(v, dict) else v for k, v in tree.items()}


def _required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.init and field.default is missing and field.default_factory is missing


def _value(value: Any, hint: Any, where: str) -> Any:
    origin, arms = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (hint,) = [arm for arm in arms if arm is not types.NoneType]
        return _value(value, hint, where)
    if origin is Literal:
        if value not in arms:
            raise unknown_name(f"choice for {where}", str(value), map(str, arms))
        return value
    if origin is tuple:
        return _tuple(value, arms, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        items = _mapping(value, where).items()
        return {str(key): _value(v, arms[1], f"{where}.{key}") for key, v in items}
    return _scalar(value, hint, where)


def _tuple(value: Any, arms: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    endless = arms[1:] == (...,)
    if not isinstance(value, list) or not (endless or len(value) == len(arms)):
        raise _refused(value, where, "a list" if endless else f"a list of {len(arms)}")
    each = [arms[0]] * len(value) if endless else arms
    return tuple(
        _value(v, h, f"{where}[{i}]") for i, (v, h) in enumerate(zip(value, each, strict=True))
    )


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _refused(value, where, "a mapping")
    return value


def _scalar(value: Any, hint: Any, where: str) -> Any:
    if hint is Any or hint is object:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, _mapping(value, where), where=where)
    if hint is float and isinstance(value, str):
        value = _number(value, where)  # YAML 1.1 reads 1e-5 as a string
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value).expanduser()
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    if hint is Path:
        raise _refused(value, where, "a path")
    if hint not in wanted:
        raise TypeError(f"{where}: settings of type {hint} are not supported")
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        raise _refused(value, where, wanted[hint])
    return value


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise _refused(text, where, "a number") from error


def _refused(value: Any, where: str, wanted: str) -> AlphaBenchError:
    shown = repr(value)
    shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]} ..."
    return AlphaBenchError(f"{where} cannot be {shown}", hint=f"it takes {wanted}")
