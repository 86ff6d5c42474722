"""The probability that a reply begins with one of a set of tokens.

From tokens that the question names, which judges in this process give with their exact
probabilities, or from the likeliest alternatives of the first token, which every host with
log-probabilities gives. Knows no words and no benchmark: who asks says which texts are meant.
P(yes) of `yesno` is computed from the same masses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from alphabench.questions import Judge, NamedToken, Reply, ReplySampling

FirstTokenReading = Literal["full", "top20"]
"""full: of the whole vocabulary. top20: of the 20 likeliest tokens, another measurement."""
TOP_TOKENS: Final = 20
"""Alternatives requested, the most that hosts give."""
MOST_UNSEEN: Final = 0.1
"""By how much what is not listed could move a probability at most; beyond, it is unknown."""

SENTINEL: Final = -50.0
"""No probability from here on: servers write -100, -9999 or the like for none."""
ROUNDING: Final = 0.1
"""By which probabilities in half precision may exceed 1 in sum."""
_BLANK_MARKS: Final = "\u2581\u0120"
"""How tokenizers write a leading blank, where a server shows its raw tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedMass:
    """What the listed alternatives of a first token add up to."""

    by_set: Mapping[str, float]
    """Name of a set -> probability of its listed tokens; sets without one are absent."""
    listed: float
    """Probability of all listed alternatives."""
    least: float
    """Probability of the least likely one; no token that is not listed is likelier."""

    @property
    def unseen(self) -> float:
        """Probability of all tokens that are not listed, 0 to 1."""
        return max(0.0, 1.0 - self.listed)

    def of(self, name: str) -> float:
        """Probability of the listed tokens of a set."""
        return self.by_set.get(name, 0.0)


def listed_mass(
    first_token: Iterable[tuple[str, float]], set_of: Callable[[str], str | None]
) -> ListedMass | None:
    """The probability of each set among the alternatives of a first token.

    Args:
        first_token: tokens and their natural log-probabilities; what is not finite, and the numbers
            that servers write for no probability (-50 and below), are left out.
        set_of: the set to which a token's text belongs; None for a token of none.

    Returns:
        None where the numbers are no probabilities: above 1, each or in sum.
    """
    by_set: dict[str, float] = {}
    listed, least = 0.0, 1.0
    for token, logprob in first_token:
        if not math.isfinite(logprob) or logprob <= SENTINEL:
            continue
        if logprob > ROUNDING:
            return None
        probability = math.exp(logprob)
        listed += probability
        least = min(least, probability)
        name = set_of(token)
        if name is not None:
            by_set[name] = by_set.get(name, 0.0) + probability
    if listed > 1.0 + ROUNDING:
        return None
    return ListedMass(by_set=by_set, listed=listed, least=least)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetProbability:
    """Bounds of the probability of a set of first tokens; equal where all of them are known."""

    least: float
    most: float


def probability_among_listed(
    first_token: Iterable[tuple[str, float]], texts: Collection[str]
) -> SetProbability | None:
    """The probability that the first token is one of `texts`, letter for letter.

    A text that is not listed has at most the probability of the least likely alternative, and all
    of them have at most what the alternatives leave.

    Returns:
        None without an alternative, or where the numbers are no probabilities.
    """
    alternatives = [(_plain(token), logprob) for token, logprob in first_token]
    mass = listed_mass(alternatives, lambda token: token if token in texts else None)
    if mass is None or not mass.listed:
        return None
    least = sum(mass.by_set.values())
    n_absent = len(set(texts) - mass.by_set.keys())
    return SetProbability(least=least, most=least + min(mass.unseen, n_absent * mass.least))


def probability_per_text(tokens: Iterable[NamedToken]) -> float:
    """The sum over named texts of the probability of each one's first token.

    A token that several texts begin with counts once for each, so that the sum may exceed 1.
    """
    return sum(token.probability for token in tokens)


def probability_per_token(tokens: Iterable[NamedToken]) -> float:
    """The probability that the first token is one of those that named texts begin with, 0 to 1.

    Each token counts once, and one that is nothing but blanks does not count: it begins any word.
    """
    distinct = {token.token: token.probability for token in tokens if token.text.strip()}
    return sum(distinct.values())


def reading_of(judge: Judge) -> FirstTokenReading:
    """The reading that a judge allows."""
    return "full" if judge.capabilities.named_tokens else "top20"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstTokenSet:
    """Values: per text, per token, whether the likeliest token is accepted (0, 1), and at most.

    The first two are `probability_per_text` and `probability_per_token`. Under `top20` both are the
    probability of the listed tokens, and the last one adds what may not be listed.
    """

    answer_comes_first: ClassVar[bool] = True
    """The one token of the reply is the answer."""
    as_upstream: ClassVar[bool] = True
    """A refusal has a low probability of being an answer; its first word decides nothing."""
    accepted: tuple[str, ...] = ()
    """Texts; the reply begins with one of them where the answer is right."""
    wording: str
    """Name and digest of the template, for the identity."""
    reading: FirstTokenReading

    @property
    def identity(self) -> Mapping[str, str]:
        return {
            "contract": "first-token/set",
            "version": "1",
            "wording": self.wording,
            "reading": self.reading,
        }

    @property
    def sampling(self) -> ReplySampling:
        return ReplySampling(
            max_tokens=1,
            temperature=0.0,
            top_logprobs=TOP_TOKENS,
            first_tokens=self.accepted if self.reading == "full" else (),
        )

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        if not reply.first_token or (self.reading == "full" and not reply.named_tokens):
            return None
        likeliest, _ = max(reply.first_token, key=lambda one: one[1])
        is_accepted = float(_plain(likeliest).lower() in self.accepted)
        if self.reading == "full":
            per_text = probability_per_text(reply.named_tokens)
            return per_text, probability_per_token(reply.named_tokens), is_accepted, per_text
        found = probability_among_listed(reply.first_token, self.accepted)
        if found is None or found.most - found.least > MOST_UNSEEN:
            return None
        return found.least, found.least, is_accepted, found.most


def _plain(token: str) -> str:
    return f" {token[1:]}" if token[:1] in _BLANK_MARKS and token else token
