"""GEdit-Bench's averages: groups, and the plain mean over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from alphabench import statistics
from alphabench.benchmarks.gedit.viescore import FULL_MARKS, QUALITY, QUESTION, SEMANTICS
from alphabench.statistics import Bootstrap, Cluster, mean_of_groups
from alphabench.types import Estimate, Sample, Verdict

GROUPS: Final = (
    "background_change", "color_alter", "material_alter", "motion_change", "ps_human",
    "style_change", "subject-add", "subject-remove", "subject-replace", "text_change",
    "tone_transfer",
)  # fmt: skip
"""Upstream's task types, in the order of its tables."""
SETTINGS: Final = Bootstrap(value_range=(0.0, FULL_MARKS))
SCORES: Final = (SEMANTICS, QUALITY, QUESTION)


def macro_average(clusters: Sequence[Cluster], groups: Sequence[str]) -> tuple[Estimate, str]:
    """The plain mean of the groups' means; none, and why, while one of `groups` has no score."""
    estimate = statistics.estimate(clusters, mean_of_groups, SETTINGS)
    return statistics.over_all_groups(estimate, clusters, groups)


def score_clusters(
    samples: Iterable[Sample], verdicts: Iterable[Verdict], name: str
) -> list[Cluster]:
    """One of the three `SCORES` by sample; only images that have all three count as scored."""
    scored = {statistics.sample_of(v): v for v in verdicts if v.status == "scored"}
    clusters = []
    for sample in samples:
        verdict = scored.get(sample.id)
        value = 0.0
        if verdict is not None:
            value = (verdict.value or 0.0) if name == QUESTION else verdict.number(name)
        clusters.append(
            Cluster(
                sample_id=sample.id,
                group=sample.group,
                total=value,
                n_scored=int(verdict is not None),
                n_expected=1,
            )
        )
    return clusters
