"""Dated API models, when they are switched off, and what their provider names instead.

A literal table, as known on 21 November 2026: developers.openai.com/api/docs/deprecations for
October, and copies of that page for later dates, which providers may change. Knows only the listed
models: any other model, and the same name at any other host, passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from alphabench.core.errors import AlphaBenchError


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """The end of one model at one provider."""

    on: date
    """The first day without it."""
    use: str
    """The replacement that the provider names: another model, so another measurement."""


_NAMED: Final = "gpt-6-luna"
_JANUARY: Final = Retirement(on=date(2027, 1, 14), use=_NAMED)
_APRIL: Final = Retirement(on=date(2027, 4, 14), use=_NAMED)

OPENAI: Final[dict[str, Retirement]] = {
    "gpt-4o-2024-05-13": Retirement(on=date(2026, 10, 23), use=_NAMED),
    "gpt-4o-2024-08-06": _JANUARY,
    "gpt-4o-2024-11-20": _JANUARY,
    "gpt-4o-mini": _JANUARY,
    "gpt-4.1-2025-04-14": _JANUARY,
}
AZURE: Final[dict[str, Retirement]] = {
    "gpt-4o-2024-05-13": Retirement(on=date(2026, 12, 9), use=_NAMED),
    "gpt-4o-2024-08-06": _APRIL,
    "gpt-4o-2024-11-20": _APRIL,
    "gpt-4o-mini": _APRIL,
    "gpt-4.1-2025-04-14": _APRIL,
}
_HOSTS: Final = ((".api.openai.com", OPENAI), (".openai.azure.com", AZURE))


def retirement_of(model: str, *, host: str) -> Retirement | None:
    """When `model` ends at `host`; None where nothing is known."""
    for suffix, table in _HOSTS:
        if f".{host}".endswith(suffix):
            return table.get(model)
    return None


def refuse_if_retired(model: str, today: date, *, host: str) -> None:
    """Call before anything is generated.

    Raises:
        AlphaBenchError: the model is switched off.
    """
    end = retirement_of(model, host=host)
    if end is not None and today >= end.on:
        raise AlphaBenchError(
            f"the judge {model!r} was switched off at {host!r} on {end.on.isoformat()}",
            hint=f"the provider names {end.use!r} instead, which is another measurement; "
            "`alphabench calibrate --judge` measures a judge of your choice",
        )
