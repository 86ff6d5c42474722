"""Which answers were given before."""

from __future__ import annotations

import pytest

from alphabench.judges.openai.answer_ids import CompletionIds
from alphabench.remote.responses import TransientError


def body(name: str, text: str = "Yes") -> bytes:
    return b'{"id": "chatcmpl-%s", "content": "%s"}' % (name.encode(), text.encode())


def test_an_answer_to_another_request_is_not_taken_again() -> None:
    ids = CompletionIds()
    ids.refuse_repeated(body("1"), b"a")
    ids.refuse_repeated(body("2"), b"b")
    with pytest.raises(TransientError, match="another question"):
        ids.refuse_repeated(body("1"), b"c")
    ids.refuse_repeated(body("3"), b"c")


def test_the_same_request_may_get_the_same_answer_as_from_a_gateways_cache() -> None:
    ids = CompletionIds()
    for _ in range(3):
        ids.refuse_repeated(body("1"), b"a")


def test_a_host_whose_ids_are_no_ids_is_let_be() -> None:
    same = CompletionIds()
    for number in range(9):
        same.refuse_repeated(body("mock"), b"%d" % number)
    ids = CompletionIds()
    ids.refuse_repeated(body("now"), b"a")
    ids.refuse_repeated(body("now", "No"), b"b")
    ids.refuse_repeated(body("now"), b"c")
    for number in range(9):
        ids.refuse_repeated(b"{}", b"%d" % number)


def test_only_the_last_thousands_are_remembered() -> None:
    ids = CompletionIds()
    for number in range(5000):
        ids.refuse_repeated(body(str(number)), b"%d" % number)
    ids.refuse_repeated(body("0"), b"z")
    with pytest.raises(TransientError):
        ids.refuse_repeated(body("4999"), b"z")
