"""A transcription: a judge writes down the text that it sees, and its words are counted.

`Transcription` counts as LongText-Bench's scripts do (evaluate_text_reward.py and summary_scores.py
of X-Omni-Team/X-Omni at 2b8237b), `LetterTranscription` as OneIG-Bench's (text_utils.py of
OneIG-Bench/OneIG-Benchmark at 41b4983), which keep the case and compare letter by letter too.

official: as those scripts read a reply: whatever a judge wrote is text that it saw.
strict: an empty reply, one that was cut off and a refusal are no transcription.
Knows no benchmark.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from alphabench.core.edit_distances import levenshtein
from alphabench.judges.parsing import is_cut, text_of
from alphabench.judges.refusals import opens_as_refusal, refuses
from alphabench.questions import Reply

OWN_INSTRUCTION: Final = (
    "Write down every piece of writing in this image, once each and exactly as it stands there, "
    "and nothing else. If there is none, write a single dash."
)
"""The project's own wording: another measurement than any of upstream's."""
Unit = Literal["words", "characters"]
"""What is counted: words without regard to case, or each character with its case."""

_ACCENTED: Final = (
    "\u00e0\u00e2\u00e4\u00e9\u00e8\u00ea\u00eb\u00ee\u00ef\u00f4\u00f6\u00f9\u00fb\u00fc\u00e7"
)
_KEPT: Final = f"\u4e00-\u9fa5a-zA-Z0-9{_ACCENTED}{_ACCENTED.upper()}"
_NOT_WORDS: Final = re.compile(rf"[^{_KEPT}\s]")
_NOT_CHARACTERS: Final = re.compile(rf"[^{_KEPT}]")
_NO_TEXT: Final = "No text recognized."
_ARTEFACT: Final = "addCriterion"
"""What Qwen2.5-VL writes now and then where there is nothing of the kind."""
_CJK: Final = re.compile("[\u4e00-\u9fff]")
_NOTHING: Final = re.compile(r"\W*(?:no text recogni[sz]ed)?\W*", re.IGNORECASE)


class TextMatch(NamedTuple):
    """A transcription against the text that should be there, as multisets of units."""

    matched: int
    """Units in both."""
    expected: int
    """Units that should be there."""
    read: int
    """Units of the transcription; surplus ones cost nothing."""


class LetterMatch(NamedTuple):
    """A transcription against the text that should be there, by letters and by units."""

    matched: int
    """Units in both."""
    expected: int
    """Units that should be there: words, or characters where the text has CJK."""
    distance: int
    """Letters to insert, delete or replace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _TextReader:
    """Which replies are transcriptions."""

    text: str
    """What should be there; with a unit at least."""
    strict: bool

    @property
    def as_upstream(self) -> bool:
        """A text may read like a refusal, so it is compared with what should be there first."""
        return True

    @property
    def answer_comes_first(self) -> bool:
        """Upstream reads what it got of a reply."""
        return not self.strict

    @property
    def reading(self) -> str:
        """The name of the reading, for the identity."""
        return "strict" if self.strict else "official"

    def is_none(self, reply: Reply) -> bool:
        """Whether the reply is no transcription."""
        text = reply.text
        if is_cut(reply.finish_reason) and not text.strip():
            return True
        declines = refuses(text) or opens_as_refusal(text)
        return self.strict and (not text.strip() or (declines and not opens_as_refusal(self.text)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcription(_TextReader):
    """Reads a transcription; the values are the share of the text, and a `TextMatch`."""

    unit: Unit

    def __post_init__(self) -> None:
        if not units_of(self.text, self.unit):
            raise ValueError(f"{self.text!r} has nothing to count")

    @property
    def identity(self) -> Mapping[str, str]:
        return {
            "contract": f"transcription/{self.unit}",
            "reading": self.reading,
            "version": "1",
        }

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        """Share, matched, expected and read; None where the reply is no transcription."""
        if self.is_none(reply):
            return None
        match = match_texts(transcribed(reply.text, strict=self.strict), self.text, self.unit)
        return (match.matched / match.expected, *map(float, match))


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterTranscription(_TextReader):
    """Reads a transcription; the values are the share of the text, and a `LetterMatch`."""

    def __post_init__(self) -> None:
        if not match_letters("", self.text).expected:
            raise ValueError(f"{self.text!r} has nothing to count")

    @property
    def identity(self) -> Mapping[str, str]:
        return {"contract": "transcription/letters", "reading": self.reading, "version": "1"}

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        """Share, matched, expected and distance; None where the reply is no transcription."""
        if self.is_none(reply):
            return None
        match = match_letters(self.transcribed(reply.text), self.text)
        return (match.matched / match.expected, *map(float, match))

    def read(self, reply: Reply) -> str:
        """The text that is compared."""
        return self.transcribed(text_of(reply, self))

    def transcribed(self, reply: str) -> str:
        """The text in a reply, without both of upstream's phrases."""
        return transcribed(reply.replace(_ARTEFACT, ""), strict=self.strict)


def transcribed(reply: str, *, strict: bool = False) -> str:
    """The text in a reply.

    Upstream means to delete two phrases and deletes the last of them alone; strict deletes both,
    and takes the sentence that there is no text for none in any spelling.
    """
    if not strict:
        return reply.replace(_NO_TEXT, "")
    text = reply.replace(_ARTEFACT, "")
    return "" if _NOTHING.fullmatch(text) else text


def comparable_text(text: str, unit: Unit, *, keeps_case: bool = False) -> str:
    """The text as upstream compares it: only CJK, Latin letters, some accented ones, and digits."""
    if unit == "characters":
        return _NOT_CHARACTERS.sub("", text)
    words = re.sub(r"\s+", " ", _NOT_WORDS.sub("", text)).strip()
    return words if keeps_case else words.lower()


def comparable_letters(text: str) -> str:
    """The same with its case; a text with CJK loses its blanks."""
    words = comparable_text(text, "words", keeps_case=True)
    return comparable_text(text, "characters") if _CJK.search(words) else words


def units_of(text: str, unit: Unit) -> Counter[str]:
    """The words or characters of a text, with how often each occurs."""
    plain = comparable_text(text, unit)
    return Counter(plain if unit == "characters" else plain.split())


def match_texts(transcription: str, text: str, unit: Unit) -> TextMatch:
    """How much of a text is in a transcription; the order of units does not matter."""
    found, wanted = units_of(transcription, unit), units_of(text, unit)
    return TextMatch((found & wanted).total(), wanted.total(), found.total())


def match_letters(transcription: str, text: str) -> LetterMatch:
    """How near a transcription is to a text; whether units are words is the text's matter."""
    found, wanted = comparable_letters(transcription), comparable_letters(text)
    by_character = bool(_CJK.search(wanted))
    units = [Counter(one if by_character else one.split()) for one in (found, wanted)]
    matched = (units[0] & units[1]).total()
    return LetterMatch(matched, units[1].total(), levenshtein(found, wanted))
