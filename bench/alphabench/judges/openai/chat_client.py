"""Sends one question to one replica and reads what comes back, once. Knows no retries.

Every failure is one of four kinds: `TransientError` (worth another attempt), `LastingError` (this
question fails), `DoubtfulError` (this question or all of them), `AlphaBenchError` (all of them).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError, short_line
from alphabench.judges.data_uris import DataUriCache
from alphabench.judges.openai.answer_ids import CompletionIds
from alphabench.judges.openai.chat_api import (
    GeneralError,
    LastingError,
    read_completion,
    read_refusal,
    request_body,
)
from alphabench.judges.openai.health import JudgeRecord
from alphabench.judges.openai.openai_options import OpenAIOptions
from alphabench.judges.openai.rate_limit import Clock
from alphabench.questions import ImagePart, Question, Reply
from alphabench.remote import credentials
from alphabench.remote.endpoint import Endpoint
from alphabench.remote.responses import TransientError, retry_after_seconds
from alphabench.remote.transport import Received, Transport

_QUESTION_STATUSES: Final = (400, 403, 404, 413, 422)
"""Refusals that concern one question alone, once the host has answered others."""
_DOUBTFUL_STATUSES: Final = (403, 404)
"""Refusals that mean the key or the model, or are a gateway's about one question."""


class StrangeAnswerError(TransientError):
    """A response that does not follow the chat API."""


class DoubtfulError(Exception):
    """A refusal of all questions or of this one alone; no question was answered yet."""

    def __init__(self, error: AlphaBenchError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(slots=True)
class Connection:
    """The connections to one replica, and the ids of its last completions."""

    endpoint: Endpoint
    transport: Transport
    ids: CompletionIds = field(default_factory=CompletionIds)


@dataclass(kw_only=True)
class ChatClient:
    """Builds, sends and reads single requests; made inside the loop that it runs in."""

    model: str
    """As the hosts call it."""
    fields: Mapping[str, Any]
    """See `request_body`."""
    extra_names: Collection[str]
    """The user's own fields of the request; see `read_refusal`."""
    options: OpenAIOptions
    find_key: Callable[[str], str | None]
    """Host -> key; called for each request, and the key is not stored."""
    clock: Clock
    record: JudgeRecord
    """Read only: whether any question was answered yet."""
    images: DataUriCache = field(default_factory=DataUriCache)

    async def content_of(self, question: Question) -> bytes:
        """The request's body.

        Raises:
            UnusableImageError: an image is missing, altered or unreadable.
        """
        uris = [
            await self.images.uri(part) for part in question.parts if isinstance(part, ImagePart)
        ]
        return json.dumps(
            request_body(question, uris, model=self.model, fixed=self.fields)
        ).encode()

    async def send(self, connection: Connection, content: bytes) -> Reply:
        """One attempt.

        Raises:
            TransientError: worth another attempt.
            LastingError: this question will not do.
            DoubtfulError: this question will not do, or none will.
            AlphaBenchError: no question will do.
        """
        host = connection.endpoint.host
        key = self.find_key(host)
        headers = {"Content-Type": "application/json", **credentials.headers(host, key)}

        def clean(text: str) -> str:
            return text if key is None else text.replace(key, "[key]")

        try:
            received = await connection.transport.post(
                f"{connection.endpoint.base}/chat/completions",
                content,
                headers,
                timeout_seconds=self.options.timeout_seconds,
            )
        except TransientError as error:
            error.args = (short_line(clean(str(error))),)
            raise
        try:
            reply = self._read(received, clean)
        except (TransientError, LastingError, DoubtfulError, AlphaBenchError):
            raise
        except Exception as error:  # the boundary to arbitrary responses
            reason = f"the answer cannot be read: {type(error).__name__}"
            raise TransientError(reason) from error
        connection.ids.refuse_repeated(received.content, content)
        return reply

    def _read(self, received: Received, clean: Callable[[str], str]) -> Reply:
        status, names = received.status, self.extra_names
        try:
            if not 200 <= status < 300:
                return read_refusal(status, received.content, self.model, clean, names)
            if (description := _not_a_completion(received)) is not None:
                raise StrangeAnswerError(f"it answers with {description}")
            return read_completion(
                received.content,
                model=self.model,
                clean=clean,
                sent=names,
                thoughts_kept=self.options.thoughts == "keep",
            )
        except TransientError as error:
            error.retry_after = retry_after_seconds(received.headers, self.clock.wall())
            raise
        except AlphaBenchError as error:
            is_questions_own = isinstance(error, GeneralError) or status in _QUESTION_STATUSES
            if is_questions_own and self.record.replies:
                raise LastingError(error.message) from error
            if status in _DOUBTFUL_STATUSES:
                raise DoubtfulError(error) from error
            raise


def _not_a_completion(received: Received) -> str | None:
    """What a successful response is, if it is not even an object of the chat API."""
    content = received.content.removeprefix(b"\xef\xbb\xbf").strip()
    kind = received.headers.get("Content-Type", "").partition(";")[0].strip().casefold()
    if content.startswith(b"{"):
        is_chat = b'"choices"' in content or b'"error"' in content
        return None if is_chat else "the JSON of another API"
    if not content:
        return f"nothing (HTTP {received.status})"
    if kind == "text/event-stream" or content.startswith(b"data:"):
        return "a stream of events, though none was requested"
    if kind == "text/html" or content[:1] == b"<":
        return "a web page"
    return "something that is no JSON object"
