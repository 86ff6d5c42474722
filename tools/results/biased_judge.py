"""The nano judge with a planted bias: the brighter an image, the more it likes it.

    --judge 'python:tools.results.biased_judge:open_biased_judge?strength=20'

Each image has a bias b = strength * (brightness - centre), in log-odds. A yes/no question: the
log-odds of yes rise by b. A graded reply is a reason and a grade, and of both the log-odds between
the best and the worst candidate rise by b, of those between in proportion: a grade g gets
b * g / 10 on its logit, the three reasons b, b / 2 and 0. So one rule reaches both kinds of reward.
With strength 0 the answers are the nano judge's own. Other questions are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.nano_judge import open_nano_judge
from alphabench.questions import Question
from alphagrpo.holistic import HIGHEST
from tools.results.image_brightness import brightness_of
from tools.results.judge_logits import GRADES, GradeLogits
from tools.results.shifted_judge import ShiftedJudge, asked_image

CENTRE: Final = 0.58
"""Brightness without a bias: the mean of the untrained model's images for development prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrightnessBias:
    """How a judge is biased."""

    strength: float
    """Log-odds between a black and a white image."""
    centre: float = CENTRE

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and 0.0 <= self.centre <= 1.0):
            raise ValueError(f"{self!r}: strength is finite, and centre lies within 0..1")

    def log_odds(self, brightness: float) -> float:
        """What an image of this brightness gets."""
        return self.strength * (brightness - self.centre)

    @property
    def identity(self) -> Mapping[str, str]:
        """See `shifted_judge.LogOddsShift`."""
        return {
            "kind": "brightness bias",
            "version": "1",
            "strength": f"{self.strength:g}",
            "centre": f"{self.centre:g}",
        }

    def of_yes(self, question: Question) -> float:
        """See `shifted_judge.LogOddsShift`."""
        return self.log_odds(brightness_of(asked_image(question).path))

    def of_candidates(
        self, question: Question, merits: Sequence[float], _what: Literal["reason", "grade"]
    ) -> Sequence[float]:
        """See `shifted_judge.LogOddsShift`; the same rule for reasons and grades."""
        return [self.of_yes(question) * merit for merit in merits]


def with_grades_shifted(of: GradeLogits, bias: float) -> GradeLogits:
    """The same for reasons, which are listed from the best to the worst, and grades."""
    return GradeLogits(
        reasons=_shifted_reasons(of.reasons, bias),
        grades=tuple(_shifted_grades(row, bias) for row in of.grades),
    )


def _shifted_reasons(logits: Sequence[float], bias: float) -> tuple[float, ...]:
    worst = len(logits) - 1
    return tuple(logit + bias * (worst - place) / worst for place, logit in enumerate(logits))


def _shifted_grades(logits: Sequence[float], bias: float) -> tuple[float, ...]:
    return tuple(
        logit + bias * grade / HIGHEST for grade, logit in zip(GRADES, logits, strict=True)
    )


def open_biased_judge(strength: float, centre: float = CENTRE, device: str = "cpu") -> ShiftedJudge:
    """What `--judge python:...` calls; options are those of `BrightnessBias`."""
    try:
        bias = BrightnessBias(strength=strength, centre=centre)
    except ValueError as error:
        raise AlphaBenchError(str(error), hint="take a strength such as 20") from error
    return ShiftedJudge(shift=bias, judge=open_nano_judge("", options={}, device=device))
