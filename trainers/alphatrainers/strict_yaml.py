"""Applies `key=value` overrides to a training's YAML, fills settings, and writes them as YAML.

`alphabench.core.yaml_parsing` parses the text, and `alphabench.core.strict_filling` decides what a
field accepts. Opens no file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from alphabench.core import strict_filling
from alphabench.core.errors import AlphaBenchError
from alphabench.core.yaml_parsing import Tree, parse_yaml

T = TypeVar("T")


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
