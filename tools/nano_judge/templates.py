"""The fixed sentences that judges are told, each of which is one token of the nano judge.

Taken from the code that asks, by asking about a mark: a wording that changes there changes here,
and a judge trained on the old one must be trained again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alphabench.benchmarks.gedit import viescore
from alphabench.benchmarks.wise.questions import own_wise_template
from alphabench.benchmarks.wise.scoring import EDITIONS
from alphabench.judges.yesno import OWN_TEMPLATE
from alphabench.questions import ImagePart
from alphagrpo import holistic
from alphagrpo.dvreward import verification

_MARK: Final = "\x01"
_SECOND: Final = "\x02"
_PICTURE: Final = ImagePart(path=Path("x.png"), sha256="0")


@dataclass(frozen=True, slots=True)
class Sentences:
    """The fixed pieces around what varies, in order."""

    pieces: tuple[str, ...]

    def filled(self, *words: str) -> str:
        """The whole text, with words between the pieces."""
        parts = [self.pieces[0]]
        for word, piece in zip(words, self.pieces[1:], strict=True):
            parts += [word, piece]
        return "".join(parts)


def _cut(text: str, *marks: str) -> Sentences:
    pieces, rest = [], text
    for mark in marks:
        before, found, rest = rest.partition(mark)
        assert found, f"the wording lost its place for {mark!r}"
        pieces.append(before)
    return Sentences((*pieces, rest))


def _wise(edition: str) -> Sentences:
    message = own_wise_template(EDITIONS[edition]).message(_MARK, _SECOND, _PICTURE)
    (text,) = [part for part in message if isinstance(part, str)]
    return _cut(text, _MARK, _SECOND)


def _holistic(name: str) -> str:
    for question in holistic.holistic_questions("", _PICTURE, _MARK):
        if question.id == name:
            return next(part for part in question.parts if isinstance(part, str))
    raise AssertionError(f"holistic asks no {name!r}")


OWN: Final = _cut(OWN_TEMPLATE, "{question}")
DVREWARD: Final = _cut(verification.WORDING, "{question}")
DVREWARD_SYSTEM: Final = verification.SYSTEM
WISE_BINARY: Final = _wise("verified")
WISE_THREE: Final = _wise("legacy")
EDIT: Final = _cut(viescore.OWN.semantics, "<instruction>")
LOOK: Final = viescore.OWN.quality
HOLISTIC_SYSTEM: Final = holistic.SYSTEM
CONSISTENCY: Final = _cut(_holistic("consistency"), '"\\u0001"')
QUALITY: Final = _holistic("quality")

EDIT_ANSWER: Final = Sentences(('{"score": [', ", ", '], "reasoning": "', '"}'))
CONSISTENCY_ANSWER: Final = Sentences(('{"why": "', '", "grades": [', "]}"))
QUALITY_ANSWER: Final = Sentences(('{"why": "', '", "grades": [', ", ", "]}"))
THREE_ANSWER: Final = Sentences(("Consistency: ", "\nRealism: ", "\nAesthetic Quality: ", ""))
ONE_ANSWER: Final = Sentences(("Score: ", ""))

REASONS: Final = {
    "all": "all of it is there",
    "part": "only part of it is there",
    "none": "nothing of it is there",
    "done": "it was done",
    "half": "it was done in part",
    "undone": "it was not done",
    "more": "something else was changed as well",
    "clean": "it is well made",
    "marred": "it is marred",
    "spoilt": "it is spoilt",
}

PHRASES: Final = (
    "Is there a", "Is there an", "Is there exactly one", "Are there exactly", "Are there at least",
    "Are there fewer than", "Are there more", "Are there", "Is the picture free of",
    "Is the picture", "Is the background", "Is the", "Is a", "Can a", "Can an",
    "Does the picture show a", "Does the picture show an", "Does the", "Are all the", "Are all",
    "Are both", "Are the", "Counting all objects,", " are there exactly", " is there exactly one",
    " in the picture?", " in the image?", " be seen", " to the left of the",
    " to the right of the", " above the", " below the", " to the left of", " to the right of",
    " take up more of the picture than the", " instead of the", " in the middle",
    " at the upper left", " at the upper right", " at the lower left", " at the lower right",
    " in the upper left corner", " in the upper right corner", " in the lower left corner",
    " in the lower right corner", " one plain colour", " soft cloudy blotches", " a checkerboard",
    " a smooth gradient from one colour to another", " The image should show", "This refers to a",
    "This refers to an", "a picture of", "a photo of", "an image of", "a drawing of", "show me",
    "Is every object a whole, clearly outlined shape?",
    "Is the picture free of smears and objects melting into each other?",
    "Is the picture free of blur and stray artefacts?",
)  # fmt: skip
"""Openings and ends of questions; as tokens of their own they halve what a question costs."""


def long_tokens() -> list[str]:
    """Fixed pieces, frames of answers and frequent phrases; the longest first."""
    texts = [DVREWARD_SYSTEM, HOLISTIC_SYSTEM, LOOK, QUALITY, *REASONS.values(), *PHRASES]
    for one in (OWN, DVREWARD, WISE_BINARY, WISE_THREE, EDIT, CONSISTENCY):
        texts += one.pieces
    for one in (EDIT_ANSWER, CONSISTENCY_ANSWER, QUALITY_ANSWER, THREE_ANSWER, ONE_ANSWER):
        texts += [piece for piece in one.pieces if piece != ", "]
    return sorted({text for text in texts if len(text) > 1}, key=lambda text: (-len(text), text))
