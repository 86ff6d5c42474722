"""Dictionaries of texts that upstream's scripts assign at their top, read without running them.

A value that is neither a literal nor such a dictionary is left out. Knows no benchmark.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from alphabench.core.errors import AlphaBenchError


def tables_of(source: bytes) -> Mapping[str, Mapping[str, Any]]:
    """Name -> key -> value of each dictionary at module level.

    Raises:
        AlphaBenchError: the source is not Python.
    """
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise AlphaBenchError(
            f"upstream's script cannot be parsed: {error}", hint="fetch it again"
        ) from error
    return {
        target.id: _values(node.value)
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _values(node: ast.Dict) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(value, ast.Constant | ast.Dict):
            found[str(key.value)] = _values(value) if isinstance(value, ast.Dict) else value.value
    return found
