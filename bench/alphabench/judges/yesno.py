"""Yes or no: P(yes) from the first token, or the word itself.

`YesNoProbability` needs a judge with log-probabilities and has no fallback; `YesNoText` is for
judges without them and is another measurement, under another name. Neither looks for words inside
words, and neither guesses; `ExactYes` takes for no whatever is not the word alone. Probabilities
count only where they can be P(yes): see `probability_of_yes`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from alphabench.judges.first_tokens import MOST_UNSEEN, TOP_TOKENS, listed_mass
from alphabench.judges.parsing import is_cut
from alphabench.questions import ImagePart, Question, Reply, ReplySampling

OWN_TEMPLATE: Final = "{question}\nAnswer with one word: yes or no."
LEAST_MASS: Final = 0.1
"""Of yes and no together, or the first token is no answer. Judges that answer with the word give
it 0.9 and more, those that begin with a thought or a sentence less than 0.01."""
_WORDS: Final = ("yes", "no")

_WORD_STARTS: Final = "\u2581\u0120\u010a"
"""How tokenizers write a leading blank or line break, where a server shows its raw tokens."""
_ANSWER: Final = re.compile(r"(yes|no)\b(?P<rest>.*)", re.DOTALL)
_SET_OFF: Final = re.compile(r"\s*$|[ \t]*[^\w\s/|]+(\s|$)|[ \t]*\r?\n")
"""Punctuation followed by a space, a line break, or the end: `no-one` is another word."""
_OPPOSITE: Final = {"yes": re.compile(r"\bno\b|\bnot\b|n't\b"), "no": re.compile(r"\byes\b")}
_HEDGE: Final = re.compile(r"(?i)\b(but|however|although|though|except|unless)\b")
"""Words that may revoke a yes or no in the missing part of a cut reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class YesNoProbability:
    """One value in [0, 1]: P(yes) over P(yes) + P(no), summed over the first token's spellings."""

    answer_comes_first: ClassVar[bool] = True
    """The single requested token is the answer, so that a cut reply is complete."""
    template: str = OWN_TEMPLATE
    """`{question}` stands for the question."""
    system: str | None = None

    @property
    def identity(self) -> Mapping[str, str]:
        limits = {"least_mass": str(LEAST_MASS), "most_unseen": str(MOST_UNSEEN)}
        return {**_identity("yes-no/probability", self.template, self.system), **limits}

    @property
    def sampling(self) -> ReplySampling:
        return ReplySampling(max_tokens=1, temperature=0.0, top_logprobs=TOP_TOKENS)

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        p_yes = probability_of_yes(reply.first_token)
        return None if p_yes is None else (p_yes,)


@dataclass(frozen=True, slots=True, kw_only=True)
class YesNoText:
    """One value: 1.0 for yes, 0.0 for no, as written."""

    answer_comes_first: ClassVar[bool] = True
    """A reply that was cut after the word may be parsed, unless it was about to hedge."""
    template: str = OWN_TEMPLATE
    """`{question}` stands for the question."""
    system: str | None = None
    max_tokens: int = 8

    @property
    def identity(self) -> Mapping[str, str]:
        return _identity("yes-no/text", self.template, self.system)

    @property
    def sampling(self) -> ReplySampling:
        return ReplySampling(max_tokens=self.max_tokens, temperature=0.0)

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        is_yes = yes_or_no(reply.text)
        if is_cut(reply.finish_reason) and _HEDGE.search(reply.text):
            return None
        return None if is_yes is None else (1.0 if is_yes else 0.0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactYes:
    """One value: 1.0 for the reply `Yes`, letter by letter, and 0.0 for any other.

    As OneIG-Bench's script reads replies (inference.py of OneIG-Bench/OneIG-Benchmark at 41b4983).
    """

    answer_comes_first: ClassVar[bool] = True
    as_upstream: ClassVar[bool] = True
    template: str
    """`{question}` stands for the question."""

    @property
    def identity(self) -> Mapping[str, str]:
        wording = _identity("", self.template, None)["wording"]
        return {"contract": "oneig/exact-yes", "version": "1", "wording": wording}

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        """None for a reply that was cut off before its first letter."""
        if is_cut(reply.finish_reason) and not reply.text.strip():
            return None
        return (float(reply.text == "Yes"),)


YesNo = YesNoProbability | YesNoText


def yes_no_question(
    text: str,
    images: Sequence[ImagePart],
    *,
    image_id: str,
    question_id: str,
    answer_format: YesNo,
) -> Question:
    """A yes/no question; images come first, so that one image's questions share a prefix."""
    return Question(
        image_id=image_id,
        id=question_id,
        parts=(*images, answer_format.template.replace("{question}", text)),
        sampling=answer_format.sampling,
        answer_format=answer_format,
        system=answer_format.system,
    )


def probability_of_yes(first_token: Iterable[tuple[str, float]]) -> float | None:
    """P(yes) / (P(yes) + P(no)) over the alternatives of a first token.

    Each alternative counts by its bare word: without blanks and punctuation around it, in any case
    or width of letters. Alternatives that are neither word take no part.

    Args:
        first_token: tokens and their natural log-probabilities; what is not finite, and the numbers
            that servers write for no probability (-50 and below), are left out.

    Returns:
        A number in [0, 1]; or None where both words together have less than `LEAST_MASS`, where
        one of them is not listed and what is not listed could move the result by more than
        `MOST_UNSEEN`, or where the numbers are no probabilities (above 1, each or in sum).
    """
    mass = listed_mass(first_token, _yes_or_no_word)
    if mass is None:
        return None
    yes, no = mass.of("yes"), mass.of("no")
    both = yes + no
    if both < LEAST_MASS:
        return None
    if min(yes, no) == 0.0 and mass.unseen / (both + mass.unseen) > MOST_UNSEEN:
        return None
    return yes / both


def _yes_or_no_word(token: str) -> str | None:
    return word if (word := bare_word(token)) in _WORDS else None


def bare_word(text: str) -> str:
    """In plain small letters, without blanks, punctuation and symbols at either end."""
    plain = unicodedata.normalize("NFKC", text.lstrip(_WORD_STARTS)).casefold()
    start, end = 0, len(plain)
    while start < end and not plain[start].isalnum():
        start += 1
    while end > start and not plain[end - 1].isalnum():
        end -= 1
    return plain[start:end]


def yes_or_no(text: str) -> bool | None:
    """What a reply states; None unless it is the word alone or begins with it.

    A leading word counts when punctuation or a line break sets it off and the rest neither
    denies it nor names the other word: `Yes, a dog.` but not `No dogs`, `Yes and no` or
    `Yes, but not a dog`.
    """
    match = _ANSWER.fullmatch(_opened(text))
    if match is None:
        return None
    word, rest = match.group(1), match.group("rest")
    if not _SET_OFF.match(rest) or _OPPOSITE[word].search(rest):
        return None
    return word == "yes"


def _opened(text: str) -> str:
    """Plain small letters from the first letter or digit on."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    start = next((i for i, letter in enumerate(plain) if letter.isalnum()), len(plain))
    return plain[start:]


def _identity(name: str, template: str, system: str | None) -> Mapping[str, str]:
    digest = hashlib.sha256(f"{system!r}\n{template}".encode()).hexdigest()[:16]
    label = "own" if template == OWN_TEMPLATE and system is None else "given"
    return {"contract": name, "version": "2", "wording": f"{label}:{digest}"}
