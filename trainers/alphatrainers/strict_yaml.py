"""Parses a training's YAML, applies `key=value` overrides, and writes settings back as YAML.

Text from any source may be parsed: it goes through YAML's safe loader, and the number of values is
bounded, however aliases multiply them. `alphabench.core.strict_filling` decides what a field
accepts. Opens no file.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from alphabench.core import strict_filling
from alphabench.core.errors import AlphaBenchError

T = TypeVar("T")
Tree = dict[str, Any]
_MOST_VALUES: Final = 100_000
"""In one tree, each alias counted as all that it stands for."""


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


def parse_yaml(text: str, *, source: str) -> Tree:
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
        place[last] = parse_yaml(f"value: {text}", source=repr(assignment))["value"]
    return changed


def build_settings(cls: type[T], tree: Mapping[str, Any], *, where: str = "") -> T:
    """An instance of the frozen dataclass `cls`; see `alphabench.core.strict_filling.fill`.

    Raises:
        AlphaBenchError: an unknown key (with the nearest), an absent one without default, a value
            of another type, or what the dataclass's own `__post_init__` refuses by ValueError.
    """
    return strict_filling.fill_dataclass(cls, tree, strict_filling.YAML, path=where)


def to_plain(instance: object) -> Any:
    """What `build_settings` would read again: dicts, lists, numbers and strings."""
    if dataclasses.is_dataclass(instance) and not isinstance(instance, type):
        return {f.name: to_plain(getattr(instance, f.name)) for f in dataclasses.fields(instance)}
    if isinstance(instance, Mapping):
        return {str(key): to_plain(value) for key, value in instance.items()}
    if isinstance(instance, tuple | list):
        return [to_plain(value) for value in instance]
    return str(instance) if isinstance(instance, Path) else instance


def to_yaml(instance: object) -> str:
    """The settings as YAML."""
    return str(yaml.safe_dump(to_plain(instance), sort_keys=False, allow_unicode=True))


def _copied(tree: Tree) -> Tree:
    return {k: _copied(v) if isinstance(v, dict) else v for k, v in tree.items()}
