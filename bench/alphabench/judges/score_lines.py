"""Lines of scores, as a judge writes them: `Prompt Compliance: 4`, one criterion to a line.

official: as ImgEdit-Bench's scripts read them (step1_get_avgscore.py of PKU-YuanGroup/ImgEdit at
547185d): any line that is one text, a colon with one blank, and digits, whatever the number.
strict: as many scores as were asked for, each a whole number of the scale under a name of its own.
Knows no template and no benchmark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from alphabench.questions import Reply

ABSURD: Final = 10**100
"""Beyond it, sums of scores leave the floating-point numbers."""
_MARKUP: Final = re.compile(r"[*_`#>|]+")
_SCORE: Final = re.compile(
    r"(?P<score>[0-9]{1,3})(?:\s*(?:/|out of)\s*(?P<highest>[0-9]{1,3}))?\.?"
)
_SIGNS: Final = "+-.\u2212"
_REASONS: Final = ("reasoning", "explanation", "rationale")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreLines:
    """Reads lines of scores; the value is their mean, and then each of them."""

    strict: bool
    n_scores: int = 3
    """How many scores were asked for; only strict insists."""
    lowest: int = 1
    highest: int = 5

    @property
    def as_upstream(self) -> bool:
        """Whether upstream's reader may take a number out of a refusal."""
        return not self.strict

    @property
    def identity(self) -> Mapping[str, str]:
        if not self.strict:
            return {"contract": "score/lines", "reading": "official", "version": "1"}
        scale = f"score/lines {self.n_scores} of {self.lowest} to {self.highest}"
        return {"contract": scale, "reading": "strict", "version": "1"}

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        """Mean and scores; None where none, or under strict not all, are stated beyond doubt."""
        scores = self._strict(reply.text) if self.strict else scores_in_lines(reply.text)
        if not scores:
            return None
        return (sum(scores) / len(scores), *map(float, scores))

    def _strict(self, text: str) -> list[int] | None:
        found: dict[str, int] = {}
        for name, stated in _stated(text):
            match = _SCORE.fullmatch(stated)
            if match is None or match["highest"] not in (None, str(self.highest)):
                return None
            score = int(match["score"])
            if name in found or not self.lowest <= score <= self.highest:
                return None
            found[name] = score
        return list(found.values()) if len(found) == self.n_scores else None


def scores_in_lines(text: str) -> list[int] | None:
    """The numbers of all lines that upstream's reader counts; None where its script would stop.

    It stops at what is a digit and no decimal one, such as a superscript, and at numbers that are
    too long to convert or to average.
    """
    scores: list[int] = []
    for line in text.splitlines():
        parts = line.strip().split(": ")
        if len(parts) == 2 and parts[1].isdigit():
            try:
                scores.append(int(parts[1]))
            except ValueError:
                return None
    return scores if max(scores, default=0) <= ABSURD else None


def _stated(text: str) -> Iterator[tuple[str, str]]:
    """Name and number-like text of each line that states one; reasons are passed over."""
    for line in text.splitlines():
        plain = _MARKUP.sub("", line).replace("\uff1a", ":").strip()
        name, colon, stated = plain.rpartition(":")
        name, stated = name.strip(" -\u2022\t").casefold(), stated.strip()
        if not colon or not stated or name.startswith(("brief", *_REASONS)):
            continue
        if stated[0].isnumeric() or stated[0] in _SIGNS:
            yield name, stated
