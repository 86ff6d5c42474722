"""A transcription: a judge writes down the text that it sees, and its words are counted.

official: as LongText-Bench's scripts read a reply (clean_and_remove_hallucinations in
evaluate_text_reward.py, preprocess_string and calculate_char_match_ratio in summary_scores.py of
X-Omni-Team/X-Omni at 2b8237b): whatever a judge wrote is text that it saw.
strict: an empty reply, one that was cut off and a refusal are no transcription.
Knows no template and no benchmark.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from alphabench.judges.parsing import is_cut
from alphabench.judges.refusals import opens_as_refusal, refuses
from alphabench.questions import Reply

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
_NOTHING: Final = re.compile(r"\W*(?:no text recogni[sz]ed)?\W*", re.IGNORECASE)


class TextMatch(NamedTuple):
    """A transcription against the text that should be there, as multisets of units."""

    matched: int
    """Units in both."""
    expected: int
    """Units that should be there."""
    read: int
    """Units of the transcription; surplus ones cost nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcription:
    """Reads a transcription; the values are the share of the text, and a `TextMatch`."""

    text: str
    """What should be there; with a unit at least."""
    unit: Unit
    strict: bool

    def __post_init__(self) -> None:
        if not units_of(self.text, self.unit):
            raise ValueError(f"{self.text!r} has nothing to count")

    @property
    def as_upstream(self) -> bool:
        """A text may read like a refusal, so it is compared with what should be there first."""
        return True

    @property
    def answer_comes_first(self) -> bool:
        """Upstream reads what it got of a reply."""
        return not self.strict

    @property
    def identity(self) -> Mapping[str, str]:
        reading = "strict" if self.strict else "official"
        return {"contract": f"transcription/{self.unit}", "reading": reading, "version": "1"}

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        """Share, matched, expected and read; None where the reply is no transcription."""
        if is_cut(reply.finish_reason) and not reply.text.strip():
            return None
        if self.strict and self._is_none(reply.text):
            return None
        match = match_texts(transcribed(reply.text, strict=self.strict), self.text, self.unit)
        return (match.matched / match.expected, *map(float, match))

    def _is_none(self, text: str) -> bool:
        declines = refuses(text) or opens_as_refusal(text)
        return not text.strip() or (declines and not opens_as_refusal(self.text))


def transcribed(reply: str, *, strict: bool = False) -> str:
    """The text in a reply.

    Upstream means to delete two phrases and deletes the last of them alone; strict deletes both,
    and takes the sentence that there is no text for none in any spelling.
    """
    if not strict:
        return reply.replace(_NO_TEXT, "")
    text = reply.replace(_ARTEFACT, "")
    return "" if _NOTHING.fullmatch(text) else text


def comparable_text(text: str, unit: Unit) -> str:
    """The text as upstream compares it: only CJK, Latin letters, some accented ones, and digits."""
    if unit == "characters":
        return _NOT_CHARACTERS.sub("", text)
    return re.sub(r"\s+", " ", _NOT_WORDS.sub("", text)).strip().lower()


def units_of(text: str, unit: Unit) -> Counter[str]:
    """The words or characters of a text, with how often each occurs."""
    plain = comparable_text(text, unit)
    return Counter(plain if unit == "characters" else plain.split())


def match_texts(transcription: str, text: str, unit: Unit) -> TextMatch:
    """How much of a text is in a transcription; the order of units does not matter."""
    found, wanted = units_of(transcription, unit), units_of(text, unit)
    return TextMatch((found & wanted).total(), wanted.total(), found.total())
