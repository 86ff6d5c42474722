"""Intervals over seeds: of other prompts and other seeds, and of one run what the harness says."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from alphabench.statistics import (
    DEFAULT,
    Bootstrap,
    Cluster,
    estimate,
    mean_of_groups,
    paired_difference,
)
from tools.results.campaign.intervals import difference_over_seeds, mean_over_seeds


def run_of(values: list[float], group: str = "one") -> list[Cluster]:
    return [
        Cluster(sample_id=f"{i:03}", group=group, total=value, n_scored=1, n_expected=1)
        for i, value in enumerate(values)
    ]


def random_runs(seed: int, *, seeds: int, prompts: int, spread: float) -> list[list[Cluster]]:
    rng = np.random.default_rng(seed)
    own_P = rng.uniform(0.3, 0.7, prompts)
    return [run_of(list(own_P + one)) for one in rng.normal(0.0, spread, seeds)]


def test_one_run_has_the_harness_own_intervals() -> None:
    one, two = random_runs(0, seeds=2, prompts=40, spread=0.1)
    two = [*two[:-1], Cluster(sample_id="039", group="one", total=0, n_scored=0, n_expected=1)]
    assert mean_over_seeds([one], mean_of_groups, DEFAULT) == estimate(one, mean_of_groups)
    found = difference_over_seeds([one], [two], mean_of_groups, DEFAULT)
    assert found == paired_difference(one, two, mean_of_groups)


def test_seeds_that_agree_add_no_spread_and_seeds_that_differ_do() -> None:
    (base,) = random_runs(1, seeds=1, prompts=60, spread=0.0)
    alike = mean_over_seeds([base] * 3, mean_of_groups, DEFAULT)
    alone = estimate(base, mean_of_groups)
    assert (alike.value, alike.low, alike.high) == pytest.approx(
        (alone.value, alone.low, alone.high)
    )
    runs = [moved(base, by) for by in (-0.2, 0.0, 0.2)]
    apart = mean_over_seeds(runs, mean_of_groups, DEFAULT)
    assert apart.value == pytest.approx(alone.value)
    assert apart.low is not None
    assert alone.low is not None
    assert apart.low < alone.low - 0.05


def moved(run: list[Cluster], by: float) -> list[Cluster]:
    return [replace(cluster, total=cluster.total + by) for cluster in run]


def test_the_width_is_that_of_both_factors_together() -> None:
    # Of a_s + b_p the mean has the variance s_a^2 / S + s_b^2 / P, in closed form.
    runs = random_runs(2, seeds=6, prompts=50, spread=0.1)
    values_SP = np.array([[c.total for c in run] for run in runs])
    of_seeds, of_prompts = values_SP.mean(axis=1), values_SP.mean(axis=0)
    error = math.sqrt(of_seeds.var(ddof=1) / 6 + of_prompts.var(ddof=1) / 50)
    settings = Bootstrap(replicates=20_000, value_range=(-1.0, 2.0))
    found = mean_over_seeds(runs, mean_of_groups, settings)
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(error, rel=0.1)


def test_what_both_sides_share_cancels_by_prompt_and_by_seed() -> None:
    theirs = random_runs(3, seeds=3, prompts=30, spread=0.2)
    ours = [moved(run, 0.05) for run in theirs]
    found = difference_over_seeds(ours, theirs, mean_of_groups, Bootstrap(value_range=(-1.0, 2.0)))
    assert (found.value, found.low, found.high) == pytest.approx((0.05, 0.05, 0.05))
    assert found.n_samples == 30


def test_a_checkpoint_without_a_seed_stands_against_each_seed() -> None:
    ours = random_runs(4, seeds=3, prompts=30, spread=0.1)
    (base,) = random_runs(5, seeds=1, prompts=30, spread=0.0)
    one = difference_over_seeds(ours, [base], mean_of_groups, DEFAULT)
    assert one == difference_over_seeds(ours, [base] * 3, mean_of_groups, DEFAULT)


def test_samples_that_one_run_did_not_score_count_in_none_and_nothing_scored_is_no_zero() -> None:
    full, other = run_of([1.0, 0.0, 0.5]), run_of([0.5, 0.5, 0.5])
    gap = Cluster(sample_id="000", group="one", total=0, n_scored=0, n_expected=1)
    found = mean_over_seeds([full, [gap, *other[1:]]], mean_of_groups, DEFAULT)
    assert (found.value, found.n_samples, found.n_expected) == (0.375, 2, 6)
    empty = mean_over_seeds([full, [gap]], mean_of_groups, DEFAULT)
    assert (empty.value, empty.low) == (None, None)


def test_perfect_scores_of_few_prompts_do_not_have_an_interval_of_no_width() -> None:
    perfect = run_of([1.0] * 10)
    found = mean_over_seeds([perfect] * 3, mean_of_groups, DEFAULT)
    assert found.value == 1.0
    assert found.low is not None
    assert found.low < 0.8
