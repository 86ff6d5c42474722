"""Ways in which a judge's host fails, and what becomes of a question that meets one.

`Chaos` is a script for `JudgeServer`: a share of the questions, chosen by their content, meets one
of the ways at the first try or at each; the others are answered by their content alone.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from tests.support.judge_server import Call, Say, error

Fate = Literal["scored", "failed", "refused", "unparsed"]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to fail."""

    say: Say
    once: Fate = "scored"
    """What becomes of a question that meets it at its first try."""
    always: Fate = "failed"
    """And of one that meets it each time."""


def _json(content: Any, **fields: Any) -> Say:
    return Say(body=json.dumps(content).encode(), is_answer=False, **fields)


def _choice(**fields: Any) -> Say:
    message = fields.pop("message", {"role": "assistant", "content": "Yes"})
    choice = {"index": 0, "message": message, "finish_reason": "stop", **fields}
    return _json({"model": "test-vlm", "choices": [choice]})


def _put_off(retry_after: str | None = None) -> Say:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return error(429, "slow down", headers=headers)


def _html(status: int) -> Say:
    page = b"<html><h1>Gateway</h1></html>"
    return Say(status=status, body=page, headers={"Content-Type": "text/html"}, is_answer=False)


def _final(say: Say, fate: Fate) -> Way:
    """An answer that is the last word on its question."""
    return Way(say=say, once=fate, always=fate)


_OK: Final = b"HTTP/1.1 200 OK\r\n"
_DEEP: Final = b"[" * 100_000 + b"]" * 100_000
_REFUSED: Final = {"role": "assistant", "content": None, "refusal": "I will not look at this."}

WAYS: Final[dict[str, Way]] = {
    "500": Way(say=error(500, "boom")),
    "502 as a web page": Way(say=_html(502)),
    "503": Way(say=error(503, "overloaded")),
    "504": Way(say=error(504, "upstream timed out")),
    "408": Way(say=error(408, "took too long")),
    "409": Way(say=error(409, "conflict")),
    "500 of deep JSON": Way(say=Say(status=500, body=_DEEP)),
    "429": Way(say=_put_off()),
    "429 for a moment": Way(say=_put_off("0.1")),
    "429 until a date gone by": Way(say=_put_off("Mon, 01 Jan 1990 00:00:00 GMT")),
    "429 until no date": Way(say=_put_off("Mon, 01 Jan 99999999999999999999 00:00:00 GMT")),
    "429 in an odd zone": Way(say=_put_off("Mon, 01 Jan 2024 00:00:00 +99999999999999999999")),
    "429 for nan": Way(say=_put_off("nan")),
    "429 for less than nothing": Way(say=_put_off("-5")),
    "429 for ages": _final(_put_off("1e30"), "failed"),
    "reset before the body": Way(say=Say(cut=0)),
    "reset in the body": Way(say=Say(cut=40)),
    "closed without a word": Way(say=Say(raw=b"")),
    "closed in the head": Way(say=Say(raw=b"HTTP/1.1 200 O")),
    "no HTTP": Way(say=Say(raw=b"\x00\xff\xfe garbage\r\n\r\n")),
    "chunks without a size": Way(
        say=Say(raw=_OK + b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\nhello")
    ),
    "a body cut short": Way(say=Say(raw=_OK + b"Content-Length: 500\r\n\r\n{")),
    "a body of negative length": Way(say=Say(raw=_OK + b"Content-Length: -1\r\n\r\n{}")),
    "an endless head": Way(say=Say(raw=_OK + b"X: " + b"a" * 2**17)),
    "silence": Way(say=Say(seconds=60.0, is_answer=False)),
    "a body of 17 MB": Way(say=_json("x" * 17_000_000)),
    "a body that unpacks to 64 MB": Way(
        say=Say(
            body=gzip.compress(b" " * 2**26, 1),
            headers={"Content-Encoding": "gzip"},
            is_answer=False,
        )
    ),
    "plain text called gzip": Way(
        say=Say(headers={"Content-Encoding": "gzip"}, body=b"{}", is_answer=False)
    ),
    "a compression not asked for": Way(
        say=Say(headers={"Content-Encoding": "br"}, body=b"{}", is_answer=False)
    ),
    "a web page": Way(say=_html(200)),
    "a stream of events": Way(say=Say(body=b'data: {"choices": []}\n\n', is_answer=False)),
    "nothing": Way(say=Say(body=b"", is_answer=False)),
    "204": Way(say=Say(status=204, body=b"", is_answer=False)),
    "a list": Way(say=_json([1, 2])),
    "null": Way(say=_json(None)),
    "deep JSON": Way(say=Say(body=_DEEP, is_answer=False)),
    "an error inside a 200": Way(say=_json({"error": {"message": "upstream died", "code": 502}})),
    "an error inside a choice": Way(say=_choice(finish_reason="error", error={"message": "died"})),
    "no choices": Way(say=_json({"model": "test-vlm", "choices": []})),
    "no message": Way(say=_choice(message=None)),
    "no content": Way(say=_choice(message={"role": "assistant", "content": None})),
    "400": _final(error(400, "bad image"), "failed"),
    "400 of a field that nobody sent": _final(error(400, "long", param="input_tokens"), "failed"),
    "413": _final(error(413, "too large"), "failed"),
    "403 for this question": _final(error(403, "not for you"), "failed"),
    "400 by the content policy": _final(error(400, "no", code="content_filter"), "refused"),
    "a filtered reply": _final(_choice(finish_reason="content_filter"), "refused"),
    "a declined reply": _final(_choice(message=_REFUSED), "refused"),
    "words that say nothing": _final(
        _choice(message={"role": "assistant", "content": "Perhaps."}), "unparsed"
    ),
    "an answer sent twice": Way(say=Say(twice=True), always="scored"),
    "a compressed answer": Way(
        say=Say(packed=True, headers={"Content-Encoding": "gzip"}), always="scored"
    ),
}


@dataclass(kw_only=True)
class Chaos:
    """Answers yes or no by the content, after the fault that the content meets."""

    ways: list[str]
    share: float = 0.3
    always: bool = False
    met: dict[bytes, str] = field(default_factory=dict)
    """The questions that met a fault, by content, and which."""

    def __call__(self, call: Call) -> Say:
        content = hashlib.sha256(json.dumps(call.body["messages"]).encode()).digest()
        good = Say(text="Yes" if content[0] % 2 else "No")
        if content[1] / 256 >= self.share or (call.nth and not self.always):
            return good
        name = self.met.setdefault(content, self.ways[len(self.met) % len(self.ways)])
        say = WAYS[name].say
        is_good = WAYS[name].always == "scored"
        return replace(say, text=good.text) if is_good else say

    @property
    def fates(self) -> Counter[str]:
        """How many of the questions that met a fault shall end in which way."""
        ways = [WAYS[name] for name in self.met.values()]
        return Counter(way.always if self.always else way.once for way in ways)
