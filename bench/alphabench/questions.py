"""Questions to a judge, and its answers. Knows no judge and no benchmark.

An answer format holds both the template of a question and the parser of its reply, so that the two
stay consistent. Where the parser is not sure it returns None: the answer is then `unparsed`, never
a number.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol, runtime_checkable

from alphabench.core.files import FileState
from alphabench.types import GeneratedImage, Status

_MOST_WRAPPERS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePart:
    """An image shown to a judge."""

    path: Path
    sha256: str
    """SHA-256 of the file's bytes, in hexadecimal; independent of the file's location."""
    encoding: Literal["png", "jpeg"] = "png"
    """Encoding in the request; jpeg where an official protocol sends jpeg."""
    size: tuple[int, int] | None = None
    """Width and height, in pixels, to resize to before sending; None sends the original size."""
    exif_rotated: bool = False
    """Its EXIF orientation is applied when it is encoded as jpeg. Part of the question's digest,
    since earlier versions did not apply it."""
    within: int | None = None
    """Encoded as jpeg in its own proportions, scaled down to at most so many pixels a side, as it
    is stored: without its EXIF orientation."""
    quality: int | None = None
    """Of the jpeg, as it is stored: without its EXIF orientation; None takes Pillow's default."""
    verified_state: FileState | None = None
    """As of a generated image; no part of the question's digest."""

    @classmethod
    def of(cls, image: GeneratedImage) -> ImagePart:
        """A generated image as it is stored."""
        return cls(path=image.path, sha256=image.sha256, verified_state=image.verified_state)


Part = str | ImagePart
"""A piece of the user message, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplySampling:
    """How the judge's reply is sampled; part of the question's identity."""

    max_tokens: int
    temperature: float | None = 0.0
    """None omits it from the request: the judge's default applies."""
    top_p: float | None = None
    seed: int | None = None
    top_logprobs: int = 0
    """Requested number of alternatives of the first token, 0 to 20."""
    first_tokens: tuple[str, ...] = ()
    """Texts whose first token's probability is wanted, however unlikely it is. Judges without
    `Capabilities.named_tokens` give the likeliest alternatives alone."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request (JSON values)."""


class NamedToken(NamedTuple):
    """The first token of a text that a question names in `ReplySampling.first_tokens`."""

    named: str
    """The text."""
    token: int
    """The token's id in the judge's vocabulary."""
    text: str
    """The token alone: a blank where the tokenizer splits ` 4` into a blank and `4`."""
    probability: float
    """Of all first tokens of the vocabulary, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The raw reply of a judge, before it is parsed."""

    text: str
    model: str
    """The model name that the judge reports."""
    first_token: tuple[tuple[str, float], ...] = ()
    """Alternatives of the first generated token with their log-probabilities, if requested."""
    named_tokens: tuple[NamedToken, ...] = ()
    """One for each text in `ReplySampling.first_tokens`, in order; empty where the judge cannot
    give them."""
    fingerprint: str | None = None
    finish_reason: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    thought: str = ""
    """The judge's chain of thought, if its host returns that separately from the text."""
    thoughts_kept: bool = False
    """Pass the full text to the answer format, including a closed chain of thought."""


class AnswerFormat(Protocol):
    """One kind of question: its template, and how a reply is parsed. Must be picklable."""

    @property
    def identity(self) -> Mapping[str, str]:
        """Name, version and the digest of the template; part of the evaluator's identity."""
        ...

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        """The finite values that the reply states; None where they are not clear."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request to a judge."""

    image_id: str
    """The image that the answer is about."""
    id: str
    """Unique among the questions about that image."""
    parts: tuple[Part, ...]
    sampling: ReplySampling
    answer_format: AnswerFormat
    system: str | None = None
    system_as_parts: bool = False
    """Whether chat endpoints get the system text as a list of one part, as some scripts send it."""
    repeat: int = 0
    """Index of an independent repeat; part of the cache key."""

    @property
    def content_digest(self) -> str:
        """SHA-256 of the content sent to the judge; independent of the location of files."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    def _content(self) -> dict[str, Any]:
        sampling = self.sampling
        return {
            "system": self.system,
            "parts": [
                part if isinstance(part, str) else _image_content(part) for part in self.parts
            ],
            "sampling": [
                sampling.max_tokens,
                sampling.temperature,
                sampling.top_p,
                sampling.seed,
                sampling.top_logprobs,
                dict(sampling.extra),
            ],
            "contract": dict(self.answer_format.identity),
            "repeat": self.repeat,
            # Added only where set, so that cached answers to all other questions keep their keys.
            **({"system_as_parts": True} if self.system_as_parts else {}),
            **({"first_tokens": list(sampling.first_tokens)} if sampling.first_tokens else {}),
        }


def _image_content(image: ImagePart) -> list[Any]:
    rotated = ["turned"] if image.exif_rotated else []
    bounded = [f"within {image.within}"] if image.within is not None else []
    graded = [f"quality {image.quality}"] if image.quality is not None else []
    return [image.sha256, image.encoding, image.size, *rotated, *bounded, *graded]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The outcome of a question; it has values exactly when it is scored."""

    question: Question
    status: Status
    values: tuple[float, ...] | None = None
    reply: Reply | None = None
    """Set also when it could not be parsed or was a refusal."""
    reason: str = ""
    """Why there are no values."""
    cached: bool = False

    def __post_init__(self) -> None:
        if (self.values is None) == (self.status == "scored"):
            raise ValueError(f"a {self.status!r} answer cannot carry values={self.values!r}")
        if self.values is not None and not all(map(math.isfinite, self.values)):
            raise ValueError("values must be finite; an answer without values has another status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a judge supports; a run that needs more is refused before anything is generated."""

    images_per_question: int
    logprobs: bool
    named_tokens: bool = False
    """Whether it gives the probability of any first token, not of the likeliest alone."""


class Judge(Protocol):
    """Answers questions about images."""

    @property
    def identity(self) -> Mapping[str, str]:
        """Kind, provider, model, revision: all that decides an answer besides the question."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """One answer for each question, in order; the judge may process them in another order.

        Takes questions lazily, so an endless iterable is fine. Refusals, replies that cannot be
        parsed and failed calls come back as answers with the matching status.

        Raises:
            AlphaBenchError: the user must act: no such judge, another model answers, or the budget
                is used up. Answers that were paid for are saved.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeUsage:
    """What a judge was asked in this process so far; answers from the cache do not count."""

    replies: int
    tokens_in: int
    tokens_out: int
    cost_usd: float | None
    """None where its prices are not known."""

    def __add__(self, other: JudgeUsage) -> JudgeUsage:
        known = self.cost_usd is not None and other.cost_usd is not None
        return JudgeUsage(
            replies=self.replies + other.replies,
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            cost_usd=(self.cost_usd or 0.0) + (other.cost_usd or 0.0) if known else None,
        )


@runtime_checkable
class RemoteJudge(Protocol):
    """A judge behind a network address, which counts what it was asked."""

    @property
    def address(self) -> str:
        """For the user: `http://host:8000/v1#model`."""
        ...

    @property
    def usage(self) -> JudgeUsage:
        """So far, in this process."""
        ...


_TOKENS_PER_IMAGE: Final = 2000
_CHARACTERS_PER_TOKEN: Final = 2.0


class TokenBound(NamedTuple):
    """How many tokens a question may take, by a high estimate."""

    tokens_in: float
    tokens_out: int


def most_tokens(question: Question) -> TokenBound:
    """A high estimate: two characters a token, 2,000 tokens an image and a reply of full length."""
    characters = sum(len(part) for part in question.parts if isinstance(part, str))
    n_images = sum(isinstance(part, ImagePart) for part in question.parts)
    characters += len(question.system or "")
    tokens_in = characters / _CHARACTERS_PER_TOKEN + n_images * _TOKENS_PER_IMAGE
    return TokenBound(tokens_in, question.sampling.max_tokens)


@runtime_checkable
class EstimatesCost(Protocol):
    """A judge that can say what a question may cost before it is asked."""

    def most_usd(self, question: Question) -> float | None:
        """A high estimate in US dollars; None where prices are not known."""
        ...


def remote_judge_of(part: object) -> RemoteJudge | None:
    """The remote judge that an evaluator asks, or that a judge passes its questions on to.

    Whatever wraps a judge holds it as `judge`. None where there is no remote one.
    """
    for _ in range(_MOST_WRAPPERS):
        if isinstance(part, RemoteJudge):
            return part
        part = getattr(part, "judge", None)
    return None


@runtime_checkable
class RunsOnDevice(Protocol):
    """A judge whose weights are in this process."""

    def on_device(self, device: str) -> Judge:
        """The same judge for a device of torch.

        Weights that are loaded there are shared; otherwise it loads its own at its first question,
        and they go with it.

        Raises:
            AlphaBenchError: it cannot be put there.
        """
        ...


def judge_on_device(judge: Judge, device: str) -> Judge:
    """The judge for a device; a remote one is the same for all."""
    return judge.on_device(device) if isinstance(judge, RunsOnDevice) else judge


@runtime_checkable
class ShakesHands(Protocol):
    """A judge that can prove itself before any image is made for it."""

    def shake_hands(self, needs: Capabilities) -> None:
        """Ask questions with known answers.

        Raises:
            AlphaBenchError: it cannot do what is needed, or answers wrongly.
        """
        ...
