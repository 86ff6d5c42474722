"""Refuses a hosted model that has ended: by its host's list, or else by the table of `retirement`.

OpenAI and Azure document a field `shutdown_date` of each model in `GET {base}/models`: a day, or
null where none is announced. Other hosts list models without it or have no list, and one that does
not answer is not waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import httpx

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.remote import credentials
from alphabench.remote.compression import ACCEPT_ENCODING
from alphabench.remote.endpoint import LOOPBACK, Endpoint
from alphabench.remote.responses import TransientError, read_body
from alphabench.remote.retirement import (
    Retirement,
    base_model,
    retirement_of,
    warning_before,
)

_SECONDS: Final = 10.0
"""For the whole answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """What a host's list says about a model's end."""

    is_stated: bool
    """The entry has a readable `shutdown_date`: a day or null."""
    end: Retirement | None = None
    """None where no day is announced, or nothing is said."""


def check_end(
    endpoint: Endpoint,
    listed: ListedModel | None,
    *,
    today: date,
    part: str,
    is_allowed: bool,
    note: Callable[[str], None],
) -> None:
    """Warn in the last days of the endpoint's model, and refuse it afterwards.

    Args:
        endpoint: the model and its host.
        listed: what the host says; where that is nothing, the table counts.
        today: in UTC.
        part: what the model is used as, `judge` or `checkpoint`.
        is_allowed: warn of a model that has ended, too, instead of refusing it.
        note: takes a sentence for the user.

    Raises:
        AlphaBenchError: it has ended.
    """
    model, host = endpoint.model, endpoint.host
    is_stated = listed is not None and listed.is_stated
    end = listed.end if listed is not None and is_stated else retirement_of(model, host=host)
    try:
        sentence = warning_before(model, end, today, host=host, part=part)
    except AlphaBenchError as error:
        if not is_allowed:
            raise
        sentence = f"{error.message}; it is asked all the same (after_shutdown=allow)"
    if sentence is not None:
        note(sentence)


def listed_model(endpoint: Endpoint, *, key: str | None, today: date) -> ListedModel | None:
    """The entry of the endpoint's model in the host's list; None without list or entry.

    Args:
        endpoint: whose host is asked.
        key: for the host; it is not stored.
        today: in UTC, when the list is read.
    """
    entries = {str(one.get("id")).casefold(): one for one in _entries(endpoint, key)}
    by_base = {base_model(name): one for name, one in entries.items()}
    entry = entries.get(endpoint.model.casefold(), by_base.get(base_model(endpoint.model)))
    if entry is None:
        return None
    value = entry.get("shutdown_date", _ABSENT)
    if value is None:
        return ListedModel(is_stated=True)
    day = _day(value)
    if day is None:
        return ListedModel(is_stated=False)
    return ListedModel(is_stated=True, end=Retirement(on=day, source="the host", read=today))


_ABSENT: Final = object()


def _day(value: object) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _entries(endpoint: Endpoint, key: str | None) -> list[dict[str, Any]]:
    """The objects under `data`; none where the host has no such list."""
    headers = {"Accept-Encoding": ACCEPT_ENCODING, **credentials.headers(endpoint.host, key)}
    # A proxy of the environment cannot reach servers on this machine.
    proxied = endpoint.host not in LOOPBACK
    try:
        with (
            httpx.Client(timeout=_SECONDS, trust_env=proxied, headers=headers) as client,
            client.stream("GET", f"{endpoint.base}/models") as response,
        ):
            content = read_body(response, seconds=_SECONDS)
            if response.status_code != 200:
                return []
        listing = parse_json(content)
    except (httpx.HTTPError, httpx.InvalidURL, TransientError, UnreadableFileError):
        return []
    models = listing.get("data") if isinstance(listing, dict) else None
    return [one for one in models if isinstance(one, dict)] if isinstance(models, list) else []
