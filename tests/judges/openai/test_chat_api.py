"""What a question becomes on the wire, and what an answer says."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.openai.chat_api import (
    GeneralError,
    LastingError,
    RateLimitedError,
    read_completion,
    read_refusal,
    request_body,
)
from alphabench.judges.parsing import FILTERED, REFUSAL
from alphabench.questions import ImagePart, Reply, ReplySampling
from alphabench.remote.responses import TransientError
from tests.judges.conftest import question


def completion(message: dict[str, Any] | None = None, **choice: Any) -> bytes:
    content = {"message": message or {"content": "7"}, "finish_reason": "stop", **choice}
    return json.dumps({"model": "m", "choices": [content]}).encode()


def read(content: bytes) -> Reply:
    return read_completion(content, model="m", clean=str)


def refused(status: int, **error: Any) -> Reply:
    return read_refusal(status, json.dumps({"error": error}).encode(), "m", str)


def test_the_system_text_can_be_a_part_as_some_scripts_send_it() -> None:
    plain = question(system="be brief")
    parts = dataclasses.replace(plain, system_as_parts=True)
    body = request_body(parts, ["data:a"], model="m", fixed={})
    told = {"role": "system", "content": [{"type": "text", "text": "be brief"}]}
    assert body["messages"][0] == told
    assert parts.content_digest != plain.content_digest


def test_the_parts_keep_their_order_and_the_system_comes_first(picture: ImagePart) -> None:
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
    bare = question(sampling=ReplySampling(max_tokens=5, temperature=None))
    body = request_body(bare, [], model="m", fixed={})
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "How many?"}],
        "max_tokens": 5,
    }
    full = ReplySampling(
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
     b'{"choices": [{"message": {"content": "7"', b"\xff\xfe", b"null", b'"text"',
     b"[" * 200_000, b'{"a":' * 200_000],
)  # fmt: skip
def test_what_is_no_completion_is_tried_again(content: bytes) -> None:
    with pytest.raises(TransientError):
        read(content)


@pytest.mark.parametrize(
    "choice",
    [
        {"finish_reason": "error", "error": {"code": 502, "message": "upstream lost"}},
        {"finish_reason": "error"}, {"finish_reason": "network_error"}, {"finish_reason": "abort"},
        {"finish_reason": "insufficient_system_resource"}, {"error": "provider failed"},
        {"message": {"content": "Yes", "error": {"message": "cut"}}}, {"message": {"content": ""}},
        {"message": {"content": None}}, {"message": {"content": " \n"}, "finish_reason": None},
        {"message": {"content": [{"type": "text", "text": None}]}}, {"message": {"content": True}},
    ],
)  # fmt: skip
def test_a_failure_of_the_host_inside_a_200_is_no_reply(choice: dict[str, Any]) -> None:
    with pytest.raises(TransientError):
        read(completion(**choice))


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "rate_limit_exceeded", "message": "slow down"}},
        {"error": {"code": "503", "message": "no capacity"}},
        {"choices": None, "base_resp": {"status_code": 1000, "status_msg": "unknown error"}},
        {"code": "InternalError", "message": "An internal error occurred"},
    ],
)
def test_an_error_beside_no_choices_is_no_reply(body: dict[str, Any]) -> None:
    with pytest.raises(TransientError):
        read(json.dumps(body).encode())


@pytest.mark.parametrize(
    "choice",
    [
        {"finish_reason": "content_filter: PROHIBITED_CONTENT", "message": None},
        {"finish_reason": "SAFETY"}, {"finish_reason": "RECITATION"}, {"finish_reason": "SPII"},
        {"finish_reason": "BLOCKLIST"}, {"finish_reason": "sensitive"},
        {"finish_reason": "refusal"},
        {"finish_reason": "stop", "native_finish_reason": "PROHIBITED_CONTENT"},
        {"message": {"content": ""}, "content_filter_results": {"hate": {"filtered": True}}},
        {"error": {"code": "data_inspection_failed", "message": "inappropriate content"}},
        {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["violence"]}}},
    ],
)  # fmt: skip
def test_a_filter_inside_a_200_has_many_names(choice: dict[str, Any]) -> None:
    assert read(completion(**choice)).finish_reason == FILTERED


def test_a_filter_of_the_prompt_needs_no_choice() -> None:
    body = {"choices": [], "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    assert read(json.dumps(body).encode()).finish_reason == FILTERED
    body = {"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}
    assert read(json.dumps(body).encode()).finish_reason == FILTERED


def test_a_thought_that_the_host_tells_apart_is_no_text() -> None:
    reply = read(completion({"content": None, "reasoning_content": "Hm"}, finish_reason="length"))
    assert (reply.text, reply.thought) == ("", "Hm")
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "No, hm"}]},
        {"type": "text", "text": "Yes"},
    ]
    reply = read(completion({"content": parts}))
    assert (reply.text, reply.thought) == ("Yes", "No, hm")
    assert read(completion({"content": 0})).text == "0"


def test_an_alternative_without_a_probability_is_left_out() -> None:
    listed = [
        {"token": "Yes", "logprob": -0.1}, {"token": "No", "logprob": None}, {"token": None},
        {"token": "a", "logprob": "-1"}, {"token": "b", "logprob": True}, None, "x",
        {"token": "c", "logprob": 10**400}, {"token": "d", "logprob": float("nan")},
    ]  # fmt: skip
    first = {"token": "Yes", "logprob": -0.1, "top_logprobs": listed}
    assert read(completion(logprobs={"content": [first]})).first_token == (("Yes", -0.1),)
    odds: list[Any] = [[], "x", {"content": "x"}, {"content": [None, {"token": "Yes"}]}]
    for odd in odds:
        assert read(completion(logprobs=odd)).first_token == ()


@pytest.mark.parametrize("usage", [None, "lots", [], {"prompt_tokens": -3}, {"prompt_tokens": 1e99},
    {"prompt_tokens": float("inf")}, {"prompt_tokens": float("nan")}])  # fmt: skip
def test_a_count_of_tokens_that_cannot_be_is_none(usage: Any) -> None:
    content = json.loads(completion()) | {"usage": usage}
    assert read(json.dumps(content).encode()).tokens_in == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["message", "content", "text", "type", "error", "code", "logprobs", "top_logprobs",
         "token", "logprob", "finish_reason", "choices", "usage", "refusal", "prompt_tokens"]
    ), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON, JSON, JSON)
def test_no_json_does_harm(message: Any, logprobs: Any, usage: Any) -> None:
    choice = {"message": message, "logprobs": logprobs}
    for body in (message, {"choices": [choice], "usage": usage}, {"choices": message}):
        try:
            reply = read(json.dumps(body).encode())
        except (TransientError, LastingError, AlphaBenchError):
            continue
        assert isinstance(reply.text, str)
        assert min(reply.tokens_in, reply.tokens_out) >= 0


@given(st.binary(max_size=200))
def test_no_body_at_all_does_harm(content: bytes) -> None:
    with pytest.raises(TransientError):
        read(content)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, {}, RateLimitedError), (503, {}, RateLimitedError), (500, {}, TransientError),
        (408, {}, TransientError), (400, {"message": "too long"}, LastingError),
        (400, {"param": "messages[0].content"}, LastingError),
        (400, {"param": "top_logprobs"}, AlphaBenchError), (401, {}, AlphaBenchError),
        (402, {}, AlphaBenchError), (404, {}, AlphaBenchError), (307, {}, AlphaBenchError),
        (429, {"code": "insufficient_quota"}, AlphaBenchError), (413, {}, LastingError),
        (400, {"param": "input_tokens", "message": "maximum context length is 9"}, LastingError),
        (400, {"param": "max_tokens", "message": "exceeds the context window"}, LastingError),
        (400, {"param": "image"}, LastingError), (403, {"message": "no access"}, GeneralError),
        (400, {"param": "temperature"}, GeneralError), (400, {"param": "model"}, GeneralError),
        (400, {"message": "top_logprobs must be between 0 and 5"}, GeneralError),
        (204, {}, TransientError),
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
    with pytest.raises(TransientError):
        read(json.dumps({"error": "boom"}).encode())


@pytest.mark.parametrize(
    ("message", "option"),
    [
        ("temperature does not support 0; only the default (1) is supported", "temperature=omit"),
        ("top_logprobs must be between 0 and 5", "top_logprobs=5"),
        ("top_logprobs: should be at most 8", "top_logprobs=8"),
        ("Requested sample logprobs of 20, which is greater than max allowed: 6", "top_logprobs=6"),
        ("'max_tokens' is not supported. Use 'max_completion_tokens'", "token_field=max_comp"),
        ("max_completion_tokens is unknown", "token_field=max_tokens"),
        ("max_tokens must be at least 16", "extra_tokens=16"),
        ("This model does not support logprobs", "judge?reading=text"),
        ("seed: extra inputs are not permitted", "seed=omit"),
        ("unknown field chat_template_kwargs", "thinking=unsaid"),
        ("repetition_penalty is not supported", "body.repetition_penalty"),
    ],
)
def test_a_field_that_is_refused_is_answered_with_the_option_that_helps(
    message: str, option: str
) -> None:
    sent = {"max_tokens", "chat_template_kwargs", "repetition_penalty", "messages"}
    with pytest.raises(GeneralError) as caught:
        read_refusal(400, json.dumps({"error": {"message": message}}).encode(), "m", str, sent)
    assert option in caught.value.hint


def test_what_a_judge_is_to_be_spared_is_not_sent() -> None:
    asked = question(sampling=ReplySampling(max_tokens=1, seed=1, top_logprobs=20))
    fixed = {"omit": ("temperature", "seed"), "most_logprobs": 5, "extra_tokens": 99}
    body = request_body(asked, [], model="m", fixed=fixed)
    assert {"temperature", "seed", "omit", "most_logprobs", "extra_tokens"}.isdisjoint(body)
    assert (body["top_logprobs"], body["max_tokens"]) == (5, 100)
