"""What a host says about the end of its models comes before what is known here."""

from __future__ import annotations

import socket
from datetime import date
from typing import Any

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.remote.endpoint import Endpoint, parse_endpoint
from alphabench.remote.model_listing import ListedModel, check_end, listed_model
from alphabench.remote.retirement import Retirement
from tests.support.judge_server import JudgeServer, Say, serving

TODAY = date(2026, 11, 29)
PAST, SOON = "2026-11-01", "2026-12-20"
OPENAI = Endpoint(
    base="https://api.openai.com/v1", host="api.openai.com", model="gpt-4o-2024-05-13"
)
"""Ended by what is known here."""


def listed(models: list[dict[str, Any]] | None, model: str = "m") -> ListedModel | None:
    with serving(JudgeServer(lambda _: Say(), models=models)) as server:
        return listed_model(parse_endpoint(f"{server.url}#{model}"), key=None, today=TODAY)


def notes(endpoint: Endpoint, entry: ListedModel | None, *, is_allowed: bool = False) -> list[str]:
    said: list[str] = []
    check_end(endpoint, entry, today=TODAY, part="judge", is_allowed=is_allowed, note=said.append)
    return said


def test_the_day_of_a_host_is_read_from_its_list() -> None:
    entry = listed([{"id": "other", "shutdown_date": PAST}, {"id": "m", "shutdown_date": SOON}])
    assert entry is not None
    assert entry.end == Retirement(on=date(2026, 12, 20), source="the host", read=TODAY)
    assert entry.is_stated


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (None, None),
        ([], None),
        ([{"id": "other", "shutdown_date": PAST}], None),
        ([{"id": "m"}], ListedModel(is_stated=False)),
        ([{"id": "m", "shutdown_date": None}], ListedModel(is_stated=True)),
        ([{"id": "m", "shutdown_date": "soon"}], ListedModel(is_stated=False)),
        ([{"id": "m", "shutdown_date": 20261101}], ListedModel(is_stated=False)),
    ],
)
def test_a_host_without_a_readable_day_states_none(
    models: list[dict[str, Any]] | None, expected: ListedModel | None
) -> None:
    assert listed(models) == expected


def test_names_are_found_with_and_without_the_hosts_prefix_and_exact_ones_first() -> None:
    models: list[dict[str, Any]] = [{"id": "models/gemini-2.5-pro", "shutdown_date": SOON}]
    entry = listed(models, "gemini-2.5-pro")
    assert entry is not None
    assert entry.is_stated
    both: list[dict[str, Any]] = [
        {"id": "a/m", "shutdown_date": PAST},
        {"id": "b/m", "shutdown_date": None},
    ]
    assert listed(both, "b/m") == ListedModel(is_stated=True)


def test_a_host_that_is_away_is_not_waited_for() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    endpoint = parse_endpoint(f"http://127.0.0.1:{port}/v1#m")
    assert listed_model(endpoint, key=None, today=TODAY) is None


def test_the_key_goes_with_the_request() -> None:
    with serving(JudgeServer(lambda _: Say(), models=[])) as server:
        listed_model(parse_endpoint(server.spec), key="sk-1", today=TODAY)
    assert [headers["authorization"] for headers in server.listings] == ["Bearer sk-1"]


def test_what_the_host_states_comes_before_what_is_known_here() -> None:
    with pytest.raises(AlphaBenchError, match="switched off"):
        notes(OPENAI, None)
    with pytest.raises(AlphaBenchError, match="switched off"):
        notes(OPENAI, ListedModel(is_stated=False))
    assert notes(OPENAI, ListedModel(is_stated=True)) == []
    later = Retirement(on=date(2026, 12, 20), source="the host", read=TODAY)
    (sentence,) = notes(OPENAI, ListedModel(is_stated=True, end=later))
    assert "in 21 days" in sentence
    assert "stated by the host" in sentence


def test_a_model_that_has_ended_is_asked_only_by_consent_and_not_in_silence() -> None:
    (sentence,) = notes(OPENAI, None, is_allowed=True)
    assert "after_shutdown=allow" in sentence
