"""Shared by judges that run in this process: finds models and batches questions.

A question that cannot be answered fails alone. Knows neither transformers nor vLLM; these differ
only in how a batch becomes replies.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from alphabench.core.errors import AlphaBenchError, short_line
from alphabench.core.files import UnreadableFileError, read_bytes, read_json
from alphabench.judges.data_uris import UnusableImageError
from alphabench.judges.openai.chat_api import LastingError
from alphabench.judges.parsing import read_reply, unscored
from alphabench.judges.thoughts import split_thought
from alphabench.questions import Answer, ImagePart, Question, Reply, ReplySampling
from alphabench.weights.find import WeightsFolder, find_weights
from alphabench.weights.hub import HubAccess, open_snapshot
from alphabench.weights.location import MAX_CARD, stated_licence

T = TypeVar("T")

TEMPLATE_FIELD: Final = "chat_template_kwargs"
PENALTY_FIELD: Final = "repetition_penalty"
"""With the field above, the only further ones of a request that judges in this process support."""
_CARD: Final = "README.md"
_FILES: Final = ("*.json", "*.txt", "*.jinja", "*.model")
"""Beside the weights: configuration, tokenizer, chat template."""
_CODE: Final = ("*.py",)
_ONE_IMAGE: Final = frozenset(
    {"blip", "blip-2", "git", "instructblip", "kosmos-2", "llava", "llava_next", "ovis2",
     "paligemma", "pix2struct", "vipllava"}
)  # fmt: skip
"""Model types that were trained on one image a conversation, whatever their code accepts."""
_SEVERAL_IMAGES: Final = 8
_END_OF_A_PROMPT: Final = 64
"""Characters at the end of a prompt in which a chat template may open or close a thought."""
_OPENED: Final = "<think>"
_MOST_FAILURES: Final = 32
"""Questions that fail in a row before the run stops: the questions are not the cause then."""


def find_model(kind: str, location: str, *, remote_code: bool) -> WeightsFolder:
    """The files of `kind:location`, a folder or a hub id; downloads what is not here.

    Raises:
        AlphaBenchError: there are none, or no safetensors among them.
    """
    files = (*_FILES, *(_CODE if remote_code else ()))
    try:
        return find_weights(location, option=kind, kind="judge", descriptions=files)
    except AlphaBenchError as error:
        raise AlphaBenchError(
            error.message,
            hint=f"write {kind}:FOLDER or {kind}:owner/name, a model with safetensors",
        ) from error


def model_licence(weights: WeightsFolder) -> str:
    """The licence in the model card; `unknown` if there is no card or it cannot be fetched."""
    try:
        card = weights.folder / _CARD
        if not card.is_file() and "@" in weights.identity:
            snapshot = open_snapshot(
                weights.identity, revision=None, probe="config.json", access=HubAccess()
            )
            card = snapshot.file(_CARD)
        return stated_licence(read_bytes(card, max_bytes=MAX_CARD).decode(errors="replace"))
    except (UnreadableFileError, AlphaBenchError):
        return "unknown"


def images_per_question(folder: Path, chosen: int | None) -> int:
    """The user's choice, or the default for the model type in `folder`.

    Raises:
        AlphaBenchError: there is no configuration.
    """
    if chosen is not None:
        return chosen
    try:
        config = read_json(folder / "config.json")
        return 1 if config["model_type"] in _ONE_IMAGE else _SEVERAL_IMAGES
    except (UnreadableFileError, KeyError, TypeError) as error:
        raise AlphaBenchError(
            f"{str(folder)!r} has no config.json that names a model type",
            hint="give a folder that transformers saved, or a hub id",
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateFields:
    """Fields of the chat template besides the messages."""

    thinking: bool | None = None
    """None uses the template's default."""

    def of(self, question: Question) -> dict[str, Any]:
        """The question's question_fields fields override the judge's.

        Raises:
            LastingError: the question asks for a field of a web service.
        """
        extra = dict(question.sampling.extra)
        question_fields = extra.pop(TEMPLATE_FIELD, {})
        extra.pop(PENALTY_FIELD, None)
        if extra:
            raise LastingError(f"a judge in this process does not support the field {min(extra)!r}")
        thinking = {} if self.thinking is None else {"enable_thinking": self.thinking}
        return {**thinking, **question_fields}


def repetition_penalty(sampling: ReplySampling) -> float:
    """By which the logits of tokens that occurred are divided or multiplied; 1 for none.

    Raises:
        LastingError: it is no positive number.
    """
    penalty = sampling.extra.get(PENALTY_FIELD, 1.0)
    if isinstance(penalty, bool) or not isinstance(penalty, int | float) or not penalty > 0:
        raise LastingError(f"{PENALTY_FIELD} is above 0, and not {penalty!r}")
    return float(penalty)


def with_extra_tokens(question: Question, extra_tokens: int) -> Question:
    """The question with a wider bound on its reply, for models that think before they answer."""
    sampling = question.sampling
    wider = replace(sampling, max_tokens=sampling.max_tokens + extra_tokens)
    return replace(question, sampling=wider) if extra_tokens else question


def with_opened_thought(prompt: str, text: str) -> str:
    """A reply, preceded by the opening mark of a thought if the chat template has one."""
    is_thought_open = split_thought(prompt[-_END_OF_A_PROMPT:]).answer is None
    return f"{_OPENED}{text}" if is_thought_open else text


def reply_text(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of generated tokens, without control tokens except those that mark a thought.

    Without these marks the thought would be parsed as the answer.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {})
    control = {number: str(token.content) for number, token in added.items() if token.special}
    visible_tokens = [
        token
        for token in tokens
        if (mark := control.get(token)) is None or split_thought(mark).answer != mark
    ]
    # A tokenizer that does not list its control tokens skips them itself.
    text: str = tokenizer.decode(visible_tokens, skip_special_tokens=not control)
    return text


def refuse_control_tokens(question: Question, control_tokens: Iterable[str]) -> None:
    """Refuse text that would end the user's turn, or stand for an image, inside a prompt.

    Raises:
        LastingError: the question contains one of the tokenizer's control tokens.
    """
    texts = [question.system or "", *(part for part in question.parts if isinstance(part, str))]
    for token in control_tokens:
        if any(token in text for text in texts):
            raise LastingError(f"the text holds {token!r}, which controls this model")


def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """The control tokens of a tokenizer of transformers, sorted."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return tuple(sorted(str(token.content) for token in added if token.special and token.content))


def n_images(question: Question) -> int:
    """How many images a question shows."""
    return sum(isinstance(part, ImagePart) for part in question.parts)


def answers_in_batches(
    questions: Iterable[Question],
    prepare: Callable[[Question], T],
    reply: Callable[[Sequence[T]], Sequence[Reply]],
    *,
    size: int,
) -> Iterator[Answer]:
    """One answer for each question, in order.

    Args:
        questions: read `size` at a time.
        prepare: what a question becomes; a LastingError or UnusableImageError concerns it alone.
        reply: replies to a batch, in order. Any error splits the batch, so that a question that
            cannot be answered fails alone.
        size: of a batch, at most.

    Raises:
        AlphaBenchError: raised by `prepare` or `reply`, or question after question fails.
    """
    failures = 0
    remaining = iter(questions)
    while batch := list(itertools.islice(remaining, size)):
        ready: dict[int, T] = {}
        results: dict[int, Reply | str] = {}
        for position, question in enumerate(batch):
            try:
                ready[position] = prepare(question)
            except (LastingError, UnusableImageError) as error:
                results[position] = short_line(str(error))
        results |= zip(ready, _replies(list(ready.values()), reply), strict=True)
        for position, question in enumerate(batch):
            result = results[position]
            if isinstance(result, Reply):
                failures = 0
                yield read_reply(question, result)
                continue
            failures += position in ready
            if failures >= _MOST_FAILURES:
                raise AlphaBenchError(
                    f"the judge failed on {failures} questions in a row: {result}",
                    hint="fix the cause, then give the same command again; its answers are saved",
                )
            yield unscored(question, "failed", result)


def _replies(
    batch: Sequence[T], reply: Callable[[Sequence[T]], Sequence[Reply]]
) -> list[Reply | str]:
    """For each item, a reply or the reason why there is none."""
    if not batch:
        return []
    try:
        return list(reply(batch))
    except AlphaBenchError:
        raise
    except Exception as error:  # noqa: BLE001 - the boundary to a model library
        if len(batch) == 1:
            return [short_line(f"{type(error).__name__}: {error}")]
    half = len(batch) // 2
    return [*_replies(batch[:half], reply), *_replies(batch[half:], reply)]


def identity_of(
    kind: str, weights: WeightsFolder, settings: Mapping[str, object]
) -> dict[str, str]:
    """Settings that are None are left out: they change nothing."""
    chosen = {key: str(value) for key, value in settings.items() if value is not None}
    return {"kind": kind, "model": weights.identity, **chosen}
