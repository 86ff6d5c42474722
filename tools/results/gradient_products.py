"""The kept numbers of `gradient_noise`: products of batch gradients, and counts of the batches.

Products are whole numbers in a unit of one ten-thousandth of the largest square, so that rounding
changes a signal-to-noise of 0.01 by less than a hundredth of it. Computes no statistics.

Shapes: N batches, P trained values of a part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tools.results.gradient_statistics import Matrix, Products

_STEPS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StateNumbers:
    """All batches of one state."""

    name: str
    temperature: float
    shaken: float
    group_size: int
    sizes: Mapping[str, int]
    """Part -> trained values."""
    identity: Mapping[str, Any]
    """Of policy and rewards."""
    batches: int
    counts: Mapping[str, int]
    """Over all batches; see `gradient_batches.BatchCounts`. `flat/own/text` and the like: groups
    that train nothing; `differ`: batches in which the credits' advantages differ."""
    products: Mapping[str, Products]
    """By part."""

    @property
    def same(self) -> bool:
        """Whether both credits gave the same advantages in every batch."""
        return self.counts["differ"] == 0


def total_counts(batches: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The counts of a state from those of its batches."""
    plain = ("trajectories", "without_form", "groups", "form_flat")
    totals = {name: sum(int(one[name]) for one in batches) for name in plain}
    for credit, parts in batches[0]["flat"].items():
        for part in parts:
            flat = sum(int(one["flat"][credit][part]) for one in batches)
            totals[f"flat/{credit}/{part}"] = flat
    totals["differ"] = sum(any(one["advantages_differ"].values()) for one in batches)
    return totals


def products_of(own_NP: NDArray[np.float64], release_NP: NDArray[np.float64]) -> Products:
    """All products of two gradients, rounded as they are kept."""
    raw = [own_NP @ own_NP.T, release_NP @ release_NP.T, own_NP @ release_NP.T]
    unit = max(float(np.abs(one).max()) for one in raw) / _STEPS
    own, release, cross = (np.rint(one / unit) for one in raw)
    return Products(own_NN=own, release_NN=release, cross_NN=cross)


def state_to_json(state: StateNumbers) -> dict[str, Any]:
    """As JSON values; the products of two credits that are the same are kept once."""
    return {
        "name": state.name,
        "temperature": state.temperature,
        "shaken": state.shaken,
        "group_size": state.group_size,
        "sizes": dict(state.sizes),
        "identity": state.identity,
        "batches": state.batches,
        "counts": dict(state.counts),
        "products": {
            part: {
                "own": _triangle(one.own_NN),
                **({} if state.same else {"release": _triangle(one.release_NN)}),
                **({} if state.same else {"cross": one.cross_NN.astype(int).tolist()}),
            }
            for part, one in state.products.items()
        },
    }


def states_from(content: Mapping[str, Any]) -> list[StateNumbers]:
    """What `state_to_json` gave, of all states."""
    return [
        StateNumbers(**{**one, "products": {p: _products(of) for p, of in one["products"].items()}})
        for one in content["states"]
    ]


def _products(kept: Mapping[str, Any]) -> Products:
    own_NN = _full(kept["own"])
    release_NN = _full(kept["release"]) if "release" in kept else own_NN
    cross_NN = np.array(kept["cross"], dtype=np.float64) if "cross" in kept else own_NN
    return Products(own_NN=own_NN, release_NN=release_NN, cross_NN=cross_NN)


def _triangle(of_NN: Matrix) -> list[list[int]]:
    """Each row up to the diagonal."""
    return [row[: number + 1].astype(int).tolist() for number, row in enumerate(of_NN)]


def _full(rows: Sequence[Sequence[int]]) -> Matrix:
    full = np.zeros((len(rows), len(rows)))
    for number, row in enumerate(rows):
        full[number, : number + 1] = row
        full[: number + 1, number] = row
    return full
