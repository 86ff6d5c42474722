"""Checks a judge on questions with known answers before any image is generated for it.

`full`: it answers under its own name, gives log-probabilities where they are needed, recognises the
objects in rendered images, and distinguishes the first of two images from the second. `protocol`:
it answers with what is needed; for models that cannot see yet. Replies that cannot be parsed (cut
off, empty, a thought) say nothing about what a judge sees and are reported as such. Bypasses the
cache.
"""

from __future__ import annotations

import hashlib
import io
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import CanBeRetired, Licensed
from alphabench.judges.parsing import HINT_WITHOUT_LOGPROBS, thinks
from alphabench.judges.yesno import YesNo, YesNoProbability, YesNoText, yes_no_question
from alphabench.questions import Answer, Capabilities, ImagePart, Judge, Question

HandshakeLevel = Literal["full", "protocol", "off"]

_MISTAKES_ALLOWED: Final = 1
"""Of the anchors; a judge that always gives the same answer makes six of twelve."""
_SIDE: Final = 256
_CERTAIN: Final = -1e-6
"""A log-probability below it leaves room for other tokens."""
_CAN_BE_SKIPPED: Final = "handshake=protocol checks only that it answers, and labels the results"


@dataclass(frozen=True, slots=True)
class Anchor:
    """A rendered object, a question whose answer is yes and one whose answer is no."""

    category: str
    colour: str
    true: str
    false: str


ANCHORS: Final = (
    Anchor("apple", "red", "Is there an apple?", "Is there a bicycle?"),
    Anchor("umbrella", "blue", "Is the umbrella blue?", "Is the umbrella yellow?"),
    Anchor("elephant", "pink", "Is there an elephant?", "Is there a pizza?"),
    Anchor("car", "green", "Is the car green?", "Is the car purple?"),
    Anchor("scissors", "orange", "Is there a pair of scissors?", "Is there a dog?"),
    Anchor("vase", "purple", "Is the vase purple?", "Is there a train?"),
)


class _Trial(NamedTuple):
    question: Question
    expected: bool
    text: str
    """The question, for the error message."""


@runtime_checkable
class Preparable(Protocol):
    """A judge with something to check before the first question."""

    def prepare(self) -> None:
        """Check it.

        Raises:
            AlphaBenchError: it could not be used.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VettedJudge:
    """A judge with the level of its handshake, which is part of its identity."""

    judge: Judge
    tested: Judge
    """The same judge without a cache."""
    level: HandshakeLevel = "full"
    _shown: set[Capabilities] = field(default_factory=set, init=False, repr=False, compare=False)
    """What it has shown in this process that it can do: the runs of a suite share their judge."""

    @property
    def identity(self) -> Mapping[str, str]:
        return {**self.judge.identity, "self_test": {"full": "on"}.get(self.level, self.level)}

    @property
    def capabilities(self) -> Capabilities:
        return self.judge.capabilities

    @property
    def licences(self) -> Mapping[str, str]:
        return self.judge.licences if isinstance(self.judge, Licensed) else {}

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        return self.judge.ask(questions)

    def shake_hands(self, needs: Capabilities) -> None:
        """See `shake_hands`; end of the model and cache are checked before the first question.

        Once for the same needs.
        """
        if needs in self._shown:
            return
        if self.level != "off" and isinstance(self.tested, CanBeRetired):
            self.tested.check_retirement()
        if isinstance(self.judge, Preparable):
            self.judge.prepare()
        shake_hands(self.tested, needs, level=self.level)
        self._shown.add(needs)


def shake_hands(judge: Judge, needs: Capabilities, *, level: HandshakeLevel = "full") -> None:
    """Ask questions with known answers.

    Args:
        judge: without a cache; asked about images in a temporary folder.
        needs: what the benchmark's questions need.
        level: see the module; `off` asks nothing.

    Raises:
        AlphaBenchError: it does not answer, lacks what is needed, or is wrong too often.
    """
    if level == "off":
        return
    answer_format: YesNo = YesNoProbability() if needs.logprobs else YesNoText()
    with tempfile.TemporaryDirectory(prefix="alphabench-handshake-") as folder:
        if level == "protocol":
            shown = ANCHORS[: max(1, needs.images_per_question)]
            _check_mechanics(judge, needs, [_anchor_image(one, Path(folder)) for one in shown])
            return
        images = [_anchor_image(anchor, Path(folder)) for anchor in ANCHORS]
        _check_anchors(judge, _anchor_trials(images, answer_format))
        if needs.images_per_question >= 2:
            _check_order(judge, _order_trials(images, answer_format))


def _check_mechanics(judge: Judge, needs: Capabilities, images: Sequence[ImagePart]) -> None:
    answer_format: YesNo = YesNoProbability() if needs.logprobs else YesNoText()
    question = yes_no_question(
        ANCHORS[0].true,
        images,
        image_id="handshake",
        question_id="mechanics",
        answer_format=answer_format,
    )
    (answer,) = judge.ask([question])
    _must_have_replied(judge, answer, needs_logprobs=needs.logprobs)
    if answer.status == "unparsed" and answer.reply is not None:
        text = answer.reply.text.strip() or answer.reply.first_token
        if not text or thinks(answer.reply):
            raise _unreadable(judge, [answer], 1)


def _check_anchors(judge: Judge, trials: Sequence[_Trial]) -> None:
    wrong = _mistakes(judge, trials)
    if len(wrong) > _MISTAKES_ALLOWED:
        raise AlphaBenchError(
            f"the judge {_name(judge)} is wrong on {len(wrong)} of {len(trials)} questions about "
            f"rendered images, such as {wrong[0]}",
            hint=f"choose a judge that sees; {_CAN_BE_SKIPPED}",
        )


def _check_order(judge: Judge, trials: Sequence[_Trial]) -> None:
    if wrong := _mistakes(judge, trials):
        raise AlphaBenchError(
            f"the judge {_name(judge)} does not distinguish the first of two images from the "
            f"second: {wrong[0]}",
            hint=f"choose a judge that takes several images a question; {_CAN_BE_SKIPPED}",
        )


def _mistakes(judge: Judge, trials: Sequence[_Trial]) -> list[str]:
    """Descriptions of its wrong or refused answers.

    Raises:
        AlphaBenchError: it does not answer, or more than one of its replies cannot be read.
    """
    wrong, unread = [], []
    answers = list(judge.ask(t.question for t in trials))  # all, or the error that stopped it
    for trial, answer in zip(trials, answers, strict=True):
        by_logprobs = isinstance(trial.question.answer_format, YesNoProbability)
        _must_have_replied(judge, answer, needs_logprobs=by_logprobs)
        if answer.status == "unparsed":
            unread.append(answer)
        if answer.values is None:
            text = (answer.reply.text if answer.reply else answer.reason)[:60]
            wrong.append(f"{trial.text!r} -> {text!r} ({answer.status})")
        elif (answer.values[0] > 0.5) != trial.expected:
            wrong.append(f"{trial.text!r} -> {'no' if trial.expected else 'yes'}")
    if len(unread) > _MISTAKES_ALLOWED:
        raise _unreadable(judge, unread, len(trials))
    return wrong


def _unreadable(judge: Judge, unread: Sequence[Answer], asked: int) -> AlphaBenchError:
    """The error for replies that cannot be parsed, which say nothing about what the judge sees."""
    first = unread[0]
    reply = first.reply
    assert reply is not None
    text = f"; it replied {reply.text.strip()[:60]!r}" if reply.text.strip() else ""
    hint = f"choose a judge that answers with one word; {_CAN_BE_SKIPPED}"
    if any(thinks(answer.reply) for answer in unread if answer.reply is not None):
        hint = (
            "it thinks before it answers: switch that off with the judge's option thinking=false "
            "(or what its host knows, see docs/judges.md), or have the word read and allow longer "
            "replies with extra_tokens=4096"
        )
    elif isinstance(first.question.answer_format, YesNoProbability):
        hint = (
            "its first token is not yes or no; have the word itself read (--evaluator "
            "'judge?reading=text', or 'dvreward?answer=text'), or choose another judge"
        )
    return AlphaBenchError(
        f"the judge's replies to {len(unread)} of {asked} questions about rendered images cannot "
        f"be parsed ({_name(judge)}): {first.reason}{text}",
        hint=hint,
    )


def _must_have_replied(judge: Judge, answer: Answer, *, needs_logprobs: bool) -> None:
    if answer.reply is None:
        raise AlphaBenchError(
            f"the judge {_name(judge)} does not answer: {answer.reason}",
            hint="check that it is up and takes images, then give the same command again",
        )
    if needs_logprobs and not answer.reply.first_token and answer.status != "refused":
        raise AlphaBenchError(
            f"the judge {_name(judge)} gives no log-probabilities, and these questions are read "
            "from them",
            hint=HINT_WITHOUT_LOGPROBS,
        )
    alternatives = answer.reply.first_token
    if needs_logprobs and len(alternatives) == 1 and alternatives[0][1] < _CERTAIN:
        raise AlphaBenchError(
            f"the judge {_name(judge)} gives one alternative of the first token "
            f"({alternatives[0][0]!r}, {math.exp(min(0.0, alternatives[0][1])):.2f}), and P(yes) "
            "needs several",
            hint=HINT_WITHOUT_LOGPROBS,
        )


def _anchor_trials(images: Sequence[ImagePart], answer_format: YesNo) -> list[_Trial]:
    return [
        _trial(text, [image], answer_format, expected=expected)
        for anchor, image in zip(ANCHORS, images, strict=True)
        for text, expected in ((anchor.true, True), (anchor.false, False))
    ]


def _order_trials(images: Sequence[ImagePart], answer_format: YesNo) -> list[_Trial]:
    """The same two images in both orders, with a question about each position."""
    apple, elephant = images[0], images[2]
    first, second = "Is there an apple in the first picture?", "Is there an apple in the second?"
    return [
        _trial(first, [apple, elephant], answer_format, expected=True),
        _trial(first, [elephant, apple], answer_format, expected=False),
        _trial(second, [apple, elephant], answer_format, expected=False),
        _trial(second, [elephant, apple], answer_format, expected=True),
    ]


def _trial(
    text: str, images: Sequence[ImagePart], answer_format: YesNo, *, expected: bool
) -> _Trial:
    digest = hashlib.sha256("".join([text, *(p.sha256 for p in images)]).encode()).hexdigest()
    question = yes_no_question(
        text, images, image_id="handshake", question_id=digest[:12], answer_format=answer_format
    )
    return _Trial(question, expected, text)


def _anchor_image(anchor: Anchor, folder: Path) -> ImagePart:
    content = _render_anchor(anchor)
    path = folder / f"{anchor.category}.png"
    path.write_bytes(content)
    return ImagePart(path=path, sha256=hashlib.sha256(content).hexdigest())


@cache
def _render_anchor(anchor: Anchor) -> bytes:
    """The image as PNG; a process may open many judges."""
    from alphabench.scenes.render import render
    from alphabench.scenes.spec import Background, Scene, SceneObject

    anchor_object = SceneObject(
        category=anchor.category, colour=anchor.colour, x=0.5, y=0.5, size=0.7
    )
    background = Background(first=(235, 235, 232))
    scene = Scene(background=background, objects=(anchor_object,), seed=7)
    content = io.BytesIO()
    render(scene, _SIDE, _SIDE).image.save(content, "PNG")
    return content.getvalue()


def _name(judge: Judge) -> str:
    return repr(judge.identity.get("model", judge.identity.get("kind", "?")))
