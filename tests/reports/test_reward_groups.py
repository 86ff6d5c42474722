"""What is measured within groups of images of one prompt: order, best of N, noise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.reports.reward_fidelity import (
    ALL_TASKS,
    best_of_difference,
    measure_reward,
    pair_accuracy_difference,
    tau_ceiling,
)
from alphabench.reports.reward_groups import (
    Floats,
    RewardGroup,
    averaged_share,
    best_of_n,
    kendall_tau_b,
    needed_group,
    pair_accuracy,
    reliability,
)
from alphabench.statistics import Bootstrap

QUICK = Bootstrap(replicates=200)
FEW = st.lists(st.integers(0, 3), min_size=2, max_size=7)


def array(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def group(
    rewards: list[list[float]], truth: list[float], *, prompt: str = "a", task: str = "t"
) -> RewardGroup:
    return RewardGroup(
        prompt=prompt, task=task, reward_IR=np.array(rewards), truth_I=np.array(truth)
    )


def planted(
    signal: float, noise: float, *, n_prompts: int, n_repeats: int, seed: int = 0
) -> list[RewardGroup]:
    """Groups of 12 whose truth is above 0 where the noiseless reward is."""
    rng = np.random.default_rng(seed)
    groups = []
    for number in range(n_prompts):
        true_I = signal * rng.normal(size=12)
        reward_IR = 5.0 + true_I[:, None] + noise * rng.normal(size=(12, n_repeats))
        groups.append(
            RewardGroup(
                prompt=str(number),
                task=("x", "y")[number % 2],
                reward_IR=reward_IR,
                truth_I=(true_I > 0).astype(np.float64),
            )
        )
    return groups


@given(st.tuples(FEW, st.integers(0, 2**31)))
def test_tau_b_and_pair_accuracy_are_those_of_counted_pairs(drawn: tuple[list[int], int]) -> None:
    reward, seed = drawn
    truth = np.random.default_rng(seed).integers(0, 2, size=len(reward)).tolist()
    pairs = list(itertools.combinations(zip(reward, truth, strict=True), 2))
    right = sum((a - b) * (s - t) > 0 for (a, s), (b, t) in pairs)
    wrong = sum((a - b) * (s - t) < 0 for (a, s), (b, t) in pairs)
    n_reward, n_truth = (sum(one[i] != two[i] for one, two in pairs) for i in (0, 1))
    tau, accuracy = kendall_tau_b(array(*reward), array(*truth)), None
    accuracy = pair_accuracy(array(*reward), array(*truth))
    if not n_truth:
        assert math.isnan(tau)
        assert math.isnan(accuracy)
        return
    expected = (right - wrong) / math.sqrt(n_reward * n_truth) if n_reward else 0.0
    assert tau == pytest.approx(expected)
    assert accuracy == pytest.approx((right + (n_truth - right - wrong) / 2) / n_truth)


@given(FEW, st.integers(1, 7))
def test_the_best_of_n_is_the_mean_over_all_choices_with_ties_by_lot(
    reward: list[int], n: int
) -> None:
    truth = [float(index % 3) for index in range(len(reward))]
    if n > len(reward):
        assert math.isnan(best_of_n(array(*reward), array(*truth), n))
        return
    means = []
    for chosen in itertools.combinations(range(len(reward)), n):
        top = max(reward[index] for index in chosen)
        tied = [truth[index] for index in chosen if reward[index] == top]
        means.append(sum(tied) / len(tied))
    assert best_of_n(array(*reward), array(*truth), n) == pytest.approx(sum(means) / len(means))


def test_the_truth_itself_is_the_upper_bound_and_ties_keep_others_below_it() -> None:
    truth = array(0, 0, 1, 1)
    untied = array(0.1, 0.2, 0.3, 0.4)
    assert kendall_tau_b(truth, truth) == pytest.approx(1.0)
    assert pair_accuracy(untied, truth) == 1.0
    ceiling = tau_ceiling([group([[0.0]] * 4, truth.tolist())], QUICK)
    assert kendall_tau_b(untied, truth) == pytest.approx(math.sqrt(4 / 6))
    assert ceiling.value == pytest.approx(math.sqrt(4 / 6))


def test_prompts_whose_truth_is_the_same_are_left_out_of_order_and_counted() -> None:
    groups = [
        group([[0.1], [0.9]], [0, 1], prompt="a"),
        group([[0.1], [0.9]], [1, 1], prompt="b"),
        group([[0.5], [0.5]], [0, 1], prompt="c"),
    ]
    metrics = measure_reward(groups, sizes=(2, 3), settings=QUICK)[ALL_TASKS]
    assert (metrics.n_prompts, metrics.n_ordered, metrics.n_flat) == (3, 2, 1)
    assert metrics.pair_accuracy.value == pytest.approx((1.0 + 0.5) / 2)
    assert metrics.rank_correlation.value == pytest.approx((1.0 + 0.0) / 2)
    assert metrics.best_of[2].value == pytest.approx((1.0 + 1.0 + 0.5) / 3)
    assert metrics.best_of[3].value is None
    assert metrics.pair_accuracy.n_samples == 2


def test_a_missing_reward_leaves_its_image_out_and_is_never_zero() -> None:
    missing = group([[math.nan], [0.2], [0.1]], [1, 1, 0])
    metrics = measure_reward([missing], settings=QUICK)[ALL_TASKS]
    assert metrics.pair_accuracy.value == 1.0
    assert metrics.unscored == pytest.approx(1 / 3)
    nothing = group([[math.nan], [math.nan]], [1, 0])
    assert measure_reward([nothing], settings=QUICK)[ALL_TASKS].pair_accuracy.value is None


@pytest.mark.parametrize(("signal", "noise"), [(1.0, 0.5), (1.0, 2.0), (0.3, 0.1)])
def test_planted_signal_and_noise_are_found_again(signal: float, noise: float) -> None:
    found = reliability(planted(signal, noise, n_prompts=200, n_repeats=3), QUICK)
    assert found is not None
    assert found.noise.value == pytest.approx(noise, rel=0.05)
    assert found.signal.value == pytest.approx(signal, rel=0.08)
    share = signal**2 / (signal**2 + noise**2)
    assert found.share.value == pytest.approx(share, abs=0.03)
    assert found.share.low is not None
    assert found.share.high is not None
    assert found.share.low < share < found.share.high


def test_noise_alone_has_no_reliability_and_no_group_is_large_enough() -> None:
    found = reliability(planted(0.0, 1.0, n_prompts=100, n_repeats=3), QUICK)
    assert found is not None
    assert found.share.value == pytest.approx(0.0, abs=0.03)
    assert needed_group(12, 0.0) is None


def test_a_reward_that_is_the_same_for_all_has_no_reliability_that_could_be_stated() -> None:
    found = reliability([group([[0.5, 0.5], [0.5, 0.5]], [0, 1], prompt=p) for p in "ab"], QUICK)
    assert found is not None
    assert found.share.value is None
    assert reliability([group([[0.5], [0.6]], [0, 1])], QUICK) is None


@pytest.mark.parametrize(
    ("share", "needed"), [(1.0, 12), (0.99999, 12), (0.5, 24), (0.75, 16), (0.1, 120)]
)
def test_the_group_grows_as_reliability_falls(share: float, needed: int) -> None:
    assert needed_group(12, share) == needed


def test_the_group_that_is_named_gives_a_gradient_of_the_precision_without_noise() -> None:
    rng = np.random.default_rng(0)
    signal, noise, reference = 1.0, 1.0, 8
    needed = needed_group(reference, signal**2 / (signal**2 + noise**2))
    assert needed == 16

    def precision(size: int, deviation: float) -> float:
        true = rng.normal(size=(40_000, size)) * signal
        reward = true + deviation * rng.normal(size=true.shape)
        score = 0.1 * true + rng.normal(size=true.shape)  # of a policy that likes good images
        gradient = ((reward - reward.mean(axis=1, keepdims=True)) * score).mean(axis=1)
        return float(gradient.mean() / gradient.std()) / math.sqrt(1.0 - 1.0 / size)

    assert precision(needed, noise) == pytest.approx(precision(reference, 0.0), rel=0.06)


def test_the_mean_of_calls_is_as_reliable_as_its_formula_says() -> None:
    groups = planted(1.0, 1.0, n_prompts=200, n_repeats=6)
    single, averaged = (reliability([one.averaged(k) for one in groups], QUICK) for k in (1, 3))
    assert single is not None
    assert averaged is not None
    assert single.share.value is not None
    predicted = averaged_share(single.share.value, 3)
    assert averaged.share.value == pytest.approx(predicted, abs=0.03)
    assert groups[0].averaged(4).reward_IR.shape == (12, 1)


def test_less_noise_orders_better_and_the_paired_interval_says_so() -> None:
    quiet, loud = (planted(1.0, noise, n_prompts=40, n_repeats=2) for noise in (0.3, 3.0))
    difference = pair_accuracy_difference(quiet, loud, QUICK)
    assert difference.value is not None
    assert difference.low is not None
    assert difference.low > 0
    best = best_of_difference(quiet, loud, 4, QUICK)
    assert best.low is not None
    assert best.low > 0
    by_task = measure_reward(quiet, settings=QUICK)
    assert list(by_task) == [ALL_TASKS, "x", "y"]
    assert by_task["x"].n_prompts == 20


def test_a_group_needs_a_truth_for_each_image() -> None:
    with pytest.raises(ValueError, match="one truth for each image"):
        group([[0.1], [0.2]], [1.0])
