"""The OpenAI chat completions API: builds requests and parses responses.

Hosts differ in what they omit, in how they refuse, and in how they report errors inside a response
of status 200; all of that is here. Whatever is raised as `TransientError` is no reply: it is worth
another attempt and never stored. Sends nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError, short_line
from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.judges.parsing import FILTERED, HINT_WITHOUT_LOGPROBS, REFUSAL, is_cut
from alphabench.questions import Question, Reply
from alphabench.remote.responses import (
    ApiError,
    TransientError,
    is_refusal,
    read_error,
)

PASSING: Final = (408, 409, 425)
"""Client errors that another attempt may not meet; so may all from 500 on."""
OVERLOADED: Final = (429, 503, 529)
"""The host wants fewer requests, or none just now."""
SAMPLING_FIELDS: Final = (
    "temperature", "top_p", "seed", "top_logprobs", "logprobs", "max_completion_tokens",
    "max_tokens",
)  # fmt: skip
"""What a request says beside its messages."""
OMITTABLE: Final = ("temperature", "top_p", "seed")
"""Those that a judge's options can leave out."""
THINKING_FIELD: Final = "chat_template_kwargs"
"""What vLLM and SGLang hand to a model's chat template, such as `enable_thinking`."""

_OUT_OF_CREDIT: Final = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_BROKEN_OFF: Final = (
    "error", "abort", "aborted", "cancel", "cancelled", "canceled", "timeout", "failed",
    "insufficientsystemresource", "overloaded", "malformedresponse", "interrupted",
)  # fmt: skip
"""Finish reasons of replies that the host could not end, letters only; any that ends in `error`
is one too."""
_TOO_LONG: Final = re.compile(
    r"context (length|window|size)|input tokens|prompt is too long", re.IGNORECASE
)
_AT_MOST: Final = re.compile(
    r"(?:at most|and|to|<=?|equal to|max(?:imum)?(?: of| is| allowed)?:?|up to)\s+(\d{1,2})\b",
    re.IGNORECASE,
)
_AT_LEAST: Final = re.compile(r"at least|minimum|>=|greater than", re.IGNORECASE)
_LONGEST_THOUGHT: Final = 4000
_MOST_TOKENS: Final = 10**8
"""A count of tokens beyond it is no count."""
_NO_COMPLETION: Final = "the answer is not the JSON of the chat API"


class LastingError(Exception):
    """This question fails however often it is sent; others may not."""


class RateLimitedError(TransientError):
    """The host wants fewer requests; it says nothing about this one."""


class GeneralError(AlphaBenchError):
    """By this response, no question will succeed: a key without rights, a field not known.

    Once another question was answered, it was this question's own fault: hosts say 403 to an image
    that their moderation flags, and name a field where an image is too large for them.
    """


def request_body(
    question: Question, uris: Sequence[str], *, model: str, fixed: Mapping[str, Any]
) -> dict[str, Any]:
    """The request as JSON values.

    Args:
        question: its parts keep their order.
        uris: the data URI of each of its images, in order.
        model: as the host calls it.
        fixed: further fields, which the question's own override. These say how to send the others:
            `image_detail` goes to each image, `token_field` names the field that bounds the
            reply, `extra_tokens` are added to that bound, `omit` names fields that are left out,
            and `most_logprobs` is the most alternatives to ask for.
    """
    extra = {**fixed, **question.sampling.extra}
    if all(isinstance(of.get(THINKING_FIELD), dict) for of in (fixed, question.sampling.extra)):
        asked = question.sampling.extra[THINKING_FIELD]
        extra[THINKING_FIELD] = {**fixed[THINKING_FIELD], **asked}
    token_field = extra.pop("token_field", "max_tokens")
    detail = extra.pop("image_detail", None)
    omitted = extra.pop("omit", ())
    most_logprobs = extra.pop("most_logprobs", None)
    max_tokens = question.sampling.max_tokens + extra.pop("extra_tokens", 0)
    remaining_uris = iter(uris)
    content: list[dict[str, Any]] = []
    for part in question.parts:
        if isinstance(part, str):
            content.append({"type": "text", "text": part})
            continue
        image_url = {"url": next(remaining_uris)} | ({"detail": detail} if detail else {})
        content.append({"type": "image_url", "image_url": image_url})
    only_text = len(content) == 1 and content[0]["type"] == "text"
    user = {"role": "user", "content": content[0]["text"] if only_text else content}
    system_content: Any = question.system
    if question.system_as_parts:
        system_content = [{"type": "text", "text": question.system}]
    system = [{"role": "system", "content": system_content}] if question.system else []
    sampling = question.sampling
    optional = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "logprobs": True if sampling.top_logprobs else None,
        "top_logprobs": min(sampling.top_logprobs, most_logprobs or 20) or None,
    }
    return {
        "model": model,
        "messages": [*system, user],
        token_field: max_tokens,
        **{k: value for k, value in optional.items() if value is not None and k not in omitted},
        **extra,
    }


def read_completion(
    content: bytes,
    *,
    model: str,
    clean: Callable[[str], str],
    sent: Collection[str] = (),
    thoughts_kept: bool = False,
) -> Reply:
    """The reply in a body that came with status 200.

    Args:
        content: the body.
        model: the requested model, for hosts that wrap an error into a 200.
        clean: takes the key out of a text, should the host have repeated it.
        sent: further fields of the request; see `read_refusal`.
        thoughts_kept: see `Reply`.

    Raises:
        TransientError: it is no chat completion, or one in which the host says that it failed,
            or one without any content.
        LastingError, AlphaBenchError: an error in it says so; see `read_refusal`.
    """
    try:
        parsed = parse_json(content)
    except UnreadableFileError as error:
        raise TransientError(_NO_COMPLETION) from error
    if not isinstance(parsed, dict):
        raise TransientError(_NO_COMPLETION)
    choices = parsed.get("choices")
    choice = _object(choices[0]) if isinstance(choices, list) and choices else {}
    message = _object(choice.get("message"))
    if (fault := _error_in(parsed, choice, message)) is not None:
        body = json.dumps({"error": fault}).encode()
        return read_refusal(_status_in(fault, body), body, model, clean, sent)
    finish, text, refusal = _finish_of(choice), _text_of(message), message.get("refusal")
    if not message and not is_refusal(finish) and not _withheld(parsed, choice):
        raise TransientError("the answer holds no reply")
    if _is_broken_off(finish):
        raise TransientError(short_line(clean(f"the host broke its reply off ({finish})")))
    thought = _thought_of(message)
    first_token = _first_token(choice.get("logprobs"), clean)
    if refusal:
        finish = REFUSAL
    elif is_refusal(finish) or (not text.strip() and _withheld(parsed, choice)):
        finish = FILTERED
    elif not (text.strip() or thought or first_token or is_cut(finish)):
        raise TransientError("the reply is empty")
    usage = _object(parsed.get("usage"))
    return Reply(
        text=clean(str(refusal or text)),
        model=clean(_model_in(parsed)),
        first_token=first_token,
        fingerprint=_optional_text(parsed.get("system_fingerprint"), clean),
        finish_reason=None if finish is None else clean(finish),
        tokens_in=_count(usage.get("prompt_tokens")),
        tokens_out=_count(usage.get("completion_tokens")),
        thought=clean(thought)[:_LONGEST_THOUGHT],
        thoughts_kept=thoughts_kept,
    )


def is_empty_reply(reply: Reply) -> bool:
    """Whether a reply is one that `read_completion` never gives: earlier versions stored such."""
    finish = reply.finish_reason
    known = is_cut(finish) or is_refusal(finish)
    text = reply.text.strip() or reply.thought or reply.first_token
    return _is_broken_off(finish) or not (text or known)


def read_refusal(
    status: int,
    content: bytes,
    model: str,
    clean: Callable[[str], str],
    sent: Collection[str] = (),
) -> Reply:
    """What an answer other than 200 means: a filtered reply, or an error of one of these kinds.

    Args:
        status: of HTTP, or the one that a gateway packed into a body.
        content: the body.
        model: the requested model.
        clean: takes the key out of a text.
        sent: further fields of the request; an objection to any but these and `SAMPLING_FIELDS`
            is about the question's content.

    Raises:
        TransientError: worth another attempt.
        LastingError: this question will not do.
        GeneralError: no question will do, unless another one did.
        AlphaBenchError: no question will do any more.
    """
    error = read_error(content)
    reason = short_line(clean(f"HTTP {status}: {error.message}"))
    if status == 451 or (400 <= status < 500 and status != 429 and error.declines):
        return Reply(text=reason, model=model, finish_reason=FILTERED)
    if error.code in _OUT_OF_CREDIT or status == 402:
        raise AlphaBenchError(
            f"the judge's account is out of credit ({reason})",
            hint="add credit, then give the same command again; its answers are saved",
        )
    if status in (401, 403):
        kind = AlphaBenchError if status == 401 else GeneralError
        raise kind(
            f"the judge does not accept the key ({reason})",
            hint="set ALPHABENCH_API_KEY (or OPENAI_API_KEY for OpenAI's own hosts)",
        )
    if status == 404:
        raise _no_model(model, reason, AlphaBenchError)
    if status in OVERLOADED:
        raise RateLimitedError(reason)
    if status in PASSING or status >= 500 or status < 300:
        raise TransientError(reason)
    if status < 400:
        raise AlphaBenchError(
            f"the judge answers with a redirection, which is not followed ({reason})",
            hint="give the address that it leads to",
        )
    raise _unacceptable(error, reason, model, sent)


def _no_model(model: str, reason: str, kind: type[AlphaBenchError]) -> AlphaBenchError:
    return kind(
        f"there is no chat endpoint, or no model {model!r} there ({reason})",
        hint="check the address and the model after #; it ends in /v1 as a rule",
    )


def _unacceptable(
    error: ApiError, reason: str, model: str, sent: Collection[str]
) -> AlphaBenchError | LastingError:
    """A field that was sent concerns all questions; the rest, this one."""
    if error.param == "model":
        return _no_model(model, reason, GeneralError)
    field = _field_in(error, sent)
    if field is None:
        return LastingError(reason)
    return GeneralError(
        f"the judge does not accept the field {field!r} as it is sent ({reason})",
        hint=_hint_for(field, error.message),
    )


def _field_in(error: ApiError, sent: Collection[str]) -> str | None:
    """The field of the request that a host objects to: by its name, or the first in its words."""
    if _TOO_LONG.search(error.message):
        return None
    own = {*SAMPLING_FIELDS, THINKING_FIELD, *sent} - {"messages", "model"}
    if error.param is not None:
        field = re.split(r"[.\[]", error.param.removeprefix("body."))[0]
        return field if field in own else None
    words = re.findall(r"\w+", error.message.casefold())
    named = next((word for word in words if word in own), None)
    # `Requested sample logprobs of 20, which is greater than max allowed: 5`
    return "top_logprobs" if named == "logprobs" and _AT_MOST.search(error.message) else named


def _hint_for(field: str, message: str) -> str:
    """The option of the judge that sends it otherwise."""
    most = [int(n) for n in _AT_MOST.findall(message) if 2 <= int(n) < 20]
    hints = {
        **{one: f"add the judge's option {one}=omit: none is sent then" for one in OMITTABLE},
        "top_logprobs": f"add the judge's option top_logprobs={most[-1] if most else 5}",
        "logprobs": HINT_WITHOUT_LOGPROBS,
        "max_tokens": "add the judge's option token_field=max_completion_tokens",
        "max_completion_tokens": "add the judge's option token_field=max_tokens",
        THINKING_FIELD: "leave out the judge's options thinking and body.chat_template_kwargs; "
        "for wise add --evaluator 'judge?thinking=unsaid'",
    }
    if field.endswith("_tokens") and _AT_LEAST.search(message):
        return "add the judge's option extra_tokens=16, which allows longer replies"
    return hints.get(field) or f"leave out the judge's option body.{field}, or choose another judge"


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _error_in(
    parsed: Mapping[str, Any], choice: Mapping[str, Any], message: Mapping[str, Any]
) -> Any | None:
    """The error that a host packed into an answer, wherever it put it."""
    for holder in (parsed, choice, message):
        error = holder.get("error")
        if any(error.values()) if isinstance(error, dict) else error:
            return error
    base = _object(parsed.get("base_resp"))  # MiniMax says 0 for success
    if base.get("status_code"):
        return {"code": base["status_code"], "message": base.get("status_msg")}
    is_bare = "choices" not in parsed and parsed.get("code") and parsed.get("message")
    return dict(parsed) if is_bare else None


def _status_in(error: Any, body: bytes) -> int:
    """The status that a gateway packed into the body; else 400 for a filter, and 502."""
    fields = _object(error)
    for code in (fields.get("code"), fields.get("status"), fields.get("status_code")):
        if isinstance(code, int | str) and re.fullmatch(r"[45]\d\d", str(code)):
            return int(code)
    if "rate_limit" in str(fields.get("code") or fields.get("type")):
        return 429
    return 400 if read_error(body).declines else 502


def _model_in(parsed: Mapping[str, Any]) -> str:
    """The model that answered, else an empty text.

    Gateways that repeat the requested name in `model` may hand on Gemini's `modelVersion`.
    """
    version, model = parsed.get("modelVersion"), parsed.get("model")
    if isinstance(version, str) and re.match(r"(models/)?[a-z]+-", version):
        return version
    return model if isinstance(model, str) else ""


def _finish_of(choice: Mapping[str, Any]) -> str | None:
    """Why the reply ends; a gateway may give the word of the service behind it apart."""
    native = choice.get("native_finish_reason")
    finish = native if is_refusal(native) else choice.get("finish_reason")
    return str(finish) if finish else None


def _is_broken_off(finish: str | None) -> bool:
    return _letters(finish).endswith("error") or _letters(finish) in _BROKEN_OFF


def _letters(finish: str | None) -> str:
    return "".join(letter for letter in (finish or "").casefold() if letter.isalnum())


def _withheld(parsed: Mapping[str, Any], choice: Mapping[str, Any]) -> bool:
    """Whether a filter says so beside the reply (Azure, Gemini)."""
    feedback = _object(parsed.get("promptFeedback") or parsed.get("prompt_feedback"))
    if feedback.get("blockReason") or feedback.get("block_reason"):
        return True
    prompts = parsed.get("prompt_filter_results")
    holders = [choice, *(prompts if isinstance(prompts, list) else ())]
    results = [_object(_object(one).get("content_filter_results")) for one in holders]
    return any(_object(found).get("filtered") is True for of in results for found in of.values())


def _text_of(message: Mapping[str, Any]) -> str:
    """The content without thoughts; a bare number is the reply of a host that lost the quotes."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(_parts(content, thoughts=False))
    is_text = isinstance(content, str | int | float) and not isinstance(content, bool)
    return str(content) if is_text else ""


def _thought_of(message: Mapping[str, Any]) -> str:
    """What a host tells apart as the thought before the reply."""
    for key in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(thought := message.get(key), str) and thought.strip():
            return thought
    content = message.get("content")
    return "".join(_parts(content, thoughts=True)) if isinstance(content, list) else ""


def _parts(content: Sequence[Any], *, thoughts: bool) -> Iterator[str]:
    for part in content:
        if isinstance(part, str):
            if not thoughts:
                yield part
            continue
        fields = _object(part)
        kind = str(fields.get("type") or "text")
        if ("think" in kind or "reason" in kind) != thoughts:
            continue
        text = fields.get("text") or fields.get("thinking") or fields.get("reasoning")
        if isinstance(text, list):  # Mistral nests parts
            yield from _parts(text, thoughts=False)
        elif isinstance(text, str):
            yield text


def _optional_text(value: Any, clean: Callable[[str], str]) -> str | None:
    return None if value is None else clean(str(value))


def _count(value: Any) -> int:
    """A number of tokens; 0 where a host tells none that can be one."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and 0 <= value <= _MOST_TOKENS else 0


def _first_token(logprobs: Any, clean: Callable[[str], str]) -> tuple[tuple[str, float], ...]:
    """Alternatives of the first token; the sampled one is added where it is left out.

    An alternative without a finite number (hosts write null for -inf) is left out.
    """
    tokens = _object(logprobs).get("content")
    first = _object(tokens[0]) if isinstance(tokens, list) and tokens else {}
    listed = first.get("top_logprobs")
    pairs = [
        (one["token"], one.get("logprob"))
        for one in map(_object, listed if isinstance(listed, list) else ())
        if isinstance(one.get("token"), str)
    ]
    if isinstance(first.get("token"), str) and first["token"] not in [token for token, _ in pairs]:
        pairs.append((first["token"], first.get("logprob")))
    numbers = [(clean(token), _finite(logprob)) for token, logprob in pairs]
    return tuple((token, logprob) for token, logprob in numbers if logprob is not None)


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
