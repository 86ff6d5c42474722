"""Verdicts, reports and records as JSON and back; elsewhere they are never dicts.

JSON may come from another version or be untrusted: every key is checked for presence, type and
finiteness, and unknown keys are ignored.
"""

from __future__ import annotations

import functools
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union

from alphabench.types import Report, Verdict

T = TypeVar("T")
Check = Callable[[Any, str], Any]
"""The value that a JSON value under a key stands for, or MalformedError."""


class MalformedError(Exception):
    """JSON that is not what it should be; the message is a clause that names the key."""


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """A line of a verdict file."""
    return {
        "image_id": verdict.image_id,
        "question_id": verdict.question_id,
        "value": verdict.value,
        "status": verdict.status,
        "detail": dict(verdict.detail),
    }


def report_to_json(report: Report) -> dict[str, Any]:
    """What `--json` prints, and what a report file holds."""
    return {
        "benchmark": report.benchmark,
        "split": report.split,
        "protocol": report.protocol,
        "evaluator": report.evaluator,
        "headline": asdict(report.headline),
        "groups": {name: asdict(estimate) for name, estimate in report.groups.items()},
        "coverage": report.coverage,
        "partial": report.partial,
        "bounds": list(report.bounds) if report.bounds else None,
        "statuses": dict(report.statuses),
        "extras": {name: asdict(estimate) for name, estimate in report.extras.items()},
        "withheld": report.withheld,
        "notes": list(report.notes),
    }


def report_from_json(content: Mapping[str, Any]) -> Report:
    """The inverse of `report_to_json`.

    Raises:
        MalformedError: it is none.
    """
    return record_from_json(Report, content)


def record_from_json(kind: type[T], content: Any) -> T:
    """A dataclass of the vocabulary from a JSON object.

    Raises:
        MalformedError: no object, a key is missing, or a value has another type than its field.
    """
    check: Check = _check_of(typing.cast(Any, kind))
    record: T = check(content, "")
    return record


@functools.cache  # a verdict file has a hundred thousand rows of one kind
def _check_of(kind: Any) -> Check:
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if is_dataclass(kind):
        return _record_check(kind)
    if origin in (Union, types.UnionType):
        assert inner[1:] == (type(None),), kind
        return functools.partial(_optional, _check_of(inner[0]))
    checks: dict[Any, Check] = {
        Any: _anything,
        float: _finite,
        Literal: functools.partial(_one_of, inner),
        tuple: functools.partial(_row, inner),
        Sequence: functools.partial(_row, (*inner, ...)),
        Mapping: functools.partial(_table, inner),
    }
    return checks.get(origin) or functools.partial(_plain, kind)


def _record_check(kind: Any) -> Check:
    hints = typing.get_type_hints(kind)
    checks = [
        (one.name, _check_of(hints[one.name]), one.default is one.default_factory is MISSING)
        for one in fields(kind)
    ]

    def check(value: Any, key: str) -> Any:
        if not isinstance(value, dict):
            raise MalformedError(_not(value, key, "an object"))
        values = {}
        for name, inner, is_needed in checks:
            if name in value:
                values[name] = inner(value[name], f"{key}.{name}" if key else name)
            elif is_needed:
                raise MalformedError(f"lacks {f'{key}.{name}' if key else name!r}")
        try:
            return kind(**values)
        except ValueError as error:
            raise MalformedError(f"is refused: {f'{key!r}: ' if key else ''}{error}") from error

    return check


def _anything(value: Any, _key: str) -> Any:
    return value


def _plain(kind: type, value: Any, key: str) -> Any:
    if type(value) is not kind:
        raise MalformedError(_not(value, key, _TYPE_NAMES[kind]))
    return value


def _finite(value: Any, key: str) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise MalformedError(_not(value, key, "a finite number"))
    return float(value)


def _one_of(choices: tuple[Any, ...], value: Any, key: str) -> Any:
    if value not in choices or type(value) is bool:
        raise MalformedError(_not(value, key, f"one of {', '.join(map(repr, choices))}"))
    return value


def _optional(inner: Check, value: Any, key: str) -> Any:
    return None if value is None else inner(value, key)


def _row(kinds: Sequence[Any], value: Any, key: str) -> Any:
    if isinstance(value, list) and kinds[1:] == (...,):
        kinds = (kinds[0],) * len(value)
    if not isinstance(value, list) or len(value) != len(kinds):
        raise MalformedError(_not(value, key, f"a list of {len(kinds)}"))
    return tuple(_check_of(kind)(one, key) for kind, one in zip(kinds, value, strict=True))


def _table(kinds: tuple[Any, Any], value: Any, key: str) -> Any:
    if not isinstance(value, dict):
        raise MalformedError(_not(value, key, "an object"))
    names, values = _check_of(kinds[0]), _check_of(kinds[1])
    return {names(name, key): values(one, f"{key}.{name}") for name, one in value.items()}


_TYPE_NAMES = {int: "a whole number", str: "text", bool: "true or false", type(None): "null"}


def _not(value: Any, key: str, wanted: str) -> str:
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}…"
    return f"is refused: {key!r} is {shown}, not {wanted}" if key else f"is {shown}, not {wanted}"
