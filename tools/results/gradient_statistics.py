"""Signal and noise of a gradient from the products of batch gradients; knows no model.

Of n independent batches g_i with mean mu and covariance C, all that is needed are the products
g_i . g_j. Products of two different batches estimate |mu|^2 without bias, and the mean of |g_i|^2
minus that is the trace of C. Their quotient is the signal-to-noise of one batch; of the mean of k
batches it is k times that. An estimate of |mu|^2 can be negative where the signal is small.

Intervals: batches are resampled; a batch that is drawn twice makes no product with itself.

Shapes: N batches, R replicates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphabench.statistics import DEFAULT, Bootstrap
from alphabench.types import Estimate

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """Products of the gradients of one part under two credits, in any one unit."""

    own_NN: Matrix
    release_NN: Matrix
    cross_NN: Matrix
    """Own by row, release by column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartNoise:
    """What the products of one part say."""

    snr: Mapping[str, Estimate]
    """Credit -> signal-to-noise of one batch."""
    difference: Estimate
    """Release minus own."""
    cosine: Estimate
    """Between the two means, corrected for the noise in both, so that it can exceed 1; None where
    a signal cannot be told from 0."""
    norm_ratio: float
    """Root mean square of release's gradients over own's."""


def part_noise(products: Products, settings: Bootstrap = DEFAULT) -> PartNoise:
    """Signal-to-noise of both credits, their difference and the cosine of their means."""
    n = len(products.own_NN)
    if n < 3:
        raise ValueError(f"{n} batches are too few: a signal needs products of different ones")
    drawn = np.random.default_rng([settings.seed, n]).integers(0, n, size=(settings.replicates, n))
    weights_RN = np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(np.float64)
    once_RN = np.ones((1, n))
    value, spread = _values(products, once_RN), _values(products, weights_RN)
    rms = [np.sqrt(np.diag(one).mean()) for one in (products.own_NN, products.release_NN)]
    return PartNoise(
        snr={
            "own": _estimate(value.own_R, spread.own_R, n, settings),
            "release": _estimate(value.release_R, spread.release_R, n, settings),
        },
        difference=_estimate(
            value.release_R - value.own_R, spread.release_R - spread.own_R, n, settings
        ),
        cosine=_estimate(value.cosine_R, spread.cosine_R, n, settings),
        norm_ratio=float(rms[1] / rms[0]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Values:
    own_R: Matrix
    release_R: Matrix
    cosine_R: Matrix
    """NaN where a signal is not above 0."""


def _values(products: Products, weights_RN: Matrix) -> _Values:
    own_R = mean_product(products.own_NN, weights_RN)
    release_R = mean_product(products.release_NN, weights_RN)
    between_R = mean_product(products.cross_NN, weights_RN)
    positive_R = (own_R > 0.0) & (release_R > 0.0)
    size_R = np.sqrt(np.where(positive_R, own_R * release_R, 1.0))
    return _Values(
        own_R=_snr(products.own_NN, own_R, weights_RN),
        release_R=_snr(products.release_NN, release_R, weights_RN),
        cosine_R=np.where(positive_R, between_R / size_R, np.nan),
    )


def mean_product(products_NN: Matrix, weights_RN: Matrix) -> Matrix:
    """(R,) weighted mean of the products of two different batches: |mu|^2, or mu . mu'."""
    off_NN = products_NN - np.diag(np.diag(products_NN))
    total_R = ((weights_RN @ off_NN) * weights_RN).sum(axis=1)
    pairs_R = weights_RN.sum(axis=1) ** 2 - (weights_RN**2).sum(axis=1)
    mean_R: Matrix = total_R / pairs_R
    return mean_R


def _snr(products_NN: Matrix, signal_R: Matrix, weights_RN: Matrix) -> Matrix:
    square_R = (weights_RN @ np.diag(products_NN)) / weights_RN.sum(axis=1)
    snr_R: Matrix = signal_R / (square_R - signal_R)
    return snr_R


def _estimate(value_R: Matrix, spread_R: Matrix, n: int, settings: Bootstrap) -> Estimate:
    """Nothing where more replicates have no value than a tail of the interval holds."""
    value, tail = float(value_R[0]), (1.0 - settings.level) / 2.0
    if not np.isfinite(value) or np.isnan(spread_R).mean() > tail:
        return Estimate(value=None, low=None, high=None, n_samples=n, n_scored=0, n_expected=n)
    low, high = np.nanquantile(spread_R, [tail, 1.0 - tail])
    return Estimate(
        value=value,
        low=min(float(low), value),
        high=max(float(high), value),
        n_samples=n,
        n_scored=n,
        n_expected=n,
    )
