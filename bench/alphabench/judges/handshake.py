"""Has a judge prove itself before any image is made for it.

`full`: it answers under its own name, gives log-probabilities where they are needed, knows what is
on drawn pictures, and tells the first of two pictures from the second. `protocol`: it answers, and
with what is needed; for models that cannot see yet. Replies that cannot be read (cut off, empty, a
thought) say nothing about what a judge sees, and are reported as that. Nothing comes from a cache.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Licensed
from alphabench.judges.parsing import HINT_WITHOUT_LOGPROBS, thinks
from alphabench.judges.yesno import YesNo, YesNoProbability, YesNoText, yes_no_question
from alphabench.questions import Answer, Capabilities, ImagePart, Judge, Question

HandshakeLevel = Literal["full", "protocol", "off"]

_MISTAKES_ALLOWED: Final = 1
"""Of the anchors; a judge that always says one word makes six of twelve."""
_SIDE: Final = 256
_CERTAIN: Final = -1e-6
"""A log-probability below it leaves room for other tokens."""
_CAN_BE_SKIPPED: Final = "handshake=protocol checks only that it answers, and labels the results"


@dataclass(frozen=True, slots=True)
class Anchor:
    """A drawn object, a question that is true of it and one that is not."""

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
    told: str
    """The question in words, for the error."""


@runtime_checkable
class Preparable(Protocol):
    """A judge with something that can be found wrong before it is asked."""

    def prepare(self) -> None:
        """Find out.

        Raises:
            AlphaBenchError: it could not be used.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VettedJudge:
    """A judge and how it proves itself; what it was made to prove enters its identity."""

    judge: Judge
    tested: Judge
    """The same judge without a cache before it."""
    level: HandshakeLevel = "full"

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
        """See `shake_hands`; a cache is tried before anything is asked."""
        if isinstance(self.judge, Preparable):
            self.judge.prepare()
        shake_hands(self.tested, needs, level=self.level)


def shake_hands(judge: Judge, needs: Capabilities, *, level: HandshakeLevel = "full") -> None:
    """Ask what is known already.

    Args:
        judge: asked itself, about pictures in a temporary folder.
        needs: what the questions to come will need.
        level: see the module; `off` asks nothing.

    Raises:
        AlphaBenchError: it does not answer, lacks what is needed, or is wrong too often.
    """
    if level == "off":
        return
    answer_format: YesNo = YesNoProbability() if needs.logprobs else YesNoText()
    with tempfile.TemporaryDirectory(prefix="alphabench-handshake-") as folder:
        pictures = [_draw(anchor, Path(folder)) for anchor in ANCHORS]
        if level == "protocol":
            _check_mechanics(judge, needs, pictures)
            return
        _check_anchors(judge, _anchor_trials(pictures, answer_format))
        if needs.images_per_question >= 2:
            _check_order(judge, _order_trials(pictures, answer_format))


def _check_mechanics(judge: Judge, needs: Capabilities, pictures: Sequence[ImagePart]) -> None:
    answer_format: YesNo = YesNoProbability() if needs.logprobs else YesNoText()
    shown = pictures[: max(1, min(needs.images_per_question, len(pictures)))]
    question = yes_no_question(
        ANCHORS[0].true,
        shown,
        image_id="handshake",
        question_id="mechanics",
        answer_format=answer_format,
    )
    (answer,) = judge.ask([question])
    _must_have_replied(judge, answer, needs_logprobs=needs.logprobs)
    if answer.status == "unparsed" and answer.reply is not None:
        said = answer.reply.text.strip() or answer.reply.first_token
        if not said or thinks(answer.reply):
            raise _unreadable(judge, [answer], 1)


def _check_anchors(judge: Judge, trials: Sequence[_Trial]) -> None:
    wrong = _mistakes(judge, trials)
    if len(wrong) > _MISTAKES_ALLOWED:
        raise AlphaBenchError(
            f"the judge {_name(judge)} is wrong on {len(wrong)} of {len(trials)} questions about "
            f"drawn pictures, such as {wrong[0]}",
            hint=f"choose a judge that sees; {_CAN_BE_SKIPPED}",
        )


def _check_order(judge: Judge, trials: Sequence[_Trial]) -> None:
    if wrong := _mistakes(judge, trials):
        raise AlphaBenchError(
            f"the judge {_name(judge)} does not tell the first of two pictures from the second: "
            f"{wrong[0]}",
            hint=f"choose a judge that takes several images a question; {_CAN_BE_SKIPPED}",
        )


def _mistakes(judge: Judge, trials: Sequence[_Trial]) -> list[str]:
    """What it said wrongly, or refused, in words.

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
            said = (answer.reply.text if answer.reply else answer.reason)[:60]
            wrong.append(f"{trial.told!r} -> {said!r} ({answer.status})")
        elif (answer.values[0] > 0.5) != trial.expected:
            wrong.append(f"{trial.told!r} -> {'no' if trial.expected else 'yes'}")
    if len(unread) > _MISTAKES_ALLOWED:
        raise _unreadable(judge, unread, len(trials))
    return wrong


def _unreadable(judge: Judge, unread: Sequence[Answer], asked: int) -> AlphaBenchError:
    """What is wrong with the replies, where it is not what the judge sees."""
    first = unread[0]
    reply = first.reply
    assert reply is not None
    said = f"; it said {reply.text.strip()[:60]!r}" if reply.text.strip() else ""
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
        f"the judge's replies to {len(unread)} of {asked} questions about drawn pictures cannot be "
        f"read ({_name(judge)}): {first.reason}{said}",
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
            f"the judge {_name(judge)} tells one alternative of the first token "
            f"({alternatives[0][0]!r}, {math.exp(min(0.0, alternatives[0][1])):.2f}), and P(yes) "
            "needs several",
            hint=HINT_WITHOUT_LOGPROBS,
        )


def _anchor_trials(pictures: Sequence[ImagePart], answer_format: YesNo) -> list[_Trial]:
    return [
        _trial(text, [picture], answer_format, expected=expected)
        for anchor, picture in zip(ANCHORS, pictures, strict=True)
        for text, expected in ((anchor.true, True), (anchor.false, False))
    ]


def _order_trials(pictures: Sequence[ImagePart], answer_format: YesNo) -> list[_Trial]:
    """The same two pictures in both orders, asked about each place."""
    apple, elephant = pictures[0], pictures[2]
    first, second = "Is there an apple in the first picture?", "Is there an apple in the second?"
    return [
        _trial(first, [apple, elephant], answer_format, expected=True),
        _trial(first, [elephant, apple], answer_format, expected=False),
        _trial(second, [apple, elephant], answer_format, expected=False),
        _trial(second, [elephant, apple], answer_format, expected=True),
    ]


def _trial(
    text: str, pictures: Sequence[ImagePart], answer_format: YesNo, *, expected: bool
) -> _Trial:
    digest = hashlib.sha256("".join([text, *(p.sha256 for p in pictures)]).encode()).hexdigest()
    question = yes_no_question(
        text, pictures, image_id="handshake", question_id=digest[:12], answer_format=answer_format
    )
    return _Trial(question, expected, text)


def _draw(anchor: Anchor, folder: Path) -> ImagePart:
    from alphabench.scenes.render import render
    from alphabench.scenes.spec import Background, Scene, SceneObject

    thing = SceneObject(category=anchor.category, colour=anchor.colour, x=0.5, y=0.5, size=0.7)
    ground = Background(first=(235, 235, 232))
    scene = Scene(background=ground, objects=(thing,), seed=7)
    path = folder / f"{anchor.category}.png"
    render(scene, _SIDE, _SIDE).image.save(path)
    return ImagePart(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def _name(judge: Judge) -> str:
    return repr(judge.identity.get("model", judge.identity.get("kind", "?")))
