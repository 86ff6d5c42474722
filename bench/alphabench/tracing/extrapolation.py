"""Counts of many repetitions, and of a deep model from those of two shallow ones.

All layers of a transformer are alike, so that FLOPs, bytes and the tensors alive at the peak grow
by the same amount with each layer. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from alphabench.tracing.ledger import PhaseCounts

TRACED_LAYERS: Final = (2, 3)
"""Layers of the two models that are traced: with one the peak can lie elsewhere."""


def repeated_phase(counts: PhaseCounts, times: float) -> PhaseCounts:
    """The same phase so many times; the peak stays."""
    return PhaseCounts(
        flops=counts.flops * times,
        bytes_moved=counts.bytes_moved * times,
        operators=round(counts.operators * times),
        peak=counts.peak,
    )


def mean_phase(first: PhaseCounts, last: PhaseCounts) -> PhaseCounts:
    """One of many phases that grow evenly from `first` to `last`; the peak is the last one's."""
    return PhaseCounts(
        flops=(first.flops + last.flops) / 2,
        bytes_moved=(first.bytes_moved + last.bytes_moved) / 2,
        operators=round((first.operators + last.operators) / 2),
        peak=last.peak,
    )


def at_depth(
    trace: Callable[[int], Mapping[str, PhaseCounts]], layers: int
) -> dict[str, PhaseCounts]:
    """What `trace` gives for `layers` layers, from two traces where there are more than those.

    Args:
        trace: number of layers -> counts by phase, the same phases for each.
        layers: of the model in question.
    """
    low, high = TRACED_LAYERS
    if layers <= high:
        return dict(trace(layers))
    shallow, deep = trace(low), trace(high)
    steps = (layers - low) / (high - low)
    return {name: _further(shallow[name], deep[name], steps) for name in shallow}


def _further(low: PhaseCounts, high: PhaseCounts, steps: float) -> PhaseCounts:
    def line(at_low: float, at_high: float) -> float:
        return at_low + steps * (at_high - at_low)

    return PhaseCounts(
        flops=line(low.flops, high.flops),
        bytes_moved=line(low.bytes_moved, high.bytes_moved),
        operators=round(line(low.operators, high.operators)),
        peak={
            name: line(low.peak.get(name, 0.0), high.peak.get(name, 0.0))
            for name in {**low.peak, **high.peak}
        },
    )
