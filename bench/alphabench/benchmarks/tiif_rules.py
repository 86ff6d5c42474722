"""TIIF-Bench's rules: what a reply states, and how answers become figures.

Equal to upstream's `eval/` scripts at 3aae750: answers are pooled over the questions of one
attribute and length, attributes are averaged into nine groups, groups into an overall figure for
short and for long prompts. Knows no judge, no file and no run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
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
"""Level of difficulty -> its groups. A level's figure is the mean over its attributes."""

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


def figures(
    clusters: Sequence[Cluster], *, protocol: ProtocolName, complete: Iterable[str]
) -> dict[str, Estimate]:
    """Every figure of a report: the headline under `headline`, the others under their names.

    official: accuracies are rounded to 4 decimals before they are averaged, and attributes without
    an answer are left out of their group, groups without one out of the overall figure. Replicates
    of the bootstrap skip the rounding, which is far below their spread.
    strict: nothing is rounded, and a figure is None unless each of its attributes has an answer.

    Args:
        clusters: one for each sample; their groups are strata.
        protocol: see above.
        complete: the strata that the whole split has, for strict.
    """
    needed = set(complete) if protocol == "strict" else set()
    found = {
        name: _figure(clusters, attributes, lengths, formula, needed)
        for name, (attributes, lengths, formula) in _formulas(protocol == "official").items()
    }
    headline = statistics.estimate(clusters, headline_formula(protocol))
    scored = {cluster.group for cluster in clusters if cluster.n_scored}
    return {"headline": headline if scored >= needed else withheld(headline), **found}


def headline_formula(protocol: ProtocolName) -> Formula:
    """The mean of the overall figures of short and long prompts, whichever there are."""
    rounded = protocol == "official"
    return lambda means: _mean(
        [of for of in (_overall(means, length, rounded) for length in LENGTHS) if of is not None]
    )


def withheld(estimate: Estimate) -> Estimate:
    """The same account without a figure."""
    return Estimate(
        value=None,
        low=None,
        high=None,
        n_samples=estimate.n_samples,
        n_scored=estimate.n_scored,
        n_expected=estimate.n_expected,
    )


_Figure = tuple[Sequence[str], Sequence[Length], Formula]
"""Attributes and lengths that a figure rests on, and how it follows from their accuracies."""


def _formulas(rounded: bool) -> dict[str, _Figure]:
    """All figures beside the headline, by name, in the order of a report."""
    found: dict[str, _Figure] = {}
    for length in LENGTHS:
        found[f"overall {length}"] = (ATTRIBUTES, (length,), _overall_formula(length, rounded))
    for group, attributes in GROUPS.items():
        for length in LENGTHS:
            found[f"{group} {length}"] = (attributes, (length,), _mean_of_present(rounded))
    for level, groups in LEVELS.items():
        attributes = tuple(a for group in groups for a in GROUPS[group])
        for length in LENGTHS:
            found[f"{level} Following {length}"] = (
                attributes,
                (length,),
                _mean_of_present(rounded),
            )
    found["mean accuracy"] = (ATTRIBUTES, LENGTHS, _mean_of_present(rounded))
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
    return estimate if scored >= strata & needed else withheld(estimate)


def _overall_formula(length: Length, rounded: bool) -> Formula:
    def formula(means: Means) -> NDArray[np.float64]:
        overall = _overall(means, length, rounded)
        assert overall is not None, "an estimate is made of what was scored"
        return overall

    return formula


def _overall(means: Means, length: Length, rounded: bool) -> NDArray[np.float64] | None:
    """The mean of the nine groups; those without an answer are left out, as upstream does."""
    groups = [
        _mean(present)
        for attributes in GROUPS.values()
        if (present := _present(means, attributes, length, rounded))
    ]
    return _mean(groups) if groups else None


def _present(
    means: Means, attributes: Sequence[str], length: Length, rounded: bool
) -> list[NDArray[np.float64]]:
    strata = [stratum(attribute, length) for attribute in attributes]
    return [_round(means[one]) if rounded else means[one] for one in strata if one in means]


def _mean_of_present(rounded: bool) -> Formula:
    convert: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    convert = _round if rounded else lambda mean_R: mean_R
    return lambda means: _mean([convert(mean_R) for mean_R in means.values()])


def _mean(arrays: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    mean_R: NDArray[np.float64] = np.mean(np.stack(list(arrays)), axis=0)
    return mean_R


def _round(mean_R: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value as upstream's table holds it, a text of 4 decimals; replicates as they are."""
    if mean_R.size > 1:
        return mean_R
    return np.array([float(f"{value:.4f}") for value in mean_R])
