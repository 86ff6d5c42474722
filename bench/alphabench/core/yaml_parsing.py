"""Parses YAML text from any source: the safe loader, no key twice, a bounded number of values.

The bound counts an alias as all that it stands for. Opens no file and knows no setting.
"""

from __future__ import annotations

import math
from typing import Any, Final

import yaml

from alphabench.core.errors import AlphaBenchError

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
