"""TIIF-Bench's rules: what a reply states, and how metrics follow from answers.

Equal to upstream's `eval/` scripts at 3aae750: answers are pooled over the questions of one
attribute and length, attributes are averaged into nine groups, groups into an overall metric for
short and for long prompts. Knows no judge, no file and no run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from alphabench import statistics
from alphabench.statistics import Cluster, Formula, Means
from alphabench.types import Estimate, ProtocolName

Length = Literal["short", "long"]
LENGTHS: Final[tuple[Length, ...]] = get_args(Length)

_REASONING: Final = ("numeracy", "comparison", "differentiation", "negation")
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "Attribute": ("shape+color", "color+texture", "texture+color", "shape+texture"),
    "Relation": ("2d_spatial_relation", "3d_spatial_relation", "action+2d", "action+3d"),
    "Reasoning": ("numeracy", "negation", "differentiation", "comparison"),
    "Attribute+Relation": (
        "action+color", "action+texture", "color+2d", "color+3d",
        "shape+2d", "shape+3d", "texture+2d", "texture+3d",
    ),
    "Attribute+Reasoning": tuple(f"{a}+{b}" for a in _REASONING for b in ("color", "texture")),
    "Relation+Reasoning": tuple(f"{a}+{b}" for a in _REASONING for b in ("2d", "3d")),
    "Text Generation": ("text",),
    "Style Control": ("style",),
    "Complex": ("real_world",),
}  # fmt: skip
"""Group -> its attributes, in upstream's order."""
ATTRIBUTES: Final = tuple(attribute for of in GROUPS.values() for attribute in of)
LEVELS: Final[Mapping[str, tuple[str, ...]]] = {
    "Basic": ("Attribute", "Relation", "Reasoning"),
    "Advanced": (
        "Attribute+Relation", "Attribute+Reasoning", "Relation+Reasoning",
        "Text Generation", "Style Control",
    ),
    "Real World": ("Complex",),
}  # fmt: skip
"""Level of difficulty -> its groups. A level's metric is the mean over its attributes."""

_ANSWER: Final = re.compile(r"(yes|no)\b", re.IGNORECASE)
_BOTH: Final = re.compile(r"(yes|no)\s*(or|and|/|\|)\s*(yes|no)\b", re.IGNORECASE)


def stratum(attribute: str, length: Length) -> str:
    """The group of a sample: answers are pooled inside it."""
    return f"{attribute} {length}"


def read_lines(text: str, *, n_questions: int, strict: bool = False) -> tuple[bool, ...] | None:
    """The answers that a reply to several questions states, yes as True; None if not so many.

    As upstream's `extract_yes_no`: a line counts when it starts with the word yes or no, all other
    lines are passed over, and the count must be that of the questions.

    Args:
        text: the reply.
        n_questions: asked in one call.
        strict: a line that names both words as alternatives (`yes or no`) makes the reply
            unreadable; upstream takes the first of the two.
    """
    lines = [line.strip() for line in text.strip().split("\n")]
    answers = [match for match in map(_ANSWER.match, lines) if match is not None]
    if len(answers) != n_questions or not n_questions:
        return None
    if strict and any(_BOTH.match(match.string) for match in answers):
        return None
    return tuple(match.group(1).casefold() == "yes" for match in answers)


def is_right(answer: str, expected: str) -> bool:
    """Upstream compares without regard to case and blanks at the ends."""
    return answer.strip().lower() == expected.strip().lower()


def tiif_metrics(
    clusters: Sequence[Cluster],
    *,
    protocol: ProtocolName,
    complete: Iterable[str],
    alone: bool = True,
) -> dict[str, Estimate]:
    """Every metric of a report: the headline under `headline`, the others under their names.

    official: accuracies are rounded to 4 decimals before they are averaged, and attributes without
    an answer are left out of their group, groups without one out of the overall metric. The mean
    accuracy alone is over what is not rounded, and rounded itself: upstream takes it before it
    writes its table. Replicates of the bootstrap skip the rounding, far below their spread.
    strict: nothing is rounded, and a metric is None unless each of its attributes has an answer.

    Args:
        clusters: one for each sample; their groups are strata.
        protocol: see above.
        complete: the strata that the whole split has, for strict.
        alone: whether upstream's table held this model only: pandas adds up several rows in
            another way than one, which shows in the fourth decimal where values tie.
    """
    needed = set(complete) if protocol == "strict" else set()
    found = {
        name: _figure(clusters, attributes, lengths, formula, needed)
        for name, (attributes, lengths, formula) in _formulas(
            _Averaging(rounded=protocol == "official", alone=alone)
        ).items()
    }
    headline = statistics.estimate(clusters, headline_formula(protocol))
    headline, _ = statistics.over_all_groups(headline, clusters, needed)
    return {"headline": headline, **found}


def headline_formula(protocol: ProtocolName) -> Formula:
    """The mean of the overall metrics of short and long prompts, whichever there are."""
    averaging = _Averaging(rounded=protocol == "official")

    def formula(means: Means) -> NDArray[np.float64]:
        overall = [_overall(means, length, averaging) for length in LENGTHS]
        return _known(_mean_of_column(overall))

    return formula


@dataclass(frozen=True, slots=True)
class _Averaging:
    """How upstream averages the accuracies of its table."""

    rounded: bool
    alone: bool = True

    def over(self, means: Means, strata: Sequence[str]) -> NDArray[np.float64] | None:
        """The mean of the strata that there are, in the given order; None without any."""
        present = [
            _round(means[one]) if self.rounded else means[one] for one in strata if one in means
        ]
        if self.alone or not present:
            return _mean_of_column(present)
        return reduce(np.add, present) / len(present)

    def formula(self, strata: Sequence[str]) -> Formula:
        return lambda means: _known(self.over(means, strata))


_Figure = tuple[Sequence[str], Sequence[Length], Formula]
"""Attributes and lengths that a metric rests on, and how it follows from their accuracies."""


def _formulas(averaging: _Averaging) -> dict[str, _Figure]:
    """All metrics beside the headline, by name, in the order of a report."""
    found: dict[str, _Figure] = {}
    for length in LENGTHS:
        formula = _overall_formula(length, averaging)
        found[f"overall {length}"] = (ATTRIBUTES, (length,), formula)
    levels = {
        f"{level} Following": tuple(a for group in groups for a in GROUPS[group])
        for level, groups in LEVELS.items()
    }
    for name, attributes in {**GROUPS, **levels}.items():
        for length in LENGTHS:
            formula = averaging.formula([stratum(a, length) for a in attributes])
            found[f"{name} {length}"] = (attributes, (length,), formula)
    found["mean accuracy"] = (ATTRIBUTES, LENGTHS, _mean_accuracy_formula(averaging))
    return found


def _figure(
    clusters: Sequence[Cluster],
    attributes: Sequence[str],
    lengths: Sequence[Length],
    formula: Formula,
    needed: set[str],
) -> Estimate:
    strata = {stratum(attribute, length) for attribute in attributes for length in lengths}
    ours = [cluster for cluster in clusters if cluster.group in strata]
    estimate = statistics.estimate(ours, formula)
    scored = {cluster.group for cluster in ours if cluster.n_scored}
    return estimate if scored >= strata & needed else estimate.withheld()


def _overall_formula(length: Length, averaging: _Averaging) -> Formula:
    return lambda means: _known(_overall(means, length, averaging))


def _overall(means: Means, length: Length, averaging: _Averaging) -> NDArray[np.float64] | None:
    """The mean of the nine groups; those without an answer are left out, as upstream does."""
    return _mean_of_column(
        [averaging.over(means, [stratum(a, length) for a in of]) for of in GROUPS.values()]
    )


def _mean_accuracy_formula(averaging: _Averaging) -> Formula:
    """Over all columns of upstream's table, which stand in alphabetical order."""
    columns = sorted(stratum(attribute, length) for attribute in ATTRIBUTES for length in LENGTHS)
    formula = _Averaging(rounded=False, alone=averaging.alone).formula(columns)
    return (lambda means: _round(formula(means))) if averaging.rounded else formula


def _mean_of_column(arrays: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    """Over what is there; None without any.

    Added up as pandas adds one column: numpy's pairwise sum, with zeros where one is absent.
    """
    present = [one for one in arrays if one is not None]
    if not present:
        return None
    filled = [np.zeros_like(present[0]) if one is None else one for one in arrays]
    total_R: NDArray[np.float64] = np.stack(filled, axis=-1).sum(axis=-1)
    return total_R / len(present)


def _known(mean_R: NDArray[np.float64] | None) -> NDArray[np.float64]:
    assert mean_R is not None, "an estimate is made of what was scored"
    return mean_R


def _round(mean_R: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value as upstream's table holds it, a text of 4 decimals; replicates as they are."""
    if mean_R.size > 1:
        return mean_R
    return np.array([float(f"{value:.4f}") for value in mean_R])
