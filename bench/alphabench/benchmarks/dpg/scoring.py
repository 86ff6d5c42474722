"""DPG-Bench's rules: which answers count, and how metrics follow from them.

Equal to upstream's `compute_dpg_bench.py` (TencentQQGYLab/ELLA at 3c228f1), with its faults under
`official` and without them under `strict`. Knows no judge, no file and no run.

Upstream's code has an answer to every question; here some may be missing. A question then counts
only if it and all questions that it depends on were answered, whatever the answers are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks.reporting import plain_mean
from alphabench.statistics import Cluster
from alphabench.types import Estimate, ProtocolName

L1_CATEGORIES: Final = ("attribute", "entity", "relation", "other", "global")
"""In a fixed order; upstream's follows string hashes, which differ from process to process."""
ALL: Final = "all"
"""The one group of the headline: families of prompts are no part of upstream's score."""

Answers = Mapping[str, float | None]
"""Question id -> 1 for yes, 0 for anything else, None where there is no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposition:
    """One question about an item, and what must hold for it to make sense."""

    id: str
    parents: tuple[str, ...]
    category: str
    """Upstream's L2 category: `entity - whole`."""
    question: str
    row: int
    """Of the table, from 0; upstream passes over row 0."""

    @property
    def broad_category(self) -> str:
        """Upstream's L1 category: `entity`."""
        return self.category.partition("-")[0].strip()


def propositions_of(facts: Mapping[str, Any]) -> tuple[Proposition, ...]:
    """The questions in a sample's facts, in the order of the table."""
    return tuple(
        Proposition(
            id=one["id"],
            parents=tuple(one["parents"]),
            category=one["category"],
            question=one["question"],
            row=one["row"],
        )
        for one in facts["propositions"]
    )


def propositions_that_count(
    propositions: Sequence[Proposition], protocol: ProtocolName, images: Sequence[Answers] = ()
) -> tuple[Proposition, ...] | None:
    """The questions of an item that take part in its score; None for an item without one.

    official: the first row of the table is passed over (`if i == 0: continue`), and an item in
    which upstream comes upon a parent that is not there ends in a KeyError and is dropped. It does
    not come upon one that follows a parent which was answered with no.
    strict: all take part; a dependency on a question that is not in the table asks for nothing.

    Args:
        propositions: of the item.
        protocol: see above.
        images: the answers about each of its images; without any, the worst is supposed.
    """
    if protocol == "strict":
        return tuple(propositions) or None
    kept = tuple(one for one in propositions if one.row != 0)
    known = {one.id for one in kept}
    if all(parent in known for one in kept for parent in one.parents):
        return kept or None
    return kept if images and all(_ends_well(kept, answers) for answers in images) else None


def _ends_well(kept: Sequence[Proposition], answers: Answers) -> bool:
    """Whether upstream's walk over one image meets no parent that is not there."""
    current = {one.id: answers.get(one.id) for one in kept}
    for one in kept:
        for parent in one.parents:
            if parent not in current:
                return False
            if current[parent] == 0:
                current[one.id] = 0.0
                break
    return True


def resolved_answers(
    propositions: Sequence[Proposition], answers: Answers
) -> dict[str, float | None]:
    """The answers after dependencies: 0 where a parent is 0, None where a parent is unknown.

    Walks in the table's order and changes values in place, as upstream does: a zero passes down a
    chain whose parents stand first, and a parent that stands later is seen as it was answered.
    """
    current = {one.id: answers.get(one.id) for one in propositions}
    for one in propositions:
        parents = [current[parent] for parent in one.parents if parent in current]
        if current[one.id] is None or any(value is None for value in parents):
            current[one.id] = None
        elif any(value == 0 for value in parents):
            current[one.id] = 0.0
    return current


def image_score(propositions: Sequence[Proposition], answers: Answers) -> float | None:
    """The mean over the scored questions of one image, 0 to 1; None without any."""
    return plain_mean(resolved_answers(propositions, answers).values())


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedItem:
    """One item: its questions, and the answers about each of its images in order."""

    id: str
    """Unique in a report; of a second file about an item its path."""
    propositions: tuple[Proposition, ...]
    images: tuple[Answers, ...] = field(repr=False)

    def counted_propositions(self, protocol: ProtocolName) -> tuple[Proposition, ...] | None:
        """See `propositions_that_count`."""
        return propositions_that_count(self.propositions, protocol, self.images)

    def score(self, protocol: ProtocolName, *, unknown: float | None = None) -> float | None:
        """The mean of the images that have a score; None without any, or for a dropped item.

        Args:
            protocol: see `propositions_that_count`.
            unknown: what to take for an answer that is not there; None leaves it out.
        """
        kept = self.counted_propositions(protocol)
        if kept is None:
            return None
        return plain_mean(image_score(kept, _filled(kept, one, unknown)) for one in self.images)


def _filled(kept: Sequence[Proposition], answers: Answers, unknown: float | None) -> Answers:
    if unknown is None:
        return answers
    known = {one.id: answers.get(one.id) for one in kept}
    return {name: unknown if value is None else value for name, value in known.items()}


def item_clusters(items: Iterable[JudgedItem], protocol: ProtocolName) -> list[Cluster]:
    """One cluster for each item that is not dropped, worth one score; all in one group."""
    found = []
    for item in items:
        if item.counted_propositions(protocol) is None:
            continue
        score = item.score(protocol)
        found.append(
            Cluster(
                sample_id=item.id,
                group=ALL,
                total=score or 0.0,
                n_scored=int(score is not None),
                n_expected=1,
            )
        )
    return found


def dpg_headline(items: Sequence[JudgedItem], protocol: ProtocolName) -> Estimate:
    """The mean over item scores, 0 to 1; upstream prints it times 100.

    Its counts are of answers, not of items.
    """
    clusters = item_clusters(items, protocol)
    estimate = statistics.estimate(clusters, statistics.mean_of_groups)
    n_scored, n_expected = count_answers(items, protocol)
    return replace(estimate, n_scored=n_scored, n_expected=n_expected)


def count_answers(items: Iterable[JudgedItem], protocol: ProtocolName) -> tuple[int, int]:
    """How many of the questions that take part are answered, and how many there are."""
    n_scored = n_expected = 0
    for item in items:
        kept = item.counted_propositions(protocol) or ()
        for answers in item.images:
            n_expected += len(kept)
            n_scored += sum(answers.get(one.id) is not None for one in kept)
    return n_scored, n_expected


def dpg_bounds(items: Sequence[JudgedItem], protocol: ProtocolName) -> tuple[float, float] | None:
    """The headline had every answer that is not there been no, and yes; None without an item."""
    ends = []
    for unknown in (0.0, 1.0):
        scores = [item.score(protocol, unknown=unknown) for item in items]
        known = [score for score in scores if score is not None]
        if not known:
            return None
        ends.append(sum(known) / len(known))
    return ends[0], ends[1]


def category_estimates(
    items: Sequence[JudgedItem], protocol: ProtocolName, *, broad: bool
) -> dict[str, Estimate]:
    """L1 (`broad`) or L2 categories: the mean over all their questions, pooled over items.

    official: answers about an item's last image alone, before dependencies, so that a category can
    exceed the headline. strict: answers about all images, after dependencies.
    """
    by_category: dict[str, list[Cluster]] = {}
    for item in items:
        kept = item.counted_propositions(protocol)
        if kept is None:
            continue
        values = _category_values(item, kept, protocol, broad)
        for category, of in values.items():
            known = [value for value in of if value is not None]
            by_category.setdefault(category, []).append(
                Cluster(
                    sample_id=item.id,
                    group=category,
                    total=float(sum(known)),
                    n_scored=len(known),
                    n_expected=len(of),
                )
            )
    order = sorted(by_category)
    if broad:
        order.sort(key=lambda name: L1_CATEGORIES.index(name) if name in L1_CATEGORIES else 99)
    return {
        name: statistics.estimate(by_category[name], statistics.mean_of_groups) for name in order
    }


def _category_values(
    item: JudgedItem, kept: Sequence[Proposition], protocol: ProtocolName, broad: bool
) -> dict[str, list[float | None]]:
    official = protocol == "official"
    judged = [
        {one.id: answers.get(one.id) for one in kept}
        if official
        else resolved_answers(kept, answers)
        for answers in (item.images[-1:] if official else item.images)
    ]
    found: dict[str, list[float | None]] = {}
    for values in judged:
        for one in kept:
            name = one.broad_category if broad else one.category
            found.setdefault(name, []).append(values[one.id])
    return found
