from __future__ import annotations

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.reports.comparison import (
    ComparisonBasis,
    compare_runs,
    comparison_markdown,
    is_distinguishable,
)
from alphabench.types import ImageRequest
from tests.support.stored_runs import Answer, Made, RunMaker


def compared(make_run: RunMaker, before: Made, after: Made) -> str:
    basis = ComparisonBasis(samples=make_run.samples)
    return comparison_markdown(compare_runs(before.run, after.run, basis))


def test_equal_runs_are_not_distinguishable(make_run: RunMaker) -> None:
    text = compared(make_run, make_run("a"), make_run("b"))
    assert "**Difference +0.000, not distinguishable**: 95% interval +0.000 to +0.000" in text
    assert "None changed." in text


def test_a_clear_gain_of_the_candidate_is_positive(make_run: RunMaker) -> None:
    text = compared(make_run, make_run("a", answer=lambda _: 0.0), make_run("b"))
    assert "**Difference +1.000, distinguishable**" in text
    assert "| higher " in text


def test_swapping_the_runs_turns_the_sign(make_run: RunMaker) -> None:
    basis = ComparisonBasis(samples=make_run.samples)
    low, high = make_run("low", answer=half), make_run("high")
    forth = compare_runs(low.run, high.run, basis).headline
    back = compare_runs(high.run, low.run, basis).headline
    assert forth.value == 0.5
    assert (back.value, back.low, back.high) == (-0.5, -0.5, -0.5)


def half(request: ImageRequest) -> float:
    return float(request.index)


def one_changed(request: ImageRequest) -> float:
    return float(request.sample.id != "00003")


def test_the_samples_that_changed_most_come_first(make_run: RunMaker) -> None:
    def changed(request: ImageRequest) -> float:
        return {"00003": 0.0, "00005": half(request)}.get(request.sample.id, 1.0)

    basis = ComparisonBasis(samples=make_run.samples)
    found = compare_runs(make_run("a").run, make_run("b", answer=changed).run, basis)
    assert [(c.sample.id, c.before, c.after) for c in found.changes] == [
        ("00003", 1.0, 0.0),
        ("00005", 1.0, 0.5),
    ]


def test_one_changed_sample_of_twelve_is_not_distinguishable(make_run: RunMaker) -> None:
    basis = ComparisonBasis(samples=make_run.samples)
    found = compare_runs(make_run("a").run, make_run("b", answer=one_changed).run, basis)
    assert found.headline.value == pytest.approx(-1 / 12)
    assert not is_distinguishable(found.headline)


def test_only_samples_scored_in_both_runs_are_paired(make_run: RunMaker) -> None:
    def broken(request: ImageRequest) -> Answer:
        return ("failed", "broke") if int(request.sample.id) < 4 else 0.0

    basis = ComparisonBasis(samples=make_run.samples)
    found = compare_runs(make_run("a").run, make_run("b", answer=broken).run, basis)
    assert (found.headline.value, found.headline.n_samples) == (-1.0, 8)


def test_runs_without_a_common_sample_have_no_difference(make_run: RunMaker) -> None:
    text = compared(
        make_run,
        make_run("a", answer=lambda r: 1.0 if int(r.sample.id) < 6 else None),
        make_run("b", answer=lambda r: 1.0 if int(r.sample.id) >= 6 else None),
    )
    assert "**Difference —**: no sample was scored in both runs." in text
    assert "nothing scored in both" in text


def test_runs_over_other_data_are_refused_with_what_differs(make_run: RunMaker) -> None:
    other = make_run("b", pixels={"benchmark.data_digest": "ffff"})
    with pytest.raises(AlphaBenchError, match=r"benchmark\.data_digest: '5ab2.*' against 'ffff'"):
        compare_runs(make_run("a").run, other.run, ComparisonBasis(samples=make_run.samples))


def test_runs_by_different_evaluators_are_refused(make_run: RunMaker) -> None:
    other = make_run("b", identity={"detector": "another"})
    with pytest.raises(AlphaBenchError, match="not scored by the same evaluator"):
        compare_runs(make_run("a").run, other.run, ComparisonBasis(samples=make_run.samples))


def test_runs_of_two_benchmarks_are_refused_by_the_benchmarks_names(make_run: RunMaker) -> None:
    other = make_run("b", split="", identity={"detector": "another"})
    with pytest.raises(AlphaBenchError, match=r"two benchmarks: geneval@1:mini and geneval@1; "):
        compare_runs(make_run("a").run, other.run, ComparisonBasis(samples=make_run.samples))


def test_a_comparison_with_a_run_that_lacks_verdicts_is_labelled(make_run: RunMaker) -> None:
    def gap(request: ImageRequest) -> Answer:
        return ("refused", "no") if request.sample.id < "00006" else 1.0

    whole, gaps = make_run("a"), make_run("b", answer=gap)
    found = compare_runs(whole.run, gaps.run, ComparisonBasis(samples=whole.samples))
    assert "> **PARTIAL**, candidate: 50% (12 of 24) of the expected" in comparison_markdown(found)
    assert "baseline" not in found.partial
