"""Errors of hosts, as hosts in the wild write them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx
import pytest

from alphabench.remote.responses import (
    TransientError,
    is_refusal,
    read_body,
    read_error,
    retry_after_seconds,
)


@pytest.mark.parametrize(
    "word",
    ["content_policy_violation", "moderation_blocked", "ResponsibleAIPolicyViolation", "SAFETY",
     "data_inspection_failed", "DataInspectionFailed", "PROHIBITED_CONTENT", "IMAGE_SAFETY",
     "BLOCKLIST", "SPII", "RECITATION", "InputTextSensitiveContentDetected", "sensitive",
     "guardrail_intervened", "refusal", "invalid_prompt", "Content Moderated", "contentFilter"],
)  # fmt: skip
def test_a_content_filter_is_recognised_by_all_its_names(word: str) -> None:
    assert is_refusal(word)


@pytest.mark.parametrize(
    "word", [None, "", "stop", "length", "invalid_request_error", "rate_limit_exceeded", "error"]
)
def test_an_ordinary_code_is_not_a_refusal(word: str | None) -> None:
    assert not is_refusal(word)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "litellm.ContentPolicyViolationError: AzureException", "code": "400"},
        {"message": "no", "code": 403, "metadata": {"reasons": ["violence"]}},
        {"message": "no", "innererror": {"code": "ResponsibleAIPolicyViolation"}},
        {"message": "Input data may contain inappropriate content.", "code": "1"},
        {"message": "Your request was rejected as a result of our safety system."},
    ],
)
def test_a_gateway_that_says_it_elsewhere_declines_too(error: dict[str, Any]) -> None:
    assert read_error(json.dumps({"error": error}).encode()).declines


def test_an_error_about_a_field_declines_nothing() -> None:
    error = read_error(b'{"error": {"message": "size is not case sensitive", "param": "None"}}')
    assert not error.declines
    assert error.param is None


def test_a_list_of_details_names_its_first_field() -> None:
    error = read_error(b'{"detail": [{"loc": ["body", "size"], "msg": "Field required"}]}')
    assert (error.param, error.message) == ("size", "size: Field required")


def test_an_error_nested_without_end_is_its_own_message() -> None:
    assert read_error(b"[" * 100_000).message.startswith("[[[")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("-3", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("nan", None),
        ("soon", None),
    ],
)
def test_a_wait_is_read_in_either_form_or_not_at_all(text: str, seconds: float | None) -> None:
    assert retry_after_seconds(httpx.Headers({"retry-after": text}), 10.0) == seconds


def test_a_body_that_drips_without_end_is_given_up() -> None:
    clock = itertools.count(0.0, 10.0)
    response = httpx.Response(200, content=itertools.repeat(b"x"))
    with pytest.raises(TransientError, match="did not end within 90 s"):
        read_body(response, seconds=90.0, now=lambda: next(clock))
