"""`Final Score: 4`, as a judge ends its reasoning.

official: as RISEBench's script reads it (extract in gpt_eval.py of PhoenixZ810/RISEBench at
5f22651): all numbers directly behind the first `Final Score` that has any.
strict: one statement of one whole number of the scale. Knows no template and no benchmark.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from alphabench.judges.score_lines import ABSURD
from alphabench.questions import Reply

_OFFICIAL: Final = tuple(
    re.compile(rf"\*?\*?{words}\*?\*?:?\s*([\d*\s,\n]*)", re.IGNORECASE)
    for words in ("Final Score", "Final Scores")
)
_MARKUP: Final = re.compile(r"[*_`#]+")
_STATED: Final = re.compile(r"final scores?\s*(?:[:\uff1a=]|\bis\b)\s*([^\n]*)", re.IGNORECASE)
_SCORE: Final = re.compile(
    r"(?P<bracket>\[)?(?P<score>[0-9]{1,3})(?(bracket)\])"
    r"(?:\s*(?:/|out of)\s*(?P<highest>[0-9]{1,3}))?\.?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalScore:
    """Reads the final score: the numbers behind the words, of which strict wants exactly one."""

    strict: bool
    lowest: int = 1
    highest: int = 5

    @property
    def as_upstream(self) -> bool:
        """Whether upstream's reader may take a number out of a refusal."""
        return not self.strict

    @property
    def identity(self) -> Mapping[str, str]:
        if not self.strict:
            return {"contract": "final score", "reading": "official", "version": "1"}
        scale = f"final score {self.lowest} to {self.highest}"
        return {"contract": scale, "reading": "strict", "version": "1"}

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        """The numbers; None where none, or under strict not exactly one, is stated."""
        if not self.strict:
            return numbers_after_final_score(reply.text)
        statements = _STATED.findall(_MARKUP.sub("", reply.text))
        match = _SCORE.fullmatch(statements[0].strip()) if len(statements) == 1 else None
        if match is None or match["highest"] not in (None, str(self.highest)):
            return None
        score = int(match["score"])
        return (float(score),) if self.lowest <= score <= self.highest else None


def numbers_after_final_score(text: str) -> tuple[float, ...] | None:
    """What upstream's reader finds; None where it finds nothing, or would stop."""
    for pattern in _OFFICIAL:
        for run in pattern.findall(text):
            digits = re.findall(r"\d+", run)
            if not digits:
                continue
            try:
                numbers = [int(one) for one in digits]
            except ValueError:  # too long to be converted
                return None
            return tuple(map(float, numbers)) if max(numbers) <= ABSURD else None
    return None
