"""What a question becomes on the wire, and what an answer says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.checkpoints.http_answers import PassingError
from alphabench.errors import AlphaBenchError
from alphabench.judges.chat import (
    LastingError,
    RateLimitedError,
    one_line,
    read_completion,
    read_refusal,
    request_body,
)
from alphabench.judges.question import Picture, Reply, Sampling
from alphabench.judges.reading import FILTERED, REFUSAL
from tests.judges.conftest import question


def completion(message: dict[str, Any] | None = None, **choice: Any) -> bytes:
    content = {"message": message or {"content": "7"}, "finish_reason": "stop", **choice}
    return json.dumps({"model": "m", "choices": [content]}).encode()


def read(content: bytes) -> Reply:
    return read_completion(content, asked_for="m", clean=str)


def refused(status: int, **error: Any) -> Reply:
    return read_refusal(status, json.dumps({"error": error}).encode(), "m", str)


def test_the_parts_keep_their_order_and_the_system_comes_first(picture: Picture) -> None:
    asked = question(parts=(picture, "one", picture, "two"), system="be brief")
    body = request_body(asked, ["data:a", "data:b"], model="m", fixed={"image_detail": "low"})
    system, user = body["messages"]
    assert system == {"role": "system", "content": "be brief"}
    assert user["content"] == [
        {"type": "image_url", "image_url": {"url": "data:a", "detail": "low"}},
        {"type": "text", "text": "one"},
        {"type": "image_url", "image_url": {"url": "data:b", "detail": "low"}},
        {"type": "text", "text": "two"},
    ]


def test_only_what_the_question_sets_is_sent() -> None:
    bare = question(sampling=Sampling(max_tokens=5, temperature=None))
    body = request_body(bare, [], model="m", fixed={})
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "How many?"}],
        "max_tokens": 5,
    }
    full = Sampling(
        max_tokens=1, top_p=0.5, seed=3, top_logprobs=20, extra={"chat_template_kwargs": {"a": 1}}
    )
    fixed = {"token_field": "max_completion_tokens", "chat_template_kwargs": {}}
    body = request_body(question(sampling=full), [], model="m", fixed=fixed)
    assert body["max_completion_tokens"] == 1
    assert (body["temperature"], body["top_p"], body["seed"]) == (0.0, 0.5, 3)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
    assert body["chat_template_kwargs"] == {"a": 1}


def test_the_alternatives_of_the_first_token_include_the_one_drawn() -> None:
    listed = [{"token": "No", "logprob": -0.5}, {"token": "x", "logprob": float("-inf")}]
    first = {"token": "Yes", "logprob": -1.0, "top_logprobs": listed}
    reply = read(completion(logprobs={"content": [first, {"token": "!", "logprob": 0.0}]}))
    assert reply.first_token == (("No", -0.5), ("Yes", -1.0))
    assert read(completion(logprobs=None)).first_token == ()


def test_refusals_and_filters_are_marked() -> None:
    reply = read(completion({"content": None, "refusal": "I cannot."}))
    assert (reply.finish_reason, reply.text) == (REFUSAL, "I cannot.")
    assert read(completion(finish_reason="content_filter")).finish_reason == FILTERED
    azure = refused(400, code="content_filter", message="policy")
    assert azure.finish_reason == FILTERED


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": null}]}',
     b'{"choices": [{"message": {"content": "7"', b"\xff\xfe", b"null", b'"text"'],
)  # fmt: skip
def test_what_is_no_completion_is_tried_again(content: bytes) -> None:
    with pytest.raises(PassingError):
        read(content)


@given(st.binary(max_size=200))
def test_no_body_at_all_does_harm(content: bytes) -> None:
    with pytest.raises(PassingError):
        read(content)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, {}, RateLimitedError), (503, {}, RateLimitedError), (500, {}, PassingError),
        (408, {}, PassingError), (400, {"message": "too long"}, LastingError),
        (400, {"param": "messages[0].content"}, LastingError),
        (400, {"param": "top_logprobs"}, AlphaBenchError), (401, {}, AlphaBenchError),
        (402, {}, AlphaBenchError), (404, {}, AlphaBenchError), (307, {}, AlphaBenchError),
        (429, {"code": "insufficient_quota"}, AlphaBenchError), (413, {}, LastingError),
    ],
)  # fmt: skip
def test_each_error_concerns_a_try_a_question_or_the_run(
    status: int, error: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        refused(status, **error)


def test_an_error_inside_a_200_counts_as_the_error_that_it_is() -> None:
    with pytest.raises(RateLimitedError):
        read(json.dumps({"error": {"code": 429, "message": "slow"}}).encode())
    with pytest.raises(PassingError):
        read(json.dumps({"error": "boom"}).encode())


def test_reasons_are_one_short_line() -> None:
    assert one_line("a\x1b[31m\r\n\tb\u202e" + "c" * 1000).startswith("a [31m b c")
    assert len(one_line("c" * 1000)) == 300
