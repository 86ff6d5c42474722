"""The OpenAI chat completions API: what a question becomes, and what an answer says.

Hosts differ in what they leave out and in how they say no; all of that is here. Sends nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from alphabench.checkpoints.http_answers import (
    ApiError,
    PassingError,
    is_refusal,
    read_error,
)
from alphabench.errors import AlphaBenchError
from alphabench.judges.question import Question, Reply
from alphabench.judges.reading import FILTERED, REFUSAL

PASSING: Final = (408, 409, 425)
"""Client errors that another attempt may not meet; so may all from 500 on."""
OVERLOADED: Final = (429, 503, 529)
"""The host wants fewer requests, or none just now."""
_OUT_OF_CREDIT: Final = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_LONGEST_REASON: Final = 300


class LastingError(Exception):
    """This question will fail however often it is put; others may not."""


class RateLimitedError(PassingError):
    """The host wants fewer requests; it says nothing about this one."""


def request_body(
    question: Question, pictures: Sequence[str], *, model: str, fixed: Mapping[str, Any]
) -> dict[str, Any]:
    """The request as JSON values.

    Args:
        question: its parts keep their order.
        pictures: the data URI of each of its pictures, in order.
        model: as the host calls it.
        fixed: further fields, which the question's own override. `image_detail` goes to each
            picture, and `token_field` names the field that bounds the reply.
    """
    extra = {**fixed, **question.sampling.extra}
    token_field = extra.pop("token_field", "max_tokens")
    detail = extra.pop("image_detail", None)
    uris = iter(pictures)
    content: list[dict[str, Any]] = []
    for part in question.parts:
        if isinstance(part, str):
            content.append({"type": "text", "text": part})
            continue
        shown = {"url": next(uris)} | ({"detail": detail} if detail else {})
        content.append({"type": "image_url", "image_url": shown})
    only_text = len(content) == 1 and content[0]["type"] == "text"
    user = {"role": "user", "content": content[0]["text"] if only_text else content}
    system = [{"role": "system", "content": question.system}] if question.system else []
    sampling = question.sampling
    optional = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "logprobs": True if sampling.top_logprobs else None,
        "top_logprobs": sampling.top_logprobs or None,
    }
    return {
        "model": model,
        "messages": [*system, user],
        token_field: sampling.max_tokens,
        **{key: value for key, value in optional.items() if value is not None},
        **extra,
    }


def read_completion(content: bytes, *, asked_for: str, clean: Callable[[str], str]) -> Reply:
    """The reply in a body that came with status 200.

    Args:
        content: the body.
        asked_for: the model, for hosts that wrap an error into a 200.
        clean: takes the key out of a text, should the host have repeated it.

    Raises:
        PassingError: it is no chat completion.
    """
    try:
        parsed = json.loads(content)
        if isinstance(parsed, dict) and parsed.get("error") and not parsed.get("choices"):
            return read_refusal(_status_in(parsed["error"]), content, asked_for, clean)
        choice = parsed["choices"][0]
        message = choice["message"]
        usage = parsed.get("usage") or {}
        refusal = message.get("refusal")
        finish = REFUSAL if refusal else _optional_text(choice.get("finish_reason"), clean)
        return Reply(
            text=clean(str(refusal or _text_of(message.get("content")))),
            model=clean(str(parsed.get("model") or "")),
            first_token=_first_token(choice.get("logprobs"), clean),
            fingerprint=_optional_text(parsed.get("system_fingerprint"), clean),
            finish_reason=FILTERED if is_refusal(finish) and not refusal else finish,
            tokens_in=int(usage.get("prompt_tokens") or 0),
            tokens_out=int(usage.get("completion_tokens") or 0),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise PassingError("the answer is not the JSON of the chat API") from error


def read_refusal(status: int, content: bytes, asked_for: str, clean: Callable[[str], str]) -> Reply:
    """What an answer other than 200 means: a filtered reply, or an error of one of these kinds.

    Raises:
        PassingError: worth another attempt.
        LastingError: this question will not do.
        AlphaBenchError: no question will do.
    """
    error = read_error(content)
    reason = one_line(clean(f"HTTP {status}: {error.message}"))
    if 400 <= status < 500 and status != 429 and error.declines:
        return Reply(text=reason, model=asked_for, finish_reason=FILTERED)
    if error.code in _OUT_OF_CREDIT or status == 402:
        raise AlphaBenchError(
            f"the judge's account is out of credit ({reason})",
            hint="add credit, then give the same command again; what it answered is kept",
        )
    if status in (401, 403):
        raise AlphaBenchError(
            f"the judge does not accept the key ({reason})",
            hint="set ALPHABENCH_API_KEY (or OPENAI_API_KEY for OpenAI's own hosts)",
        )
    if status == 404:
        raise AlphaBenchError(
            f"there is no chat endpoint, or no model {asked_for!r} there ({reason})",
            hint="check the address and the model after #; it ends in /v1 as a rule",
        )
    if status in OVERLOADED:
        raise RateLimitedError(reason)
    if status in PASSING or status >= 500:
        raise PassingError(reason)
    if status < 400:
        raise AlphaBenchError(
            f"the judge answers with a redirection, which is not followed ({reason})",
            hint="give the address that it leads to",
        )
    raise _unacceptable(error, reason)


def _unacceptable(error: ApiError, reason: str) -> Exception:
    """A field that the host does not know concerns all questions; the rest, this one."""
    field = (error.param or "").partition("[")[0].partition(".")[0]
    if field and field != "messages":
        return AlphaBenchError(
            f"the judge does not accept the field {field!r} ({reason})",
            hint="leave it out, or choose another judge or contract",
        )
    return LastingError(reason)


def one_line(text: str) -> str:
    """Short, and without line breaks or control characters."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(plain.split())[:_LONGEST_REASON]


def _status_in(error: Any) -> int:
    """The status that a gateway packed into the body, or 502."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 502


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content)
    return str(content or "")


def _optional_text(value: Any, clean: Callable[[str], str]) -> str | None:
    return None if value is None else clean(str(value))


def _first_token(logprobs: Any, clean: Callable[[str], str]) -> tuple[tuple[str, float], ...]:
    """Alternatives of the first token; the one that was drawn is added where it is left out."""
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not tokens:
        return ()
    first = tokens[0]
    listed = list(first.get("top_logprobs") or ())
    if first.get("token") not in [one["token"] for one in listed]:
        listed.append(first)
    pairs = [(clean(str(one["token"])), float(one["logprob"])) for one in listed]
    return tuple((token, logprob) for token, logprob in pairs if math.isfinite(logprob))
