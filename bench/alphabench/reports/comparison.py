"""Whether two runs of one benchmark differ: paired by sample, with an interval.

Only runs measured alike can be compared; anything else is refused with what differs. Knows no
benchmark's rules: the samples and the headline formula come in as a `ComparisonBasis`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable

from alphabench.core.data_frames import data_frame
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.interfaces import Benchmark
from alphabench.reports.markdown import NOTHING, inline, interval, markdown_table, number
from alphabench.reports.run_report import missing_parts
from alphabench.runs.stored_run import StoredEvaluation, StoredRun
from alphabench.statistics import (
    DEFAULT,
    Bootstrap,
    Cluster,
    Formula,
    gather,
    mean_of_groups,
    paired_difference,
)
from alphabench.types import Estimate, Sample, Verdict

if TYPE_CHECKING:
    import pandas as pd

_UNCHECKED: Final = "self_test"
"""Whether the evaluator was self-tested; results that differ in it alone stay comparable."""


FRAME_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "groups": ("group", "difference", "low", "high", "pairs", "distinguishable"),
    "samples": ("sample_id", "group", "prompt", "before", "after"),
}
"""The columns of each frame of `RunComparison.to_pandas`."""

Gather = Callable[[Sequence[Sample], Sequence[Verdict]], list[Cluster]]


@runtime_checkable
class Comparable(Protocol):
    """A benchmark whose headline is not the mean of its groups' means."""

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """What the headline is made of, by sample."""
        ...

    def formula(self) -> Formula:
        """The headline from the means of the clusters' groups."""
        ...


@runtime_checkable
class ScoreScale(Protocol):
    """A benchmark whose verdicts have another range than 0 to 1."""

    def settings(self) -> Bootstrap:
        """Of the bootstrap, with the worst and the best value."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonBasis:
    """What a paired comparison needs of a benchmark."""

    samples: Sequence[Sample]
    """All samples of the benchmark."""
    formula: Formula = mean_of_groups
    """Its headline from the means of its groups."""
    settings: Bootstrap = DEFAULT
    """Of the bootstrap; names the worst and the best value of a verdict."""
    gather: Gather | None = None
    """Its verdicts by sample, where they are more than the values of equal questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleChange:
    """A sample on which two runs differ: the mean over its images, before and after."""

    sample: Sample
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RunComparison:
    """Candidate minus baseline, over the samples scored in both."""

    baseline: str
    candidate: str
    benchmark: str
    headline: Estimate
    groups: Mapping[str, Estimate]
    changes: Sequence[SampleChange]
    """All samples whose mean changed, the largest change first."""
    partial: Mapping[str, str] = field(default_factory=dict)
    """`baseline` or `candidate` -> what is missing in that run; empty if both are complete."""

    @property
    def distinguishable(self) -> bool:
        """Whether the 95% interval of the difference excludes 0."""
        return is_distinguishable(self.headline)

    def to_markdown(self) -> str:
        """The comparison as `alphabench compare` prints it."""
        return comparison_markdown(self)

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values, as `alphabench compare --json` prints it."""
        return {
            "baseline": self.baseline,
            "candidate": self.candidate,
            "benchmark": self.benchmark,
            "partial": dict(self.partial),
            "difference": _difference_json(self.headline),
            "groups": {name: _difference_json(one) for name, one in self.groups.items()},
            "changes": [
                {
                    "sample_id": change.sample.id,
                    "group": change.sample.group,
                    "prompt": change.sample.prompt,
                    "before": change.before,
                    "after": change.after,
                }
                for change in self.changes
            ],
        }

    def to_pandas(self, what: Literal["groups", "samples"] = "groups") -> pd.DataFrame:
        """A data frame.

        Args:
            what: `groups`, the difference of each group with its 95% interval; `samples`, the
                samples whose mean changed, the largest change first.

        Raises:
            AlphaBenchError: no such frame, or pandas is not installed (extra `notebook`).
        """
        if what not in FRAME_COLUMNS:
            raise unknown_name("frame", str(what), FRAME_COLUMNS)
        rows: list[tuple[Any, ...]]
        if what == "groups":
            rows = [
                (group, one.value, one.low, one.high, one.n_samples, is_distinguishable(one))
                for group, one in self.groups.items()
            ]
        else:
            rows = [
                (c.sample.id, c.sample.group, c.sample.prompt, c.before, c.after)
                for c in self.changes
            ]
        columns = FRAME_COLUMNS[what]
        return data_frame([dict(zip(columns, row, strict=True)) for row in rows], columns)

    def __repr__(self) -> str:
        difference = self.headline
        decision = "distinguishable" if self.distinguishable else "not distinguishable"
        return (
            f"RunComparison({self.benchmark}: {self.candidate} against {self.baseline}, "
            f"difference {signed(difference.value)} {interval(difference)}, {decision}, "
            f"{difference.n_samples} pairs)"
        )

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def measurement(run: StoredRun, evaluation: StoredEvaluation) -> dict[str, str]:
    """All that must agree for two results to stand in one table: benchmark and evaluator."""
    benchmark = {k: v for k, v in run.manifest.pixels.items() if _is_of("benchmark", k)}
    evaluator = {
        f"evaluator.{key}": value for key, value in evaluation.identity.items() if key != _UNCHECKED
    }
    return {**benchmark, **evaluator}


def basis_of(benchmark: Benchmark) -> ComparisonBasis:
    """What a comparison needs of a benchmark.

    Raises:
        AlphaBenchError: its official data is not here.
    """
    settings = benchmark.settings() if isinstance(benchmark, ScoreScale) else DEFAULT
    if isinstance(benchmark, Comparable):
        return ComparisonBasis(
            samples=benchmark.samples(),
            formula=benchmark.formula(),
            settings=settings,
            gather=benchmark.clusters,
        )
    return ComparisonBasis(samples=benchmark.samples(), settings=settings)


def clusters_of(
    run: StoredRun, evaluation: StoredEvaluation, basis: ComparisonBasis
) -> list[Cluster]:
    """What the run scored, by sample."""
    if basis.gather is not None:
        return basis.gather(basis.samples, evaluation.verdicts)
    return gather(basis.samples, evaluation.verdicts, n_expected=run.images_per_sample)


def is_distinguishable(difference: Estimate) -> bool:
    """Whether the 95% interval excludes 0; False when nothing was scored in both."""
    if difference.low is None or difference.high is None:
        return False
    return difference.low > 0 or difference.high < 0


def compare_runs(
    baseline: StoredRun,
    candidate: StoredRun,
    basis: ComparisonBasis,
    *,
    evaluation: str | None = None,
) -> RunComparison:
    """The paired difference of two runs, headline and groups.

    Args:
        baseline: what is compared against.
        candidate: a positive difference means that this one scores higher.
        basis: of the benchmark that both ran.
        evaluation: its name; None takes the one that both runs have.

    Raises:
        AlphaBenchError: the runs were not measured alike, or not by exactly one evaluation.
    """
    name = evaluation or shared_evaluation(baseline, candidate)
    measured = [(run, run.evaluation(name)) for run in (baseline, candidate)]
    _check_alike(*(measurement(*one) for one in measured))
    before, after = (clusters_of(*one, basis) for one in measured)
    groups = dict.fromkeys(cluster.group for cluster in after)
    by_group = {
        group: paired_difference(
            [c for c in after if c.group == group],
            [c for c in before if c.group == group],
            mean_of_groups,
            basis.settings,
        )
        for group in groups
    }
    headline = paired_difference(after, before, basis.formula, basis.settings)
    return RunComparison(
        baseline=baseline.manifest.title,
        candidate=candidate.manifest.title,
        benchmark=baseline.manifest.benchmark,
        headline=headline,
        groups={group: one for group, one in by_group.items() if one.n_expected},
        changes=_changes(before, after, basis),
        partial={
            side: missing
            for side, (run, scored) in zip(("baseline", "candidate"), measured, strict=True)
            if scored.report and (missing := missing_parts(scored.report, run.manifest))
        },
    )


def comparison_markdown(comparison: RunComparison, *, most_changes: int = 20) -> str:
    """The comparison as markdown, which is also readable in a terminal."""
    headline = comparison.headline
    rows = [
        [
            inline(group),
            signed(difference.value),
            interval(difference),
            str(difference.n_samples),
            difference_verdict(difference),
        ]
        for group, difference in comparison.groups.items()
    ]
    by_chance = 1 - 0.95 ** len(rows)
    return (
        "\n\n".join(
            [
                f"# {inline(comparison.candidate)} against {inline(comparison.baseline)}",
                f"{inline(comparison.benchmark)}, paired by sample; a positive difference means "
                f"that {inline(comparison.candidate)} scores higher.",
                *[
                    f"> **PARTIAL**, {side}: {missing}."
                    for side, missing in comparison.partial.items()
                ],
                _headline(headline),
                "## Groups",
                markdown_table(
                    ["group", "difference", "95% interval", "pairs", ""],
                    rows,
                    ["left", "right", "right", "right", "left"],
                ),
                f"Each interval stands for its group alone: of {len(rows)} groups of two equal "
                f"runs, at least one would look different in about {by_chance:.0%} of comparisons.",
                "## Samples that changed most",
                _changes_table(comparison.changes, most_changes),
            ]
        )
        + "\n"
    )


def shared_evaluation(baseline: StoredRun, candidate: StoredRun) -> str:
    """The one evaluation that both runs have.

    Raises:
        AlphaBenchError: there is none, or more than one.
    """
    ours, theirs = (set(run.reports()) for run in (baseline, candidate))
    shared = sorted(ours & theirs)
    if len(shared) == 1:
        return shared[0]
    if shared:
        raise AlphaBenchError(
            f"both runs were scored by {len(shared)} evaluators",
            hint=f"choose one of {', '.join(shared)}",
        )
    measured = [run.manifest.benchmark for run in (baseline, candidate)]
    if measured[0] != measured[1]:
        raise AlphaBenchError(
            f"the runs are of two benchmarks: {measured[0]} and {measured[1]}",
            hint="compare runs of one benchmark",
        )
    raise AlphaBenchError(
        "the runs were not scored by the same evaluator "
        f"({', '.join(sorted(ours)) or 'none'} against {', '.join(sorted(theirs)) or 'none'})",
        hint="score both with the same one: `alphabench score RUN --evaluator NAME`",
    )


def _check_alike(ours: Mapping[str, str], theirs: Mapping[str, str]) -> None:
    if different := identity_differences(ours, theirs):
        raise AlphaBenchError(
            f"the runs were not measured alike ({different})",
            hint="compare runs of one benchmark and one evaluator",
        )


def identity_differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """`key: 'ours' against 'theirs'` for each key in which they differ; empty when they agree."""
    keys = [key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]
    return ", ".join(f"{key}: {ours.get(key)!r} against {theirs.get(key)!r}" for key in keys)


def _changes(
    before: Sequence[Cluster], after: Sequence[Cluster], basis: ComparisonBasis
) -> list[SampleChange]:
    samples = {sample.id: sample for sample in basis.samples}
    changes = [
        SampleChange(
            sample=samples[old.sample_id],
            before=old.total / old.n_scored,
            after=new.total / new.n_scored,
        )
        for old, new in zip(before, after, strict=True)
        if old.n_scored and new.n_scored
    ]
    changed = [change for change in changes if change.before != change.after]
    return sorted(changed, key=lambda c: (-abs(c.after - c.before), c.sample.id))


def _changes_table(changes: Sequence[SampleChange], most: int) -> str:
    if not changes:
        return "None changed."
    rows = [
        [
            inline(change.sample.id, 40),
            inline(change.sample.group, 40),
            number(change.before),
            number(change.after),
            inline(change.sample.prompt, 100),
        ]
        for change in changes[:most]
    ]
    shown = markdown_table(
        ["sample", "group", "before", "after", "prompt"],
        rows,
        ["left", "left", "right", "right", "left"],
    )
    rest = len(changes) - len(rows)
    return f"{shown}\n\nAnd {rest} more." if rest > 0 else shown


def _headline(difference: Estimate) -> str:
    if difference.value is None and difference.n_samples:
        return f"**Difference {NOTHING}**: the benchmark has no headline; its parts stand below."
    if difference.value is None:
        return f"**Difference {NOTHING}**: no sample was scored in both runs."
    decision = "distinguishable" if is_distinguishable(difference) else "not distinguishable"
    return (
        f"**Difference {signed(difference.value)}, {decision}**: 95% interval "
        f"{signed(difference.low)} to {signed(difference.high)}, "
        f"from {difference.n_samples} pairs of samples."
    )


def _difference_json(difference: Estimate) -> dict[str, Any]:
    return {
        "value": difference.value,
        "low": difference.low,
        "high": difference.high,
        "pairs": difference.n_samples,
        "distinguishable": is_distinguishable(difference),
    }


def difference_verdict(difference: Estimate) -> str:
    """Whether the candidate is higher or lower, in words."""
    if difference.value is None:
        return "no headline" if difference.n_samples else "nothing scored in both"
    if not is_distinguishable(difference):
        return "not distinguishable"
    return "higher" if difference.value > 0 else "lower"


def signed(value: float | None) -> str:
    """A difference with its sign and three decimals; a dash where there is none."""
    return NOTHING if value is None else f"{value:+.3f}"


def _is_of(prefix: str, key: str) -> bool:
    return key == prefix or key.startswith(f"{prefix}.")
