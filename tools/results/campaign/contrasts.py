"""Two evaluations of one condition, image by image: what refinement gained, repaired and spoiled.

An image is bad where the second evaluation gives it less than full marks. Where the second one is
of the images that the first one refined, its bad images are the same for all conditions and seeds.
Unscored images are left out on both sides and are counted. Reads kept numbers; writes no page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from alphabench.reports.comparison import ComparisonBasis
from alphabench.statistics import Bootstrap, Cluster, Formula, mean_of_groups, pooled
from alphabench.types import FULL_MARKS, Estimate
from tools.results.campaign.evidence import Judged, KeptEvaluation, Score
from tools.results.campaign.intervals import difference_over_seeds, mean_over_seeds

Seeds = dict[int | None, KeptEvaluation]
"""The kept evaluations of one condition by seed; None is the seed of a checkpoint as it is."""
Pair = Callable[[float, float], float | None]
"""The value of an image from its two scores; None where it does not count."""


def _gain(ours: float, theirs: float) -> float:
    return ours - theirs


def _worse(ours: float, theirs: float) -> float:
    return float(ours < theirs)


def _repaired(ours: float, theirs: float) -> float | None:
    return ours if theirs < FULL_MARKS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Evaluation `ours` minus evaluation `theirs` of one condition, over its seeds."""

    ours: Seeds
    theirs: Seeds
    """Of the same seeds, or of a checkpoint as it is, which serves all."""
    basis: ComparisonBasis

    @property
    def seeds(self) -> list[int | None]:
        """Those that both have."""
        return [seed for seed in self.ours if seed in self.theirs or None in self.theirs]

    @property
    def gain(self) -> Estimate:
        """Mean difference, with the benchmark's formula."""
        return mean_over_seeds(self._runs(_gain), self.basis.formula, self._signed)

    @property
    def worse(self) -> Estimate:
        """Share of images that score lower in the first."""
        return mean_over_seeds(self._runs(_worse), mean_of_groups, self.basis.settings)

    @property
    def repaired(self) -> Estimate:
        """Score in the first of the images that are bad in the second, each counted once."""
        runs = self._runs(_repaired)
        formula: Formula = pooled(one for run in runs for one in run)
        return mean_over_seeds(runs, formula, self.basis.settings)

    @property
    def bad_images(self) -> list[int]:
        """How many images are bad in the second, by seed."""
        return [sum(one.n_scored for one in run) for run in self._runs(_repaired)]

    @property
    def judged_gain(self) -> Estimate | None:
        """By the judge that scored first and last images in `ours`; None where none did."""
        return self._judged(lambda one: one.last - one.first, (-1.0, 1.0))

    @property
    def judged_worse(self) -> Estimate | None:
        """Share of last images with a lower score of that judge."""
        return self._judged(lambda one: one.worse, (0.0, 1.0))

    def more_than(self, other: Contrast) -> Estimate | None:
        """This gain minus that of another condition, paired by prompt and by seed."""
        single = None in other.seeds
        seeds = self.seeds if single else [one for one in self.seeds if one in other.seeds]
        if not seeds:
            return None
        return difference_over_seeds(
            self._runs(_gain, seeds),
            other._runs(_gain, [None] if single else seeds),
            self.basis.formula,
            self._signed,
        )

    @property
    def _signed(self) -> Bootstrap:
        low, high = self.basis.settings.value_range
        return replace(self.basis.settings, value_range=(low - high, high - low))

    def _runs(self, value: Pair, seeds: Sequence[int | None] | None = None) -> list[list[Cluster]]:
        return [
            _clusters(self.ours[seed], self.theirs[seed if seed in self.theirs else None], value)
            for seed in (self.seeds if seeds is None else seeds)
        ]

    def _judged(
        self, total: Callable[[Judged], float], value_range: tuple[float, float]
    ) -> Estimate | None:
        kept = [self.ours[seed] for seed in self.seeds]
        if not kept or not all(one.judged for one in kept):
            return None
        runs = [
            [
                Cluster(
                    sample_id=sample,
                    group=group,
                    total=float(total(row)),
                    n_scored=row.images,
                    n_expected=row.images,
                )
                for (sample, group), row in zip(one.samples, one.judged, strict=True)
            ]
            for one in kept
        ]
        settings = replace(self.basis.settings, value_range=value_range)
        return mean_over_seeds(runs, mean_of_groups, settings)


def _clusters(ours: KeptEvaluation, theirs: KeptEvaluation, value: Pair) -> list[Cluster]:
    """By sample of both; an image that is unscored on either side is expected and not scored."""
    other = dict(zip(theirs.samples, theirs.scores, strict=True))
    return [
        _cluster(sample, list(zip(scores, other[sample], strict=True)), value)
        for sample, scores in zip(ours.samples, ours.scores, strict=True)
        if sample in other
    ]


def _cluster(sample: tuple[str, str], pairs: Sequence[tuple[Score, Score]], value: Pair) -> Cluster:
    known = [
        (one, two) for one, two in pairs if not isinstance(one, str) and not isinstance(two, str)
    ]
    values = [found for one, two in known if (found := value(one, two)) is not None]
    return Cluster(
        sample_id=sample[0],
        group=sample[1],
        total=float(sum(sorted(values))),
        n_scored=len(values),
        n_expected=len(values) + len(pairs) - len(known),
    )
