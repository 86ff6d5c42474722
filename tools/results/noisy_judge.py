"""The nano judge with normal noise on its log-odds: a judge that is worse by a known amount.

    --judge 'python:tools.results.noisy_judge:open_noisy_judge?noise=4'

The noise is that of `judge_strengths`: of this standard deviation between yes and no, and between
any two candidates for a reason or a grade. It is one for each question about each image, so that a
judge that is asked again answers alike, as one at temperature 0 does.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.nano_judge import open_nano_judge
from alphabench.questions import Question
from tools.results.shifted_judge import ShiftedJudge, asked_image


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOddsNoise:
    """See `shifted_judge.LogOddsShift`."""

    noise: float
    """Standard deviation, in log-odds."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise) and self.noise >= 0.0):
            raise ValueError(f"{self!r}: noise is finite and not negative")

    @property
    def identity(self) -> Mapping[str, str]:
        """See `shifted_judge.LogOddsShift`."""
        return {
            "kind": "log-odds noise",
            "version": "1",
            "noise": f"{self.noise:g}",
            "seed": str(self.seed),
        }

    def of_yes(self, question: Question) -> float:
        """See `shifted_judge.LogOddsShift`."""
        return float(self.noise * self._generator(question, "yes").normal())

    def of_candidates(
        self, question: Question, merits: Sequence[float], what: Literal["reason", "grade"]
    ) -> Sequence[float]:
        """See `shifted_judge.LogOddsShift`."""
        size = self.noise / math.sqrt(2.0)
        found = size * self._generator(question, what).normal(size=len(merits))
        return [float(one) for one in found]

    def _generator(self, question: Question, what: str) -> np.random.Generator:
        words = [part for part in question.parts if isinstance(part, str)]
        content = "\0".join([str(self.seed), what, asked_image(question).sha256, *words])
        digest = hashlib.sha256(content.encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def open_noisy_judge(noise: float, seed: int = 0, device: str = "cpu") -> ShiftedJudge:
    """What `--judge python:...` calls; options are those of `LogOddsNoise`."""
    try:
        shift = LogOddsNoise(noise=noise, seed=seed)
    except ValueError as error:
        raise AlphaBenchError(str(error), hint="take a noise such as 4") from error
    return ShiftedJudge(shift=shift, judge=open_nano_judge("", options={}, device=device))
