"""The measurement of a training step, at its smallest."""

from __future__ import annotations

import pytest

from tools.perf.train_step import PHASES, Size, compare_shapes, comparison_table


@pytest.mark.whole
def test_both_shapes_are_trained_and_the_lean_one_takes_less_work() -> None:
    released, lean = compare_shapes(Size(prompts=1, divide=7, steps=1))
    assert (released.images, lean.images) == (2, 2)
    # The windows of the recipes.
    assert (released.velocities, lean.velocities) == (10.0, 3.0)
    for one in (released, lean):
        assert one.written > 0.0
        for figures in (one.seconds, one.gflop):
            assert min(figures[phase] for phase in PHASES) > 0.0
            in_all = sum(figures[phase] for phase in PHASES)
            assert in_all == pytest.approx(figures["step"])
    for phase in ("rollout", "replay", "update", "step"):
        assert lean.gflop[phase] < released.gflop[phase]
    lines = comparison_table(released, lean).splitlines()
    assert {line.split()[0] for line in lines} >= {*PHASES, "step"}
    assert len({len(line) for line in lines[:8]}) == 1
