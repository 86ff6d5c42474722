"""Hosted models that end: when, and where that is stated. Sends nothing.

A literal table, used where a host itself announces no day (`model_listing`). Each row has the page
on which the day was read and when; all were stored copies of those pages. Knows only the listed
models at the listed hosts: any other model, and the same name elsewhere, passes. No row names a
successor: copies of one page differ in it. No rows for Azure: the sources disagree on the day, the
name is that of the user's own deployment, and the host announces the day itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import Final

from alphabench.core.errors import AlphaBenchError

WARNED_BEFORE: Final = timedelta(days=60)
"""How long before its end a model that is still served is warned of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """The end of one model at one provider."""

    on: date
    """The first day without it."""
    source: str
    """The address of the page that states the day, or `the host`."""
    read: date
    """When the source was read."""
    rerouted: bool = False
    """From that day on another model answers under its name, without an error."""


def _rows(
    models: str, on: date, source: str, *, rerouted: bool = False
) -> Mapping[str, Retirement]:
    """One row for each of the models, which are separated by white space."""
    end = Retirement(on=on, source=source, read=_READ, rerouted=rerouted)
    return dict.fromkeys(models.split(), end)


_READ: Final = date(2026, 11, 29)
_OPENAI_PAGE: Final = "https://developers.openai.com/api/docs/deprecations"
_OPENAI_STATES: Final = f"{_OPENAI_PAGE}?translationFallback=zh-Hans"
_OPENAI_LIST: Final = "https://www.w3cschool.cn/openai_api/openai_api-docs-deprecations.html"
"""A copy of OpenAI's page that states the announcements up to 5 November 2026."""
_COMPARED: Final = (
    "https://dev.to/max_bob/openai-api-deprecations-2026-2027-every-shutdown-date-and-"
    "recommended-replacement-gpt-4o-2ffm"
)
"""Compared with GET /v1/models on 27 October 2026: all of 90 days were equal."""
_OCTOBER: Final = (
    "https://dev.to/importstatic/every-openai-model-shutdown-date-until-january-2027-and-what-"
    "replaces-it-1dfk"
)
_DECEMBER: Final = (
    "https://dev.to/aideprecations/what-to-do-before-openai-gpt-5-and-o3-shut-down-on-"
    "december-11-2026-fap"
)
_DALL_E: Final = (
    "https://dev.to/flarecanary/dalle-shuts-down-may-12-the-gpt-image-1-migration-isnt-the-"
    "drop-in-swap-it-looks-like-3p02"
)
_GEMINI_PAGE: Final = (
    "https://dev.to/aideprecations/what-to-do-before-gemini-25-pro-and-25-flash-are-retired-on-"
    "december-1-2026-5gg9"
)
"""Quotes Google's page as of 10 November 2026."""
_GEMINI_CHANGES: Final = "https://ai.google.dev/gemini-api/docs/changelog?authuser=11&hl=es"
_IMAGEN_CHANGES: Final = "https://ai.google.dev/gemini-api/docs/changelog?authuser=00&hl=zh-cn"
_VERTEX: Final = "https://github.com/3DStreet/3dstreet/issues/1890"
"""Quotes Google's notice to its customers."""

OPENAI: Final[Mapping[str, Retirement]] = MappingProxyType(
    {
        **_rows("dall-e-2 dall-e-3", date(2026, 5, 12), _DALL_E),
        **_rows(
            "gpt-4o-2024-05-13 gpt-4-turbo gpt-4-turbo-2024-04-09 gpt-4.1-nano "
            "gpt-4.1-nano-2025-04-14 o1 o1-2024-12-17 o4-mini o4-mini-2025-04-16 gpt-image-1",
            date(2026, 10, 23),
            _OCTOBER,
        ),
        **_rows(
            "gpt-image-1-mini gpt-image-1.5 gpt-image-1.5-2025-12-16 chatgpt-image-latest",
            date(2026, 12, 1),
            _OPENAI_STATES,
        ),
        **_rows(
            "gpt-5 gpt-5-2025-08-07 gpt-5-mini gpt-5-mini-2025-08-07 gpt-5-nano "
            "gpt-5-nano-2025-08-07 gpt-5-pro gpt-5-pro-2025-10-06 o3 o3-2025-04-16 o3-pro "
            "o3-pro-2025-06-10",
            date(2026, 12, 11),
            _DECEMBER,
        ),
        **_rows(
            "gpt-4o-2024-08-06 gpt-4o-2024-11-20 gpt-4o-mini-2024-07-18 gpt-4.1-2025-04-14 "
            "gpt-4.1-mini-2025-04-14",
            date(2027, 1, 14),
            _OPENAI_LIST,
        ),
        # No snapshot that these names could stand for is left on that day.
        **_rows("gpt-4o gpt-4o-mini gpt-4.1 gpt-4.1-mini", date(2027, 1, 14), _COMPARED),
        **_rows("gpt-5.1", date(2027, 4, 1), _COMPARED),
    }
)
GEMINI: Final[Mapping[str, Retirement]] = MappingProxyType(
    {
        **_rows(
            "imagen-4.0-generate-001 imagen-4.0-ultra-generate-001 imagen-4.0-fast-generate-001",
            date(2026, 8, 17),
            _IMAGEN_CHANGES,
        ),
        **_rows(
            "gemini-3.5-flash gemini-3.7-flash", date(2026, 10, 8), _GEMINI_CHANGES, rerouted=True
        ),
        **_rows("gemini-2.5-pro gemini-2.5-flash", date(2026, 12, 1), _GEMINI_PAGE, rerouted=True),
    }
)
VERTEX: Final[Mapping[str, Retirement]] = MappingProxyType(
    _rows("gemini-2.5-pro gemini-2.5-flash gemini-2.5-flash-lite", date(2026, 10, 20), _VERTEX)
)
_HOSTS: Final = (
    ("api.openai.com", OPENAI),
    ("generativelanguage.googleapis.com", GEMINI),
    ("aiplatform.googleapis.com", VERTEX),
)


def base_model(model: str) -> str:
    """The model that a name stands for: without the owner's prefix, and what was fine-tuned.

    `models/gemini-2.5-pro` -> `gemini-2.5-pro`; `ft:gpt-4o-2024-08-06:team::id` ->
    `gpt-4o-2024-08-06`, which ends on the same day.
    """
    name = model.casefold().rpartition("/")[2]
    return name.split(":")[1] if name.startswith("ft:") else name


def retirement_of(model: str, *, host: str) -> Retirement | None:
    """When `model` ends at `host`; None where nothing is known.

    Args:
        model: as it is requested.
        host: name without port; regional ones such as `us-central1-aiplatform.googleapis.com`
            belong to their provider.
    """
    for domain, table in _HOSTS:
        if host == domain or host.endswith((f".{domain}", f"-{domain}")):
            return table.get(base_model(model))
    return None


def warning_before(
    model: str, end: Retirement | None, today: date, *, host: str, part: str
) -> str | None:
    """A sentence in the last 60 days of a model, else None.

    Args:
        model: as it is requested.
        end: of the model, None where it is not known.
        today: in UTC.
        host: where it is requested.
        part: what it is used as, `judge` or `checkpoint`.

    Raises:
        AlphaBenchError: it has ended.
    """
    if end is None or today < end.on - WARNED_BEFORE:
        return None
    if today >= end.on:
        raise AlphaBenchError(
            f"the {part} {model!r} was switched off at {host!r} on {end.on.isoformat()} "
            f"({_stated(end)})" + (", and another model answers since" if end.rerouted else ""),
            hint=f"{_CHOICES[part]}; if it is still served, add the option after_shutdown=allow",
        )
    then = "another model answers under its name" if end.rerouted else "it is switched off"
    days = (end.on - today).days
    return (
        f"the {part} {model!r} ends at {host!r} in {days} day{'s' if days > 1 else ''}: from "
        f"{end.on.isoformat()} on {then} ({_stated(end)}); results that are to be compared with "
        "this one must be made before"
    )


_CHOICES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "judge": "another judge is another measurement, which `alphabench calibrate --judge` "
        "measures; what this one answered before is in its runs",
        "checkpoint": "images that it generated before are in its runs",
    }
)


def _stated(end: Retirement) -> str:
    return f"stated by {end.source}, read on {end.read.isoformat()}"
