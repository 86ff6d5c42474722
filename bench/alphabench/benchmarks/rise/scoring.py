"""RISEBench's scores of an item, and its metrics.

As gpt_eval.py at 5f22651 (PhoenixZ810/RISEBench): up to three scores of 1 to 5 give a weighted
score, and an item is complete where each that applies is 5. The headline is the share of complete
items. Knows no judge and no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks import reporting
from alphabench.benchmarks.reporting import mean_estimate
from alphabench.statistics import Bootstrap, Cluster, Formula
from alphabench.types import Estimate, ProtocolName, Report, Sample, Verdict

CATEGORIES: Final = tuple(f"{of}_reasoning" for of in ("temporal", "causal", "spatial", "logical"))
SPATIAL, LOGICAL = CATEGORIES[2:]
CONSISTENCY, REASONING, PLAUSIBILITY = "consistency", "reasoning", "plausibility"
DIMENSIONS: Final = (REASONING, CONSISTENCY, PLAUSIBILITY)
LOWEST, FULL_MARKS = 1.0, 5.0
_OF_SCORES: Final = Bootstrap(value_range=(LOWEST, FULL_MARKS))
SUBTASKS: Final = (
    "Temp-Life Progression", "Temp-Material Progression", "Temp-Environmental Cycles",
    "Temp-Societal Transformation", "Causal-Structural Deformation", "Causal-State Transition",
    "Causal-Chemical and Biological Transformation", "Causal-Physics Manifestation",
    "Spa-Component Assembly", "Spa-Object Arrangement", "Spa-Viewpoint Generation",
    "Spa-Structural Inference", "Spa-Layout Reasoning", "Logic-Pattern Prediction",
    "Logic-Mathematical Derivation", "Logic-Puzzle Solving",
)  # fmt: skip
"""As upstream's table names them, whatever an item's category; an item has what follows `-`."""


@dataclass(frozen=True, slots=True)
class RiseItem:
    """One row of upstream's data, and the scores that its judge gave."""

    facts: Mapping[str, Any]
    """With `index`, `category` and `subtask` of upstream. `free`: its consistency is not judged;
    `free_as_upstream`: what upstream's formula takes for such, see `benchmark.rise_facts`."""
    scores: Mapping[str, float] | None
    """By dimension, those that apply; None where a reply could not be read or does not exist."""

    @classmethod
    def of(cls, sample: Sample, verdict: Verdict | None) -> RiseItem:
        """A sample with the scores that its scored verdict holds."""
        if verdict is None:
            return cls(sample.facts, None)
        known = [name for name in DIMENSIONS if name in verdict.detail]
        return cls(sample.facts, {name: verdict.number(name) for name in known})

    @property
    def index(self) -> str:
        return str(self.facts["index"])

    @property
    def category(self) -> str:
        return str(self.facts["category"])

    @property
    def complete(self) -> float:
        """1 where every score that applies is 5."""
        unneeded = CONSISTENCY if self.facts.get("free") else ""
        unneeded = PLAUSIBILITY if self.category == LOGICAL else unneeded
        scores = self.scores or {}
        return float(all(scores.get(d) == FULL_MARKS for d in DIMENSIONS if d != unneeded))

    def score(self, protocol: ProtocolName) -> float | None:
        """1 to 5, halved where reasoning is 1; None where upstream's table has no number."""
        weights = {CONSISTENCY: 0.3, REASONING: 0.5, PLAUSIBILITY: 0.2}
        if self.category == LOGICAL:
            weights = {CONSISTENCY: 0.3, REASONING: 0.7}
        elif self.facts.get("free_as_upstream" if protocol == "official" else "free"):
            weights = {PLAUSIBILITY: 0.2, REASONING: 0.8}
        scores = self.scores or {}
        if not scores.keys() >= weights.keys():
            return None
        total = sum(weight * scores[dimension] for dimension, weight in weights.items())
        return max(LOWEST, total * 0.5) if scores[REASONING] == LOWEST else total


def rise_report(
    items: Sequence[RiseItem],
    complete: Mapping[str, float | None],
    scope: reporting.ReportScope,
) -> Report:
    """Groups are the categories' shares of complete items; the headline is that of all items.

    strict: no headline while a category has no scored item. Further metrics, 1 to 5, are means over
    what has a number, as upstream's: the weighted score, the three dimensions, and the sub-tasks.
    `complete` is by index: 1 where an item is complete, 0 where it is not, None for unknown.
    """
    completed = reporting.value_clusters(complete, {item.index: item.category for item in items})
    categories = list(dict.fromkeys(item.category for item in items))
    headline, withheld = statistics.over_all_groups(
        statistics.estimate(completed, statistics.pooled(completed)),
        completed,
        categories if scope.protocol == "strict" else (),
        kind="categories",
    )
    parts = {"": list(items)} | {c: [i for i in items if i.category == c] for c in categories}
    table = {i.index: {**(i.scores or {}), "score": i.score(scope.protocol)} for i in items}

    def mean(of: Iterable[RiseItem], metric: str) -> Estimate:
        return mean_estimate({i.index: table[i.index].get(metric) for i in of}, _OF_SCORES)

    metrics = ("score", *DIMENSIONS)
    found = {f"{m} {name}".strip(): mean(of, m) for name, of in parts.items() for m in metrics}
    for label in SUBTASKS:
        if of := [item for item in items if label.endswith(f"-{item.facts.get('subtask')}")]:
            found[f"score {label}"] = mean(of, "score")
            found[f"accuracy {label}"] = mean_estimate({i.index: complete[i.index] for i in of})
    return reporting.build_report(
        scope,
        headline,
        statistics.group_estimates(completed),
        coverage=reporting.coverage_of(completed),
        bounds=statistics.bounds(completed, by_size(completed)),
        extras=found,
        withheld=withheld,
    )


def by_size(completed: Iterable[Cluster]) -> Formula:
    """The mean over items from those of the categories, whether they are scored or not."""
    return statistics.pooled(replace(one, n_scored=one.n_expected) for one in completed)
