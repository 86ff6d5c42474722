"""Rewards of the text alone, by fixed rules: tags of a thought, form of a reflection."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.rewards.reward_kinds import RewardKind
from alphatrainers.protocols import Score
from alphatrainers.trajectory import Trajectory

OPEN_TAG, CLOSE_TAG = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class ThinkTags:
    """1 where the text is one thought between its tags and nothing else, else 0 (AlphaGRPO).

    A trajectory whose task writes no text gets 0, as does its whole group.
    """

    @property
    def identity(self) -> Mapping[str, str]:
        return {"kind": "think_tags", "version": "1"}

    def score(self, trajectories: Sequence[Trajectory]) -> list[Score]:
        """See `alphatrainers.protocols.Reward`."""
        return [Score(value=float(tagged(one.texts[-1].text) if one.texts else False))
                for one in trajectories]  # fmt: skip


def tagged(text: str) -> bool:
    """Whether the whole text stands between the tags of a thought, and they occur only there."""
    words = text.strip()
    framed = words.startswith(OPEN_TAG) and words.endswith(CLOSE_TAG)
    return framed and words.count(OPEN_TAG) == words.count(CLOSE_TAG) == 1


_ORDERS: Final = (
    "add adjust alter change correct cut darken delete draw enlarge erase fix give increase insert"
    " keep let lighten make mend modify move paint place put recolor recolour reduce remove render"
    " replace resize rotate shift shrink swap take turn"
)
"""Verbs that an instruction begins with."""
_FAULTS: Final = re.compile(
    r"\b(not|no|missing|lacks?|lacking|wrong|instead|should|should be|extra|exchanged|too many|"
    r"too few|incorrect|however|but|without|fails?)\b",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"[^\W\d_]+")
_COMMON: Final = (
    "a an the of and on in to at is are with photo picture image drawing draw show me by"
)


@dataclass(frozen=True, slots=True)
class ReflectionRule:
    """1 where the text names the request and a fault and ends with an instruction; else 0.

    By keywords: a cheap substitute for a judge, in English only.
    """

    @property
    def identity(self) -> Mapping[str, str]:
        words = hashlib.sha256(f"{_ORDERS} {_FAULTS.pattern}".encode()).hexdigest()
        return {"kind": "reflection_rule", "version": "1", "words": words[:16]}

    def score(self, trajectories: Sequence[Trajectory]) -> list[Score]:
        """See `alphatrainers.protocols.Reward`."""
        return [
            Score(value=float(reflects(one.texts[-1].text, one.program.prompt.text)))
            if one.texts
            else Score(value=0.0)
            for one in trajectories
        ]


def reflects(text: str, prompt: str) -> bool:
    """Whether a text restates the request, names a fault and ends with an instruction."""
    words = text.replace(OPEN_TAG, " ").replace(CLOSE_TAG, " ").strip()
    requested = _content(prompt)
    sentences = [one for one in re.split(r"[.!?;\n]+", words) if one.strip()]
    if not sentences:
        return False
    last = _WORD.findall(sentences[-1].casefold())
    names_request = bool(requested & _content(words))
    return (
        names_request and bool(_FAULTS.search(words)) and bool(last) and last[0] in _ORDERS.split()
    )


def _content(text: str) -> set[str]:
    return {word.removesuffix("s") for word in _WORD.findall(text.casefold())} - {*_COMMON.split()}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRewardSettings:
    """Kinds `think_tags` and `reflection` take no keys of their own."""


def _build_think_tags(settings: TextRewardSettings, context: AssemblyContext) -> ThinkTags:
    del settings, context
    return ThinkTags()


def _build_reflection(settings: TextRewardSettings, context: AssemblyContext) -> ReflectionRule:
    del settings, context
    return ReflectionRule()


THINK_TAGS: Final = RewardKind(settings=TextRewardSettings, build=_build_think_tags, judges="text")
REFLECTION: Final = RewardKind(settings=TextRewardSettings, build=_build_reflection, judges="text")
