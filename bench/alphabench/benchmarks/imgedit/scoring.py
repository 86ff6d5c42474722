"""ImgEdit-Bench's averages: edits, types of edits, and the two overall scores in use.

As upstream's step1_get_avgscore.py, step2_typescore.py and UGE/get_average_score.py at 547185d
(PKU-YuanGroup/ImgEdit): an edit's score is the mean of the scores in a reply, a type's the mean of
its edits, both rounded to 2 decimals. Upstream computes no overall score of the basic suite; the
tables of reports are means of the types, or of the edits. Knows no judge and no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from alphabench import statistics
from alphabench.benchmarks.reporting import ReportScope, build_report, coverage_of
from alphabench.statistics import Bootstrap, Cluster, mean_of_groups
from alphabench.types import Estimate, Report

TYPES: Final = (
    "add", "adjust", "extract", "replace", "remove", "background", "style", "compose", "action",
)  # fmt: skip
"""Upstream's types of edits, in the order of its table, where `compose` is called hybrid."""
UGE: Final = "uge"
"""The suite of hard instructions, and the one group of its edits, which have no type."""
N_EDITS: Final = {"": 737, UGE: 47}
"""Of the official data, by split."""
LOWEST: Final = 1.0
FULL_MARKS: Final = 5.0
SETTINGS: Final = Bootstrap(value_range=(LOWEST, FULL_MARKS))
OVER_EDITS: Final = "mean of edits"


def mean_as_upstream(scores: Sequence[float]) -> float:
    """Upstream's mean of scores, added up in their order and rounded to 2 decimals."""
    return round(sum(scores) / len(scores), 2)


def imgedit_report(
    edits: Sequence[Cluster],
    scope: ReportScope,
    types: Sequence[str],
    *,
    extras: Mapping[str, Estimate] | None = None,
    notes: Iterable[str] = (),
) -> Report:
    """Groups are the means of the types; the headline is the plain mean of these.

    Beside it stands the mean of edits, in which a type weighs as many times as it has edits.
    official: types are rounded before they are averaged, as in published tables; the mean of edits
    is not. strict: nothing is rounded. Under both, edits without a score are in no mean and count
    in coverage and bounds, and there is no headline while a type has no score.
    `edits` has one cluster for each expected edit, in upstream's order of results.
    """
    found = statistics.group_estimates(edits, SETTINGS)
    groups = {name: found[name] for name in types if name in found}
    headline = statistics.estimate(edits, mean_of_groups, SETTINGS)
    if scope.protocol == "official" and headline.value is not None:
        scores = {
            name: [edit.total for edit in edits if edit.group == name and edit.n_scored]
            for name in groups
        }
        means = {name: mean_as_upstream(of) for name, of in scores.items() if of}
        groups |= {name: groups[name].restated(mean) for name, mean in means.items()}
        rounded = {name: np.array([mean]) for name, mean in means.items()}
        headline = headline.restated(float(mean_of_groups(rounded)[0]))
    headline, withheld = statistics.over_all_groups(headline, edits, types, kind="types of edits")
    over_edits = statistics.estimate(edits, statistics.pooled(edits), SETTINGS)
    return build_report(
        scope,
        headline,
        groups,
        coverage=coverage_of(edits),
        bounds=statistics.bounds(edits, mean_of_groups, SETTINGS.value_range, needed=types),
        extras={**({OVER_EDITS: over_edits} if len(types) > 1 else {}), **(extras or {})},
        withheld=withheld,
        notes=tuple(notes),
    )
