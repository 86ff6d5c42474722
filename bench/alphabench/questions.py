"""What is asked of a judge, and what comes back. Knows no judge and no benchmark.

A contract owns both the wording of a question and the parser of its reply, so that the two cannot
drift apart. Where the parser is not sure it says None: the answer is then `unparsed`, never a
number.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from alphabench.types import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image shown to a judge."""

    path: Path
    sha256: str
    """Of the file's bytes: what the judge saw, wherever the file lies."""
    encoding: Literal["png", "jpeg"] = "png"
    """How it travels; jpeg where an official protocol sends that."""
    size: tuple[int, int] | None = None
    """Width and height that it is resized to before it is sent; None leaves it as it is."""
    turned: bool = False
    """It has an EXIF orientation that is applied for jpeg: another question than it once was."""


Part = str | Picture
"""A piece of the user message, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the judge's reply is drawn; part of the question's identity."""

    max_tokens: int
    temperature: float | None = 0.0
    """None sends none: the judge's own default applies."""
    top_p: float | None = None
    seed: int | None = None
    top_logprobs: int = 0
    """How many alternatives of the first token are asked for, 0 to 20."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request, as JSON values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a judge said, before anybody reads it."""

    text: str
    model: str
    """The model that the judge says it is."""
    first_token: tuple[tuple[str, float], ...] = ()
    """Alternatives of the first generated token with their log-probabilities, as asked for."""
    fingerprint: str | None = None
    finish_reason: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    thought: str = ""
    """What the judge thought before, as far as its host tells that apart from the text."""
    thoughts_kept: bool = False
    """Hand the whole text to the answer format, with any closed thought in it."""


class Contract(Protocol):
    """One kind of question: wording, sampling, and what counts as an answer. Picklable."""

    @property
    def identity(self) -> Mapping[str, str]:
        """Name, version and the digest of the wording; enters the evaluator's identity."""
        ...

    def read(self, reply: Reply) -> tuple[float, ...] | None:
        """The finite values that the reply states; None where it does not state them clearly."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One call of a judge."""

    image_id: str
    """The image that the answer is about."""
    id: str
    """Unique among the questions about that image."""
    parts: tuple[Part, ...]
    sampling: Sampling
    contract: Contract
    system: str | None = None
    system_as_parts: bool = False
    """Whether chat endpoints get the system text as a list of one part, as some scripts send it."""
    repeat: int = 0
    """Tells apart askings of the same question that shall be independent."""

    @property
    def content_digest(self) -> str:
        """sha256 of all that the judge is told: equal for equal content, wherever files lie."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    def _content(self) -> dict[str, Any]:
        sampling = self.sampling
        return {
            "system": self.system,
            "parts": [part if isinstance(part, str) else _shown(part) for part in self.parts],
            "sampling": [
                sampling.max_tokens,
                sampling.temperature,
                sampling.top_p,
                sampling.seed,
                sampling.top_logprobs,
                dict(sampling.extra),
            ],
            "contract": dict(self.contract.identity),
            "repeat": self.repeat,
            # Named only where set, so that answers to other questions keep their names.
            **({"system_as_parts": True} if self.system_as_parts else {}),
        }


def _shown(picture: Picture) -> list[Any]:
    turned = ["turned"] if picture.turned else []
    return [picture.sha256, picture.encoding, picture.size, *turned]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a question; values are there exactly when it is scored."""

    question: Question
    status: Status
    values: tuple[float, ...] | None = None
    reply: Reply | None = None
    """Kept also when it could not be read or was a refusal."""
    reason: str = ""
    """Why there are no values."""
    cached: bool = False

    def __post_init__(self) -> None:
        if (self.values is None) == (self.status == "scored"):
            raise ValueError(f"a {self.status!r} answer cannot carry values={self.values!r}")
        if self.values is not None and not all(map(math.isfinite, self.values)):
            raise ValueError("values are finite; having none is a status, not a NaN")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a judge can do; a question that needs more is refused before anything is generated."""

    images_per_question: int
    logprobs: bool


class Judge(Protocol):
    """What can answer a question about images."""

    @property
    def identity(self) -> Mapping[str, str]:
        """Kind, provider, model, revision: all that decides an answer beside the question."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """One answer for each question, in order, whatever the order inside.

        Takes questions as it needs them, so that an endless iterable is fine. Refusals, unreadable
        replies and failed calls come back as answers with their status.

        Raises:
            AlphaBenchError: what the user must mend: no such judge, another model answers, the
                budget is used up. Answers that were paid for are kept.
        """
        ...
