"""A score on a scale, as a judge writes it: `7`, `7/10`, `Score: 7`. It never guesses.

A reply that holds anything else, or a number outside of the scale, is not parsed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from alphabench.questions import Reply, ReplySampling

SCALE_TEMPLATE: Final = (
    "{question}\nAnswer with one whole number from {lowest} to {highest}: {lowest} is the worst "
    "and {highest} the best."
)
_SCORE: Final = re.compile(
    r"(?:(?:the )?(?:score|rating|answer)(?: is)?\s*[:=]?\s*)?"
    r"(?P<score>\d{1,3}(?:\.\d{1,4})?)"
    r"(?:\s*(?:/|out of)\s*(?P<highest>\d{1,3}))?\.?",
    re.IGNORECASE,
)
_MARKUP: Final = re.compile(r"[*_`]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreText:
    """One value: the number as written, from `lowest` to `highest`."""

    lowest: int
    highest: int
    template: str = SCALE_TEMPLATE
    """`{question}`, `{lowest}` and `{highest}` stand for the question and the scale."""
    max_tokens: int = 16

    @property
    def identity(self) -> Mapping[str, str]:
        """The scale, and the template's digest."""
        digest = hashlib.sha256(self.template.encode()).hexdigest()[:16]
        label = "own" if self.template == SCALE_TEMPLATE else "given"
        return {
            "contract": f"score/text {self.lowest} to {self.highest}",
            "version": "1",
            "wording": f"{label}:{digest}",
        }

    @property
    def sampling(self) -> ReplySampling:
        """Greedy, with room for one number."""
        return ReplySampling(max_tokens=self.max_tokens, temperature=0.0)

    def text(self, question: str) -> str:
        """What the judge is asked."""
        scale = self.template.replace("{lowest}", str(self.lowest))
        scale = scale.replace("{highest}", str(self.highest))
        return scale.replace("{question}", question)

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        """The number; None for any other text, another scale, or a number outside of it."""
        match = _SCORE.fullmatch(_MARKUP.sub("", reply.text).strip())
        if match is None or match["highest"] not in (None, str(self.highest)):
            return None
        score = float(match["score"])
        return (score,) if self.lowest <= score <= self.highest else None
