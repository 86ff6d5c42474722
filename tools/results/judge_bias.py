"""What rewards by a judge prefer that has a bias for bright images; no training is run.

    python -m tools.results.judge_bias WORK --out docs/results/evidence/judge_bias

WORK is that of `reward_fidelity`: its images and the judge's kept answers about them, which are
made if they are not there. The bias of `biased_judge` is put on these answers at several strengths,
and two things are measured within the images of a prompt: how well a reward orders them by truth,
and how much it prefers bright ones.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from alphabench.core.writing import replace_file
from alphabench.reports.reward_fidelity import (
    ALL_TASKS,
    RewardMetrics,
    best_of_difference,
    measure_reward,
)
from alphabench.reports.reward_images import read_reward_images
from alphabench.statistics import DEFAULT, Bootstrap
from alphabench.types import Estimate
from tools.results.biased_judge import CENTRE, BrightnessBias, with_grades_shifted
from tools.results.image_brightness import brightness_of
from tools.results.judge_bias_page import bias_page
from tools.results.judge_logits import KeptAnswers
from tools.results.judge_strengths import flips, groups_of, rewards_from_answers
from tools.results.reward_fidelity import SEEDS, compact, kept_answers

BIASES: Final = (0.0, 5.0, 10.0, 20.0, 30.0)
"""Log-odds between a black and a white image."""
REWARDS: Final = ("DVReward", "DVReward, semantic only", "holistic")
PAIRED: Final = (("holistic", "DVReward"), ("DVReward, semantic only", "DVReward"))
"""Rewards whose difference is shown."""
BEST_OF: Final = 4
BRIGHTNESS: Final = "brightness.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasResult:
    """All rewards at one strength of the bias."""

    strength: float
    flipped: float
    """Share of yes/no answers that the bias puts on another side of one half."""
    regraded: float
    """Share of grades that it changes."""
    by_truth: Mapping[str, RewardMetrics]
    """Reward -> metrics with the detector's verdict as the truth."""
    by_brightness: Mapping[str, RewardMetrics]
    """Reward -> the same with the image's brightness in the place of the truth."""
    truth_of_best: Mapping[str, Estimate]
    """`A - B` -> difference of the truth of the best of 4."""
    brightness_of_best: Mapping[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "strength": self.strength,
            "flipped": self.flipped,
            "regraded": self.regraded,
            "by_truth": {name: one.to_json() for name, one in self.by_truth.items()},
            "by_brightness": {name: one.to_json() for name, one in self.by_brightness.items()},
            "truth_of_best": {name: asdict(one) for name, one in self.truth_of_best.items()},
            "brightness_of_best": {
                name: asdict(one) for name, one in self.brightness_of_best.items()
            },
        }


def main(words: Sequence[str] | None = None) -> None:
    """Make what is not kept yet, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m tools.results.judge_bias")
    parser.add_argument("work", type=Path, help="folder that keeps images and answers")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    chosen = parser.parse_args(words)
    answers = kept_answers(chosen.work)
    brightness = kept_brightness(chosen.work)
    results = [measure_bias(answers, brightness, strength) for strength in BIASES]
    mean = float(np.mean(brightness))
    content = {
        "estimates": "value, low, high, prompts",
        "centre": CENTRE,
        "mean_brightness": mean,
        "strengths": [result.to_json() for result in results],
    }
    replace_file(chosen.out / "results.json", json.dumps(compact(content)) + "\n")
    replace_file(chosen.out / "README.md", bias_page(results, mean))
    print(chosen.out / "README.md")


def kept_brightness(work: Path) -> list[float]:
    """Of the images of `kept_answers`, in its order; kept, too."""
    kept = work / BRIGHTNESS
    if not kept.exists():
        images = read_reward_images([work / f"seed-{seed}" for seed in SEEDS])
        levels = [brightness_of(one.path) for prompt in images.prompts for one in prompt.images]
        replace_file(kept, json.dumps([round(level, 4) for level in levels]))
    found: list[float] = json.loads(kept.read_text("utf-8"))
    return found


def measure_bias(
    answers: Sequence[KeptAnswers],
    brightness: Sequence[float],
    strength: float,
    settings: Bootstrap = DEFAULT,
) -> BiasResult:
    """All rewards with a bias of this strength on the judge's answers.

    Args:
        answers: of the judge without a bias.
        brightness: of each image.
        strength: of the bias.
        settings: of the bootstrap.
    """
    rows, flipped, regraded = _biased_rewards(
        answers, brightness, BrightnessBias(strength=strength)
    )
    true = {name: groups_of(answers, row) for name, row in rows.items()}
    by_level = [replace(one, truth=level) for one, level in zip(answers, brightness, strict=True)]
    bright = {name: groups_of(by_level, row) for name, row in rows.items()}

    def differences(of: Mapping[str, Any]) -> dict[str, Estimate]:
        return {
            f"{a} - {b}": best_of_difference(of[a], of[b], BEST_OF, settings) for a, b in PAIRED
        }

    return BiasResult(
        strength=strength,
        flipped=flipped,
        regraded=regraded,
        by_truth={n: measure_reward(of, settings=settings)[ALL_TASKS] for n, of in true.items()},
        by_brightness={
            n: measure_reward(of, settings=settings)[ALL_TASKS] for n, of in bright.items()
        },
        truth_of_best=differences(true),
        brightness_of_best=differences(bright),
    )


def _biased_rewards(
    answers: Sequence[KeptAnswers], brightness: Sequence[float], bias: BrightnessBias
) -> tuple[dict[str, list[list[float]]], float, float]:
    """Reward -> its value for each image; and shares of yes/no answers and grades that changed."""
    rows: dict[str, list[list[float]]] = {name: [] for name in REWARDS}
    flipped: list[bool] = []
    regraded: list[bool] = []
    for one, level in zip(answers, brightness, strict=True):
        shift = bias.log_odds(level)
        semantic, quality = (
            [None if v is None else v + shift for v in part] for part in (one.semantic, one.quality)
        )
        flipped += flips(one.semantic, semantic) + flips(one.quality, quality)
        plain = (one.consistency, one.made)
        grades = [with_grades_shifted(of, shift).grade for of in plain]
        regraded += [grade != of.grade for grade, of in zip(grades, plain, strict=True)]
        values = rewards_from_answers(semantic, quality, grades)
        for name, row in rows.items():
            row.append([values[name]])
    return rows, float(np.mean(flipped)), float(np.mean(regraded))


if __name__ == "__main__":
    main()
