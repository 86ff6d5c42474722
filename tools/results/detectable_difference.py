"""The smallest difference between two checkpoints that a benchmark of a given size can show.

    python -m tools.results.detectable_difference                        a table under a model
    python -m tools.results.detectable_difference --accuracy 0.9 --agreement 0.5
    python -m tools.results.detectable_difference runs/geneval/a runs/geneval/b

Both forms give the difference that a paired comparison finds in 80% of cases at a 95% interval:
(1.960 + 0.842) standard errors of the mean difference over prompts (Cohen 1988, chapter 2).

The model, for images that are right or wrong: an image of a prompt is right with a probability
that varies from prompt to prompt. `difficulty` is the share of an image's variance that belongs to
its prompt (the intraclass correlation); `agreement` is the correlation of the two checkpoints'
probabilities. With accuracy p and m images a prompt, the difference of a prompt's two means has
variance 2 p (1 - p) (difficulty (1 - agreement) + (1 - difficulty) / m). Prompts are spread evenly
over groups. Knows no benchmark; with two runs, the variance is measured and the model not used.
"""

from __future__ import annotations

import argparse
import math
import statistics as stdlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

POWER_AND_LEVEL: Final = stdlib.NormalDist().inv_cdf(0.8) + stdlib.NormalDist().inv_cdf(0.975)
"""Standard errors in a difference that is found in 80% of cases at a two-sided level of 5%."""
PROMPTS: Final = (60, 100, 277, 553, 1000, 2000)
IMAGES: Final = (1, 4, 8, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageModel:
    """How right and wrong images are spread over prompts."""

    accuracy: float = 0.7
    """Share of right images, of both checkpoints."""
    difficulty: float = 0.5
    """Share of an image's variance that belongs to its prompt, 0 to 1."""
    agreement: float = 0.8
    """Correlation of the two checkpoints' probabilities over prompts, 0 to 1."""

    def __post_init__(self) -> None:
        for name in ("accuracy", "difficulty", "agreement"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}={getattr(self, name)} is outside 0 to 1")

    def variance(self, images_per_prompt: int) -> float:
        """Of the difference of one prompt's two means over its images."""
        between = self.difficulty * (1.0 - self.agreement)
        within = (1.0 - self.difficulty) / images_per_prompt
        return 2.0 * self.accuracy * (1.0 - self.accuracy) * (between + within)


def detectable(variance: float, n_prompts: int) -> float:
    """The difference that is found in 80% of cases.

    Args:
        variance: of the difference of one prompt's means.
        n_prompts: in both runs.
    """
    return POWER_AND_LEVEL * math.sqrt(variance / n_prompts)


def model_table(model: ImageModel) -> str:
    """Rows are numbers of prompts, columns images per prompt (over all seeds)."""
    from alphabench.reports.markdown import markdown_table

    header = ["prompts", *[f"{n} image{'s' if n > 1 else ''} a prompt" for n in IMAGES]]
    rows = [
        [str(n), *[f"{detectable(model.variance(images), n):.3f}" for images in IMAGES]]
        for n in PROMPTS
    ]
    return markdown_table(header, rows, ["right"] * len(header))


def measured_table(differences: Sequence[float]) -> str:
    """Rows are numbers of prompts, for the spread of measured differences.

    Args:
        differences: of the means of each prompt that both runs scored; two at least.
    """
    from alphabench.reports.markdown import markdown_table

    variance, n_measured = stdlib.variance(differences), len(differences)
    sizes = sorted({n_measured, *PROMPTS})
    rows = [[str(n), f"{detectable(variance, n):.3f}"] for n in sizes]
    table = markdown_table(["prompts", "detectable difference"], rows, ["right", "right"])
    return (
        f"{n_measured} prompts in both runs; their differences have a standard deviation of "
        f"{math.sqrt(variance):.3f}.\n\n{table}"
    )


def differences_of(baseline: Path, candidate: Path) -> list[float]:
    """The difference of each prompt's means, of two run folders scored by the same evaluator.

    Raises:
        AlphaBenchError: no such runs, or no evaluation that both have.
    """
    from alphabench.reports.comparison import shared_evaluation
    from alphabench.runs.store import RunFolder
    from alphabench.runs.stored_run import StoredRun
    from alphabench.statistics import sample_of

    runs = [StoredRun.of(RunFolder.open(path)) for path in (baseline, candidate)]
    name = shared_evaluation(*runs)
    means = []
    for run in runs:
        values: dict[str, list[float]] = {}
        for verdict in run.evaluation(name).verdicts:
            if verdict.value is not None:
                values.setdefault(sample_of(verdict), []).append(verdict.value)
        means.append({sample: stdlib.fmean(of) for sample, of in values.items()})
    before, after = means
    return [after[sample] - before[sample] for sample in sorted(before.keys() & after.keys())]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, help="two run folders to measure")
    for name in ("accuracy", "difficulty", "agreement"):
        parser.add_argument(f"--{name}", type=float, default=getattr(ImageModel(), name))
    chosen = parser.parse_args(arguments)
    if len(chosen.runs) not in (0, 2):
        parser.error("name two run folders, or none")
    if chosen.runs:
        print(measured_table(differences_of(*chosen.runs)))
        return
    model = ImageModel(
        accuracy=chosen.accuracy, difficulty=chosen.difficulty, agreement=chosen.agreement
    )
    print(model_table(model))


if __name__ == "__main__":
    main()
