"""The rules of a report that are the same for all benchmarks."""

from __future__ import annotations

import pytest

from alphabench.benchmarks.reporting import ReportScope, build_report, coverage_of, scored_share
from alphabench.statistics import Cluster
from alphabench.types import Estimate, Report, Status

NOTHING = Estimate(value=None, low=None, high=None, n_samples=0, n_scored=0, n_expected=0)


def report(statuses: dict[Status, int], *, has_all_samples: bool) -> Report:
    scope = ReportScope(
        benchmark="reds",
        split="mini",
        protocol="official",
        evaluator="judge",
        statuses=statuses,
        has_all_samples=has_all_samples,
    )
    return build_report(scope, NOTHING, {}, coverage=1.0, bounds=None)


@pytest.mark.parametrize(
    ("statuses", "has_all_samples", "partial"),
    [
        ({"scored": 2}, True, False),
        ({"scored": 2}, False, True),
        ({"scored": 1, "missing": 1}, True, True),
        ({"scored": 1, "failed": 1}, True, False),
    ],
)
def test_a_report_is_partial_without_a_sample_or_with_a_missing_verdict(
    statuses: dict[Status, int], has_all_samples: bool, partial: bool
) -> None:
    assert report(statuses, has_all_samples=has_all_samples).partial is partial


def test_coverage_is_the_share_of_expected_verdicts_that_were_scored() -> None:
    clusters = [
        Cluster(sample_id="a", group="g", total=1.0, n_scored=1, n_expected=4),
        Cluster(sample_id="b", group="g", total=2.0, n_scored=2, n_expected=2),
    ]
    assert coverage_of(clusters) == 0.5


def test_coverage_of_nothing_is_zero() -> None:
    assert coverage_of([]) == scored_share(0, 0) == 0.0
