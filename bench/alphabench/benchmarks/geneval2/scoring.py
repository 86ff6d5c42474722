"""GenEval 2's rules: metrics from the scores of atoms, the single demands of a prompt.

Equal to upstream's `evaluation.py` and `soft_tifa_analysis.py` (facebookresearch/GenEval2 at
a6e82d2), 0 to 1 where upstream prints 0 to 100. Knows no judge, no file and no run. Upstream has a
score for every atom. Here some may be missing; a prompt then has no mean, since the mean of its
other atoms would be of another prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from alphabench import statistics
from alphabench.benchmarks.reporting import ReportScope, build_report, scored_counts, scored_share
from alphabench.statistics import Cluster, cluster_of
from alphabench.types import Estimate, Report

SKILLS: Final = ("object", "attribute", "count", "position", "verb")
"""In the order in which upstream prints them."""
ATOMICITIES: Final = tuple(range(3, 11))
"""Numbers of atoms of a prompt; `vqa_list` may be longer, as an article is checked as a count."""
Mean = Callable[[Sequence[float]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPrompt:
    """One prompt and the scores of its atoms."""

    id: str
    atomicity: int
    skills: tuple[str, ...]
    scores: tuple[float | None, ...]
    """By atom; None where there is none."""
    most: tuple[float | None, ...] = ()
    """By atom: the score at most, where it is a lower bound; empty where none is."""

    def mean(self, mean: Mean) -> float | None:
        """Over all atoms; None while one is unscored."""
        scores = [score for score in self.scores if score is not None]
        return mean(scores) if len(scores) == len(self.scores) else None


def arithmetic_mean(scores: Sequence[float]) -> float:
    """The sum in order, over the number of scores."""
    return sum(scores) / len(scores)


def geometric_mean(scores: Sequence[float]) -> float:
    """exp(mean(log)), as scipy's `gmean`; an exact 0 among the scores makes it 0, without floor."""
    with np.errstate(divide="ignore"):
        return float(np.exp(np.mean(np.log(np.asarray(scores, dtype=np.float64)))))


def prompt_clusters(prompts: Iterable[JudgedPrompt], mean: Mean = geometric_mean) -> list[Cluster]:
    """One cluster for each prompt, worth one score; all in one group."""
    return [cluster_of(prompt.id, [prompt.mean(mean)]) for prompt in prompts]


def mean_over_prompts(prompts: Sequence[JudgedPrompt], mean: Mean = geometric_mean) -> Estimate:
    """The mean over prompts whose atoms are all scored; its counts are of atoms."""
    n_scored, n_expected = count_atoms(prompts)
    clusters = prompt_clusters(prompts, mean)
    estimate = replace(_mean(clusters), n_scored=n_scored, n_expected=n_expected)
    means = [cluster.total for cluster in clusters if cluster.n_scored]
    # Added up as upstream does, so that 100 times the value is what it prints to the last digit.
    return estimate.restated(100 * sum(means) / len(means) / 100) if means else estimate


def count_atoms(prompts: Iterable[JudgedPrompt]) -> tuple[int, int]:
    """How many atoms are scored, and how many there are."""
    return scored_counts(score for prompt in prompts for score in prompt.scores)


def skill_and_atomicity_estimates(prompts: Sequence[JudgedPrompt]) -> dict[str, Estimate]:
    """Skills (AM, pooled over atoms) and `atomicity 3` ... (GM), as far as prompts have them."""
    groups: dict[str, list[Cluster]] = {skill: [] for skill in SKILLS}
    groups |= {f"atomicity {atomicity}": [] for atomicity in ATOMICITIES}
    for prompt in prompts:
        for skill in dict.fromkeys(prompt.skills):
            atoms = zip(prompt.skills, prompt.scores, strict=True)
            scores = [score for name, score in atoms if name == skill]
            groups[skill].append(cluster_of(prompt.id, scores))
        groups[f"atomicity {prompt.atomicity}"] += prompt_clusters([prompt])
    return {name: _mean(clusters) for name, clusters in groups.items() if clusters}


def headline_bounds(prompts: Sequence[JudgedPrompt], mean: Mean) -> tuple[float, float] | None:
    """The headline were every unknown score 0, and as high as it can be; None without a prompt."""
    if not prompts:
        return None
    low = [mean([score or 0.0 for score in prompt.scores]) for prompt in prompts]
    highest = [prompt.most or prompt.scores for prompt in prompts]
    high = [mean([1.0 if score is None else score for score in scores]) for scores in highest]
    return arithmetic_mean(low), arithmetic_mean(high)


def geneval2_report(
    prompts: Sequence[JudgedPrompt],
    scope: ReportScope,
    *,
    mean: Mean = geometric_mean,
    extras: Mapping[str, Estimate] | None = None,
    notes: tuple[str, ...] = (),
) -> Report:
    """The report: the mean over prompts, and its groups."""
    return build_report(
        scope,
        mean_over_prompts(prompts, mean),
        skill_and_atomicity_estimates(prompts),
        coverage=scored_share(*count_atoms(prompts)),
        bounds=headline_bounds(prompts, mean),
        extras=extras,
        notes=notes,
    )


def _mean(clusters: Sequence[Cluster]) -> Estimate:
    return statistics.estimate(clusters, statistics.mean_of_groups)
