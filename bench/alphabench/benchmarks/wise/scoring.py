"""WISE's rules: the six categories, the score of a judge's reply, and the weights of categories.

Two editions with different prompts, ids, questions and weights, whose results are never mixed:
`verified` (calculate_verified.py and vllm_eval.py of PKU-YuanGroup/WISE at eb51174) and `legacy`
(WISE_legacy/Calculate.py and gpt_eval.py there). Knows no template, no file and no model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from alphabench.questions import AnswerFormat, Reply
from alphabench.statistics import Formula, Means
from alphabench.types import ProtocolName

WiseEditionName = Literal["verified", "legacy"]
METRICS: Final = ("consistency", "realism", "aesthetic_quality")
"""What a legacy judge scores from 0 to 2, in the order of its reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WiseEdition:
    """What distinguishes the editions of WISE."""

    name: WiseEditionName
    question: str
    """The id of the verdict on an image."""
    ranges: Mapping[str, tuple[int, int]]
    """Category -> first and last prompt id; nothing else decides the category."""
    weights: Mapping[str, float]
    """Category -> share in the headline: its share of the prompts."""
    label: str
    """What upstream's summary calls the score."""

    def category(self, prompt_id: int) -> str | None:
        """The category of a prompt; None for an id that the edition does not have."""
        for name, (first, last) in self.ranges.items():
            if first <= prompt_id <= last:
                return name
        return None

    def answer_format(self, protocol: ProtocolName) -> AnswerFormat:
        """How replies are read."""
        strict = protocol == "strict"
        return BinaryScore(strict) if self.name == "verified" else ThreeScores(strict)

    def score(self, values: tuple[float, ...]) -> float:
        """An image's score from what the reply states."""
        return values[0] if self.name == "verified" else wiscore(values)


VERIFIED: Final = WiseEdition(
    name="verified",
    question="score",
    ranges={
        "culture": (1, 400),
        "time": (401, 520),
        "space": (521, 640),
        "biology": (641, 760),
        "physics": (761, 880),
        "chemistry": (881, 1000),
    },
    weights={
        "culture": 0.4, "time": 0.12, "space": 0.12, "biology": 0.12, "physics": 0.12,
        "chemistry": 0.12,
    },
    label="binary WiScore",
)  # fmt: skip
LEGACY: Final = WiseEdition(
    name="legacy",
    question="wiscore",
    ranges={
        "culture": (1, 400),
        "time": (401, 567),
        "space": (568, 700),
        "biology": (701, 800),
        "physics": (801, 900),
        "chemistry": (901, 1000),
    },
    weights={
        "culture": 0.4, "time": 0.167, "space": 0.133, "biology": 0.1, "physics": 0.1,
        "chemistry": 0.1,
    },
    label="WiScore",
)  # fmt: skip
EDITIONS: Final[Mapping[str, WiseEdition]] = {"verified": VERIFIED, "legacy": LEGACY}
CATEGORIES: Final = tuple(VERIFIED.ranges)


def wiscore(values: tuple[float, ...]) -> float:
    """(0.7 consistency + 0.2 realism + 0.1 aesthetic quality) / 2: 0 to 1 for values of 0 to 2."""
    consistency, realism, aesthetic_quality = values
    # Added as upstream adds, to the last bit: its two decimals depend on it.
    return (0.7 * consistency + 0.2 * realism + 0.1 * aesthetic_quality) / 2


def weighted_headline(edition: WiseEdition) -> Formula:
    """The categories by their weights, added in upstream's order.

    Where some are absent the others share their weight: for differences between runs. A headline
    needs all of them.
    """

    def formula(means: Means) -> NDArray[np.float64]:
        present = [name for name in edition.weights if name in means]
        total_R = reduce(np.add, [edition.weights[name] * means[name] for name in present])
        if len(present) == len(edition.weights):
            return total_R
        return total_R / sum(edition.weights[name] for name in present)

    return formula


@dataclass(frozen=True, slots=True)
class ThreeScores:
    """Reads consistency, realism and aesthetic quality, each 0 to 2.

    official: the last digit after each name, whatever it is: a 7 counts, and 1.5 reads 1; three or
    more bare lines of 0, 1 or 2 count in order where no name stands.
    strict: names may be marked up; every value given to a name must be the same 0, 1 or 2.
    """

    strict: bool

    @property
    def as_upstream(self) -> bool:
        """Whether upstream's reader may take a number out of a refusal."""
        return not self.strict

    @property
    def identity(self) -> Mapping[str, str]:
        reading = "strict" if self.strict else "official"
        return {"contract": "wise three scores 1", "reading": reading}

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        found = _strict_scores(reply.text) if self.strict else official_scores(reply.text)
        if set(found) != set(METRICS):
            return None
        return tuple(found[name] for name in METRICS)


@dataclass(frozen=True, slots=True)
class BinaryScore:
    """Reads one score, 0 or 1.

    official: the first `Score` that a 0 or 1 follows, and a single bare line of 0 or 1 else.
    strict: the name may be marked up; all values given must be the same 0 or 1.
    """

    strict: bool

    @property
    def as_upstream(self) -> bool:
        """Whether upstream's reader may take a number out of a refusal."""
        return not self.strict

    @property
    def identity(self) -> Mapping[str, str]:
        reading = "strict" if self.strict else "official"
        return {"contract": "wise binary score 1", "reading": reading}

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        text = without_thoughts(reply.text)
        value = _strict_binary(text) if self.strict else official_binary(text)
        return None if value is None else (value,)


def without_thoughts(text: str) -> str:
    """A reply without what a reasoning model thought before it, as upstream's script drops it."""
    return re.sub(r"</think>\s*", "", re.sub(r"(?s)<think>.*?</think>\s*", "", text)).strip()


_OFFICIAL_METRIC = re.compile(
    r"(?i)(consistency|realism|aesthetic quality)\*{0,2}\s*+(?::\s*+)?(\d)"
)
_BARE_LINE = re.compile(r"(?m)^\s*([012])\s*$")


def official_scores(text: str) -> dict[str, float]:
    """The metrics that upstream's reader finds (gpt_eval.py, extract_scores)."""
    named = {
        name.lower().replace(" ", "_"): float(digit)
        for name, digit in _OFFICIAL_METRIC.findall(text)
    }
    if named:
        return named
    bare = _BARE_LINE.findall(text)
    if len(bare) < len(METRICS):
        return {}
    return {name: float(digit) for name, digit in zip(METRICS, bare[: len(METRICS)], strict=True)}


def official_binary(text: str) -> float | None:
    """The score that upstream's reader finds (vllm_eval.py, extract_scores)."""
    if named := re.search(r"(?i)score\*{0,2}\s*+(?::\s*+)?([01])\b", text):
        return float(named[1])
    bare = re.findall(r"(?m)^\s*([01])\s*$", text)
    return float(bare[0]) if len(bare) == 1 else None


_THREE: Final = (0.0, 1.0, 2.0)
_MARKS: Final = r"[\s*_`\"']*+"
_VALUE: Final = (
    rf"{_MARKS}(?:\(0-\d\))?{_MARKS}[:：=]?{_MARKS}(?<![-.0-9])([0-9]++(?:\.[0-9]+)?+)"
    r"(\s*(?:-|–|\bor\b|\bto\b)\s*\d)?+(?!\w|\.\d)"
)
"""A number, and whether it is but the first of a range or of alternatives."""
_STRICT_METRIC = re.compile(rf"(?i)\b(consistency|realism|aesthetic[ _]quality){_VALUE}")
_STRICT_SCORE = re.compile(rf"(?i)\b(score){_VALUE}")


def _strict_scores(text: str) -> dict[str, float]:
    given = _given(_STRICT_METRIC, text)
    if not given:
        bare = [line.strip() for line in text.strip().splitlines() if line.strip()]
        if len(bare) == len(METRICS) and all(re.fullmatch("[012]", line) for line in bare):
            return {name: float(line) for name, line in zip(METRICS, bare, strict=True)}
    single = {name: values.pop() for name, values in given.items() if len(values) == 1}
    return {name: value for name, value in single.items() if value in _THREE and value is not None}


def _strict_binary(text: str) -> float | None:
    values = _given(_STRICT_SCORE, text).get("score", set())
    if not values and re.fullmatch(r"\s*[01]\s*", text):
        values = {float(text)}
    return value if len(values) == 1 and (value := values.pop()) in (0.0, 1.0) else None


def _given(pattern: re.Pattern[str], text: str) -> dict[str, set[float | None]]:
    """Name -> every value that the reply gives it; None stands for a range or alternatives."""
    given: dict[str, set[float | None]] = {}
    for name, value, more in pattern.findall(text):
        values = given.setdefault(name.lower().replace(" ", "_"), set())
        values.add(None if more else float(value))
    return given
