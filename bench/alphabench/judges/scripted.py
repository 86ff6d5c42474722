"""A judge that answers from a table or a function, with faults on request.

Deterministic and free, for testing a benchmark, an answer format or a complete run. Reads no image
unless its function does.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.files import UnreadableFileError, read_json
from alphabench.core.options import fill
from alphabench.judges.parsing import FILTERED, REFUSAL, read_reply, unscored
from alphabench.questions import Answer, Capabilities, NamedToken, Question, Reply

MishapKind = Literal[
    "rate_limited", "server_error", "slow", "garbage", "refusal", "filtered", "wrong_model",
    "no_logprobs",
]  # fmt: skip
MISHAPS: Final[tuple[MishapKind, ...]] = get_args(MishapKind)
GARBAGE: Final = "\x00\ufffd{<b>%s</b>\r\n\u202e]]>"
"""Text that no answer format can parse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishap:
    """Something that goes wrong with one question.

    rate_limited, server_error: the call fails for good. slow: the answer comes, but late.
    garbage: the reply cannot be parsed. refusal, filtered: the model or the host declines.
    wrong_model: another model answers, which stops the run. no_logprobs: the answer comes
    without log-probabilities.
    """

    kind: MishapKind
    answer: str | float | Reply = "yes"
    """The answer for mishaps that leave one: slow, wrong_model, no_logprobs."""
    seconds: float = 0.0
    """Delay of a slow answer."""

    def __post_init__(self) -> None:
        if self.kind not in MISHAPS:
            raise ValueError(f"{self.kind!r} is none of {MISHAPS}")


_FAULTS: Final[Mapping[str, str]] = {
    "rate_limited": "HTTP 429: too many requests",
    "server_error": "HTTP 500: the server failed",
}

ScriptedReply = str | float | Reply | Mishap
"""A reply's text, the probability of yes (0 to 1), a complete reply, or a fault."""
Script = str | float | Mapping[Any, ScriptedReply] | Callable[[Question], ScriptedReply]
"""One answer for all; a table; or a function.

A table's keys are (image id, question id) pairs, or question ids for whatever image.
"""


@dataclass
class ScriptedJudge:
    """Answers from its script. Can be pickled if its script can."""

    answer: Script
    _: KW_ONLY
    name: str = "scripted"
    """The model name that it reports; part of the identity."""
    images_per_question: int = 8
    logprobs: bool = True
    named_tokens: bool = True
    """Give the probabilities of named first tokens too, as judges in this process do."""
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    asked: list[tuple[str, str]] = field(default_factory=list, repr=False)
    """(image id, question id) of every question so far."""

    @property
    def identity(self) -> Mapping[str, str]:
        return {"kind": "scripted", "model": self.name}

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            images_per_question=self.images_per_question,
            logprobs=self.logprobs,
            named_tokens=self.logprobs and self.named_tokens,
        )

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """See `Judge.ask`.

        Raises:
            AlphaBenchError: a mishap `wrong_model`, or a table without this question.
        """
        for question in questions:
            self.asked.append((question.image_id, question.id))
            yield self._answer(question, self._look_up(question))

    def _look_up(self, question: Question) -> ScriptedReply:
        script = self.answer
        if isinstance(script, str | int | float):
            return script
        if not isinstance(script, Mapping):
            return script(question)
        for key in ((question.image_id, question.id), question.id):
            if key in script:
                scripted: ScriptedReply = script[key]
                return scripted
        raise AlphaBenchError(
            f"the scripted judge has no answer to {question.id!r} about {question.image_id!r}",
            hint="add it to the table",
        )

    def _answer(self, question: Question, scripted: ScriptedReply) -> Answer:
        if isinstance(scripted, Mishap):
            if scripted.kind in _FAULTS:
                return unscored(question, "failed", _FAULTS[scripted.kind])
            scripted = self._reply_to(question, scripted)
        return read_reply(question, self.reply(question, scripted))

    def _reply_to(self, question: Question, mishap: Mishap) -> str | float | Reply:
        match mishap.kind:
            case "slow":
                self.sleep(mishap.seconds)
            case "garbage":
                return replace(self.reply(question, GARBAGE), named_tokens=())
            case "refusal":
                return Reply(text="I cannot help.", model=self.name, finish_reason=REFUSAL)
            case "filtered":
                return Reply(text="", model=self.name, finish_reason=FILTERED)
            case "no_logprobs":
                reply = self.reply(question, mishap.answer)
                return replace(reply, first_token=(), named_tokens=())
            case "wrong_model":
                raise AlphaBenchError(
                    f"the judge {self.name!r} was asked, and 'another-model' answered",
                    hint="take the mishap out of the script",
                )
        return mishap.answer

    def reply(self, question: Question, scripted: str | float | Reply) -> Reply:
        """The reply in full; log-probabilities only if the question asks for them."""
        if isinstance(scripted, Reply):
            return scripted
        wanted = self.logprobs and question.sampling.top_logprobs > 0
        if isinstance(scripted, str):
            first = (scripted.split() or [""])[0]
            alternatives: tuple[tuple[str, float], ...] = ((first, 0.0),)
        else:
            alternatives = yes_no_tokens(scripted)
            scripted = alternatives[0][0]
        return Reply(
            text=scripted,
            model=self.name,
            first_token=alternatives if wanted else (),
            named_tokens=_named(question, alternatives) if self.capabilities.named_tokens else (),
            finish_reason="stop",
            tokens_in=sum(len(part.split()) for part in question.parts if isinstance(part, str)),
            tokens_out=len(scripted.split()),
        )


def _named(
    question: Question, alternatives: tuple[tuple[str, float], ...]
) -> tuple[NamedToken, ...]:
    """The named texts as tokens of their own, which have the probabilities of the alternatives."""
    known = {token: math.exp(logprob) for token, logprob in alternatives}
    texts = question.sampling.first_tokens
    return tuple(NamedToken(text, texts.index(text), text, known.get(text, 0.0)) for text in texts)


def yes_no_tokens(p_yes: float) -> tuple[tuple[str, float], ...]:
    """First tokens that put `p_yes` (0 to 1) on yes, the likelier one first."""
    if not 0.0 <= p_yes <= 1.0:
        raise ValueError(f"{p_yes!r} is no probability")
    pairs = (("Yes", p_yes), ("No", 1.0 - p_yes))
    likely = sorted(pairs, key=lambda pair: -pair[1])
    return tuple((token, math.log(p)) for token, p in likely if p > 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedOptions:
    """Options of `scripted:`; with a path after the colon, answers come from that JSON file."""

    answer: str = "yes"
    """The reply to every question, or the probability of yes."""
    fail: float = 0.0
    """The share of questions with a mishap, 0 to 1."""
    mishaps: str = "rate_limited,server_error,slow,garbage,refusal,filtered,no_logprobs"
    """Which kinds, all equally often."""
    seed: int = 0
    """Decides which questions have a mishap."""
    name: str = "scripted"
    """The model name that it reports."""
    logprobs: bool = True
    """Give log-probabilities when asked for."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.fail <= 1.0:
            raise ValueError(f"fail lies between 0 and 1, not at {self.fail!r}")
        for kind in self.mishaps.split(","):
            if kind not in MISHAPS:
                raise unknown_name("mishap", kind, MISHAPS)


def open_scripted(location: str, *, options: Mapping[str, str], device: str) -> ScriptedJudge:
    """`scripted:` or `scripted:answers.json`.

    The file holds `{"IMAGE ID": {"QUESTION ID": "answer"}}`, or `*` for any image.

    Raises:
        AlphaBenchError: an unknown option, or a file of another form.
    """
    del device
    chosen = fill(ScriptedOptions, options, owner="scripted:")
    table = _read_table(Path(location)) if location else None
    # The mishaps stay out of it: they change no answer that is scored.
    name = chosen.name if table is None else f"{chosen.name}@{_digest_of(table)}"
    if table is None and chosen.answer != "yes":
        name = f"{name}={chosen.answer}"
    return ScriptedJudge(MishapScript(chosen, table), name=name, logprobs=chosen.logprobs)


@dataclass(frozen=True, slots=True)
class MishapScript:
    """The script of `scripted:`: a table or one answer; the content's hash selects the mishaps."""

    options: ScriptedOptions
    table: Mapping[str, Mapping[str, str]] | None = None

    def __call__(self, question: Question) -> ScriptedReply:
        answer = self._answer(question)
        key = f"{self.options.seed}/{question.image_id}/{question.content_digest}"
        digest = hashlib.sha256(key.encode()).digest()
        if int.from_bytes(digest[:6], "big") / 2**48 >= self.options.fail:
            return answer
        kinds = self.options.mishaps.split(",")
        kind = kinds[int.from_bytes(digest[6:8], "big") % len(kinds)]
        (known,) = (one for one in MISHAPS if one == kind)
        return Mishap(kind=known, answer=answer)

    def _answer(self, question: Question) -> str | float:
        if self.table is None:
            return _number_or_text(self.options.answer)
        for image in (question.image_id, "*"):
            if question.id in self.table.get(image, {}):
                return _number_or_text(self.table[image][question.id])
        raise AlphaBenchError(
            f"the table has no answer to {question.id!r} about {question.image_id!r}",
            hint="add it under the image's id, or under '*'",
        )


def _number_or_text(text: str) -> str | float:
    """`0.8` is a probability of yes; `8` and `8/10` are text of a reply."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if "." in text and 0.0 <= number <= 1.0 else text


def _read_table(path: Path) -> dict[str, dict[str, str]]:
    try:
        table = read_json(path.expanduser())
        return {
            str(image): {str(key): str(scripted) for key, scripted in answers.items()}
            for image, answers in table.items()
        }
    except (UnreadableFileError, AttributeError) as error:
        raise AlphaBenchError(
            f"{str(path)!r} is not a table of answers ({error})",
            hint='write {"IMAGE ID": {"QUESTION ID": "answer"}} as JSON',
        ) from error


def _digest_of(table: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:12]
