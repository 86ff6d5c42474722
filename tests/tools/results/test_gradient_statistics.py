"""Signal-to-noise from products of batch gradients: unbiased, and intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from alphabench.statistics import Bootstrap
from tools.results.gradient_statistics import Products, mean_product, part_noise

QUICK = Bootstrap(replicates=200)
SIZE = 300


def gradients(rng: np.random.Generator, n: int, *, snr: float) -> NDArray[np.float64]:
    """(n, SIZE) with noise of trace 1 and a mean of squared length `snr`."""
    mean = np.zeros(SIZE)
    mean[0] = np.sqrt(snr)
    made: NDArray[np.float64] = mean + rng.normal(size=(n, SIZE)) / np.sqrt(SIZE)
    return made


def products(own: NDArray[np.float64], release: NDArray[np.float64]) -> Products:
    return Products(own_NN=own @ own.T, release_NN=release @ release.T, cross_NN=own @ release.T)


def test_the_interval_covers_the_true_signal_to_noise_and_the_estimate_has_no_bias() -> None:
    rng = np.random.default_rng(0)
    covered, values = 0, []
    for _ in range(60):
        one = gradients(rng, 40, snr=0.05)
        found = part_noise(products(one, one), QUICK).snr["own"]
        assert found.value is not None
        assert found.low is not None
        assert found.high is not None
        values.append(found.value)
        covered += found.low <= 0.05 <= found.high
    assert np.mean(values) == pytest.approx(0.05, abs=0.005)
    assert covered >= 52


def test_noise_that_a_credit_adds_lowers_its_signal_to_noise_and_turns_no_mean() -> None:
    rng = np.random.default_rng(1)
    own = gradients(rng, 40, snr=0.2)
    noisy = own + rng.normal(size=own.shape) / np.sqrt(SIZE)
    found = part_noise(products(own, noisy), QUICK)
    assert found.snr["release"].value == pytest.approx(0.1, abs=0.03)
    assert found.difference.high is not None
    assert found.difference.high < 0.0
    assert found.cosine.value == pytest.approx(1.0, abs=0.15)
    assert found.norm_ratio == pytest.approx(np.sqrt(2.2 / 1.2), rel=0.05)


def test_another_direction_has_the_same_signal_to_noise_and_a_cosine_near_0() -> None:
    rng = np.random.default_rng(2)
    own = gradients(rng, 40, snr=0.3)
    turned = np.roll(gradients(rng, 40, snr=0.3), 1, axis=1)
    found = part_noise(products(own, turned), QUICK)
    assert found.cosine.value == pytest.approx(0.0, abs=0.1)
    assert found.difference.value == pytest.approx(0.0, abs=0.1)


def test_without_a_signal_there_is_no_cosine_rather_than_a_number() -> None:
    rng = np.random.default_rng(3)
    own = gradients(rng, 12, snr=0.0)
    found = part_noise(products(own, -own), QUICK)
    assert found.cosine.value is None
    assert found.snr["own"].value is not None


def test_a_batch_that_is_drawn_twice_makes_no_product_with_itself() -> None:
    one = np.diag([5.0, 5.0, 5.0])
    assert mean_product(one, np.array([[2.0, 1.0, 0.0]])) == pytest.approx(0.0)


def test_two_batches_are_too_few() -> None:
    two = np.eye(2)
    with pytest.raises(ValueError, match="too few"):
        part_noise(products(two, two))
