"""Figures and their error bars."""

from __future__ import annotations

import math
import tracemalloc
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from alphabench.statistics import (
    Bootstrap,
    Cluster,
    Means,
    bounds,
    cluster_of,
    count_statuses,
    estimate,
    gather,
    group_estimates,
    joint_estimate,
    mean_of_groups,
    no_headline,
    paired_difference,
    pooled,
)
from alphabench.types import Sample, Verdict, image_id

FEW = Bootstrap(replicates=200)


def clusters_of(group: str, totals: Sequence[float], n: int = 4) -> list[Cluster]:
    return [
        Cluster(sample_id=f"{group}{index:04}", group=group, total=total, n_scored=n, n_expected=n)
        for index, total in enumerate(totals)
    ]


def cluster(group: str, id_: str, total: float, n_scored: int, n_expected: int) -> Cluster:
    return Cluster(
        sample_id=id_, group=group, total=total, n_scored=n_scored, n_expected=n_expected
    )


clusters = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.integers(0, 4)), max_size=20
).map(
    lambda rows: [
        cluster(group, f"{n:03}", float(min(total, scored)), scored, 4)
        for n, (group, total, scored) in enumerate(rows)
    ]
)


def test_the_value_is_the_plain_mean_of_group_means() -> None:
    found = estimate([*clusters_of("a", [4, 0]), *clusters_of("b", [4] * 6)], mean_of_groups)
    assert found.value == 0.75
    assert (found.n_samples, found.n_scored, found.n_expected) == (8, 32, 32)


def test_a_group_mean_pools_its_scored_verdicts() -> None:
    uneven = [cluster("a", "1", 1.0, 1, 4), cluster("a", "2", 0.0, 3, 4)]
    assert estimate(uneven, mean_of_groups).value == 0.25


def test_pooling_weighs_groups_by_what_they_have_scored() -> None:
    every = [*clusters_of("a", [4, 4, 4]), *clusters_of("b", [0])]
    assert estimate(every, pooled(every)).value == 0.75


def test_nothing_scored_is_no_value_and_never_zero() -> None:
    found = estimate([cluster("a", "1", 0.0, 0, 4)], mean_of_groups)
    assert (found.value, found.low, found.high) == (None, None, None)
    assert (found.n_samples, found.n_scored, found.n_expected) == (0, 0, 4)
    assert estimate([], mean_of_groups).value is None
    assert bounds([], mean_of_groups) is None
    assert group_estimates([]) == {}


def test_an_unscored_sample_is_expected_but_moves_nothing() -> None:
    scored = clusters_of("a", [4, 0, 2, 4])
    lacking = [*scored, cluster("a", "z", 0.0, 0, 4)]
    with_it, without = (estimate(of, mean_of_groups) for of in (lacking, scored))
    assert (with_it.value, with_it.low, with_it.high) == (without.value, without.low, without.high)
    assert (with_it.n_samples, with_it.n_expected) == (4, 20)


def test_one_sample_says_nothing_about_the_spread_of_its_group() -> None:
    found = group_estimates(clusters_of("a", [3]))["a"]
    assert (found.value, found.low, found.high) == (0.75, 0.0, 1.0)


def test_a_group_of_one_sample_widens_the_headline_by_its_full_weight() -> None:
    sure = clusters_of("a", [2] * 50)
    found = estimate([*sure, *clusters_of("b", [4])], mean_of_groups)
    assert (found.value, found.low, found.high) == (0.75, 0.25, 0.75)


def test_the_spread_of_replicates_is_the_unbiased_one_of_a_mean() -> None:
    """Closed form: the variance of a mean of K draws is s^2 / K, s^2 with K - 1."""
    values = [0, 1, 1, 1, 4, 2, 3, 4, 4, 0, 1, 2]
    wide = Bootstrap(replicates=60_000, level=math.erf(1 / math.sqrt(2)))  # one deviation
    found = estimate(clusters_of("a", values), mean_of_groups, wide)
    assert found.low is not None
    assert found.high is not None
    expected = np.std(np.array(values) / 4, ddof=1) / math.sqrt(len(values))
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.05)


def test_a_proportion_of_single_verdicts_has_the_binomial_interval() -> None:
    found = estimate(clusters_of("a", [1] * 300 + [0] * 100, n=1), mean_of_groups)
    half = 1.96 * math.sqrt(0.75 * 0.25 / 399)
    assert found.low == pytest.approx(0.75 - half, abs=0.006)
    assert found.high == pytest.approx(0.75 + half, abs=0.006)


def test_images_of_one_sample_are_one_draw() -> None:
    """Four images that always agree tell no more than one."""
    one = estimate(clusters_of("a", [1, 0, 1, 1, 0, 1, 0, 1], n=1), mean_of_groups)
    four = estimate(clusters_of("a", [4, 0, 4, 4, 0, 4, 0, 4], n=4), mean_of_groups)
    assert (one.value, one.low, one.high) == (four.value, four.low, four.high)


def _simulated(rng: np.random.Generator, truth: NDArray[np.float64]) -> list[Cluster]:
    found = []
    for index, mean in enumerate(truth):
        rates = rng.beta(2 * mean, 2 * (1 - mean), size=25)  # images of a sample resemble
        totals = rng.binomial(4, rates).astype(float).tolist()
        found += clusters_of("abcdef"[index], totals)
    return found


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(20)
    truth = np.array([0.95, 0.8, 0.4, 0.85, 0.2, 0.5])
    n_covered, n_runs = 0, 1_000
    for _ in range(n_runs):
        found = estimate(_simulated(rng, truth), mean_of_groups, FEW)
        assert found.low is not None
        assert found.high is not None
        n_covered += found.low <= truth.mean() <= found.high
    assert 0.93 <= n_covered / n_runs <= 0.97


@given(clusters, st.randoms(use_true_random=False))
def test_the_order_of_samples_changes_nothing(of: list[Cluster], random: Any) -> None:
    shuffled = random.sample(of, len(of))
    assert estimate(of, mean_of_groups, FEW) == estimate(shuffled, mean_of_groups, FEW)
    assert group_estimates(of, FEW) == group_estimates(shuffled, FEW)
    assert bounds(of, mean_of_groups) == bounds(shuffled, mean_of_groups)


@given(clusters)
def test_a_groups_interval_does_not_depend_on_other_groups(of: list[Cluster]) -> None:
    for name, found in group_estimates(of, FEW).items():
        alone = [c for c in of if c.group == name]
        assert group_estimates(alone, FEW) == {name: found}


@given(clusters)
def test_low_value_and_high_are_in_order_and_in_range(of: list[Cluster]) -> None:
    for found in (estimate(of, mean_of_groups, FEW), *group_estimates(of, FEW).values()):
        if found.value is None:
            assert found.n_scored == 0
        else:
            assert found.low is not None
            assert found.high is not None
            assert 0 <= found.low <= found.value <= found.high <= 1


@given(clusters, st.floats(0.1, 10), st.floats(-5, 5))
def test_another_scale_scales_value_and_interval(
    of: list[Cluster], factor: float, shift: float
) -> None:
    scaled = [
        cluster(
            c.group, c.sample_id, c.total * factor + shift * c.n_scored, c.n_scored, c.n_expected
        )
        for c in of
    ]
    settings = Bootstrap(replicates=200, value_range=(shift, factor + shift))
    plain, found = (
        estimate(of, mean_of_groups, FEW),
        estimate(scaled, mean_of_groups, settings),
    )
    for before, after in ((plain.value, found.value), (plain.low, found.low)):
        expected = None if before is None else pytest.approx(before * factor + shift, abs=1e-9)
        assert after == expected


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    of = clusters_of("a", [0, 1, 2, 3, 4, 4, 1, 0, 2, 3])
    once, again, other = (
        estimate(of, mean_of_groups, Bootstrap(replicates=101, seed=seed)) for seed in (5, 5, 6)
    )
    assert once == again
    assert (once.low, once.high) != (other.low, other.high)


@given(clusters)
def test_bounds_enclose_the_value_that_full_scores_would_give(of: list[Cluster]) -> None:
    limits = bounds(of, mean_of_groups)
    if limits is None:
        assert not of
        return
    worst, best = limits
    for fill in (0.0, 0.5, 1.0):
        full = [cluster(c.group, c.sample_id, c.total + fill * (4 - c.n_scored), 4, 4) for c in of]
        value = estimate(full, mean_of_groups, FEW).value
        assert value is not None
        assert worst - 1e-12 <= value <= best + 1e-12


def test_bounds_take_the_range_of_values() -> None:
    of = [cluster("a", "1", 6.0, 2, 4)]
    assert bounds(of, mean_of_groups, (1.0, 5.0)) == (2.0, 4.0)


def test_a_paired_difference_is_narrower_than_two_intervals_when_samples_differ() -> None:
    hard_and_easy = [0, 0, 1, 4, 4, 3, 0, 4, 2, 1] * 4
    a = clusters_of("a", [min(4, total + 1) for total in hard_and_easy])
    b = clusters_of("a", hard_and_easy)
    found = paired_difference(a, b, mean_of_groups)
    alone = estimate(b, mean_of_groups)
    assert found.value == pytest.approx(0.175)
    assert found.low is not None
    assert found.high is not None
    assert alone.low is not None
    assert alone.high is not None
    assert found.low > 0
    assert found.high - found.low < (alone.high - alone.low) / 2
    assert (found.n_samples, found.n_scored, found.n_expected) == (40, 320, 320)


@given(clusters)
def test_a_run_does_not_differ_from_itself_and_sides_swap_the_sign(of: list[Cluster]) -> None:
    other = [cluster(c.group, c.sample_id, 0.0, c.n_scored, c.n_expected) for c in of]
    forth = paired_difference(of, other, mean_of_groups, FEW)
    back = paired_difference(other, of, mean_of_groups, FEW)
    if forth.value is None:
        assert back.value is None
        return
    assert forth.high is not None
    assert back.value is not None
    assert back.low is not None
    assert back.value == pytest.approx(-forth.value)
    assert back.low == pytest.approx(-forth.high)
    same = paired_difference(of, of, mean_of_groups, FEW)
    assert same.value == 0.0
    several = all(
        sum(c.n_scored > 0 for c in of if c.group == g) != 1 for g in {c.group for c in of}
    )
    if several:
        assert (same.low, same.high) == (0.0, 0.0)


def test_a_difference_from_one_pair_says_nothing_about_its_spread() -> None:
    found = paired_difference(clusters_of("a", [3]), clusters_of("a", [1]), mean_of_groups)
    assert (found.value, found.low, found.high) == (0.5, -1.0, 1.0)


def test_samples_without_a_partner_are_left_out_of_a_difference() -> None:
    a = [*clusters_of("a", [4, 4, 0]), cluster("a", "only", 0.0, 4, 4)]
    b = [*clusters_of("a", [4, 0, 0])[:2], cluster("a", "a0002", 0.0, 0, 4)]
    found = paired_difference(a, b, mean_of_groups)
    assert (found.value, found.n_samples, found.n_scored, found.n_expected) == (0.5, 2, 16, 28)
    assert paired_difference(a, [], mean_of_groups).value is None


def test_a_sample_twice_in_one_group_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        estimate([*clusters_of("a", [1]), *clusters_of("a", [2])], mean_of_groups)


@pytest.mark.parametrize(("total", "n_scored"), [(1.0, 0), (1.0, 5), (0.0, -1)])
def test_an_impossible_cluster_cannot_be_made(total: float, n_scored: int) -> None:
    with pytest.raises(ValueError, match="scored"):
        cluster("a", "1", total, n_scored, 4)


def _verdict(sample_id: str, index: int, value: float | None) -> Verdict:
    return Verdict(
        image_id=image_id(sample_id, index),
        question_id="correct",
        value=value,
        status="failed" if value is None else "scored",
    )


def test_verdicts_are_gathered_by_sample() -> None:
    samples = [Sample(id=name, prompt=name, group="a") for name in ("x", "y")]
    verdicts = [
        _verdict("x", 0, 1.0),
        _verdict("x", 1, None),
        _verdict("elsewhere", 0, 1.0),
    ]
    assert gather(samples, verdicts, n_expected=4) == [
        cluster("a", "x", 1.0, 1, 4),
        cluster("a", "y", 0.0, 0, 4),
    ]
    assert count_statuses(samples, verdicts, n_expected=4) == {
        "scored": 1,
        "failed": 1,
        "missing": 6,
    }


def test_more_verdicts_than_expected_all_count() -> None:
    samples = [Sample(id="x", prompt="x", group="a")]
    verdicts = [_verdict("x", index, 1.0) for index in range(5)]
    assert gather(samples, verdicts, n_expected=4) == [cluster("a", "x", 5.0, 5, 5)]
    assert count_statuses(samples, verdicts, n_expected=4) == {"scored": 5}


def test_samples_may_expect_different_numbers_of_verdicts() -> None:
    samples = [Sample(id=name, prompt="p", group="x") for name in ("a", "bb")]
    verdicts = [Verdict(image_id="bb/0", question_id="q", value=1.0, status="scored")]
    found = gather(samples, verdicts, n_expected=lambda sample: len(sample.id))
    assert [cluster.n_expected for cluster in found] == [1, 2]
    statuses = count_statuses(samples, verdicts, n_expected=lambda sample: len(sample.id))
    assert statuses == {"scored": 1, "missing": 2}


@pytest.mark.parametrize(("n_samples", "low"), [(10, 0.6915), (60, 0.9404), (553, 0.9933)])
def test_samples_that_all_agree_leave_the_exact_binomial_doubt(n_samples: int, low: float) -> None:
    perfect = [
        Cluster(sample_id=str(n), group=f"g{n % 2}", total=4.0, n_scored=4, n_expected=4)
        for n in range(n_samples)
    ]
    found = estimate(perfect, mean_of_groups)
    assert found.value == found.high == 1.0
    assert found.low == pytest.approx(low, abs=1e-4)


def test_one_sample_that_differs_brings_the_bootstrap_back() -> None:
    clusters = [
        Cluster(sample_id=str(n), group="g", total=float(n > 0), n_scored=1, n_expected=1)
        for n in range(100)
    ]
    found = estimate(clusters, mean_of_groups)
    assert found.low is not None
    assert 0.95 < found.low < 0.99
    assert found.high == 1.0


def test_an_interval_takes_memory_for_the_samples_not_for_samples_times_replicates() -> None:
    many = [
        Cluster(sample_id=f"{i:05}", group="g", total=float(i % 2), n_scored=1, n_expected=1)
        for i in range(20_000)
    ]
    settings = Bootstrap(replicates=500)
    tracemalloc.start()
    found = estimate(many, mean_of_groups, settings)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6
    # All draws at once, as the paper has them: the same stream, the same numbers.
    rng = np.random.default_rng([0, zlib.crc32(b"g")])
    drawn_RD = rng.integers(0, len(many), size=(500, len(many) - 1))
    total_K = np.array([one.total for one in many])
    mean_R = total_K[drawn_RD].sum(axis=1) / (len(many) - 1)
    assert (found.low, found.high) == tuple(np.quantile(mean_R, [0.025, 0.975]))


def test_ratios_over_the_same_samples_have_the_interval_of_samples() -> None:
    def of(right: Sequence[int]) -> dict[str, list[Cluster]]:
        marks = {"right": right, "all": [1] * len(right)}
        return {
            name: [cluster_of(str(n), [mark], group=name) for n, mark in enumerate(values)]
            for name, values in marks.items()
        }

    def share(means: Means) -> Any:
        return means["right"] / means["all"]

    found = joint_estimate(of([n % 2 for n in range(40)]), share)
    plain = estimate([cluster_of(str(n), [n % 2]) for n in range(40)], mean_of_groups)
    assert found.value == plain.value == 0.5
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=0.03)
    agreed = joint_estimate(of([1] * 20), share)
    alike = estimate([cluster_of(str(n), [1.0]) for n in range(20)], mean_of_groups)
    assert (agreed.value, agreed.low) == pytest.approx((alike.value, alike.low))
    one = joint_estimate(of([0]), share)
    assert (one.value, one.low, one.high) == (0.0, 0.0, 1.0)
    lost = {"right": [cluster_of("0", [None])], "all": [cluster_of("0", [None])]}
    nothing = joint_estimate(lost, share)
    assert (nothing.value, nothing.n_scored, nothing.n_expected) == (None, 0, 1)


def test_a_benchmark_without_headline_has_no_difference_but_those_of_its_groups() -> None:
    ours = [cluster_of(str(n), [1.0], group=group) for n in range(4) for group in "ab"]
    theirs = [cluster_of(str(n), [0.0], group=group) for n in range(4) for group in "ab"]
    found = paired_difference(ours, theirs, no_headline)
    assert (found.value, found.low, found.high, found.n_samples) == (None, None, None, 8)
