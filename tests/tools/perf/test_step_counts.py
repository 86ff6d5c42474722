"""What a training step takes beside the same step with one thing done otherwise."""

from __future__ import annotations

import pytest

from tools.perf.step_counts import (
    ALTERNATIVES,
    StepCounts,
    counts_table,
    shaped_recipe,
    step_counts,
)


def test_a_row_differs_from_the_first_in_what_its_name_says_alone() -> None:
    first, *others = map(shaped_recipe, ALTERNATIVES)
    assert first.training.text_batch == first.training.group_size
    assert not first.training.recompute
    assert "reference" in first.training.image.kl_weights
    for one, changes in zip(others, list(ALTERNATIVES.values())[1:], strict=True):
        assert len(changes) == 1
        assert one != first
        assert one.task == first.task


def test_the_table_has_a_line_for_each_row() -> None:
    row = StepCounts(
        tokens=2,
        token_operations=7.4,
        passes=5,
        texts_scored=4.0,
        waits=6,
        gflop=2.0,
        update_mib=3.0,
    )
    head, line = counts_table({"as it is": row}).splitlines()
    assert "operations a token" in head
    assert line.split() == ["as", "it", "is", "7", "5", "4", "6", "2.0", "3.0"]


@pytest.mark.whole
@pytest.mark.device
@pytest.mark.timeout(1500)
def test_each_alternative_takes_more_of_what_it_is_about() -> None:
    now, scored, alone, recomputed = map(step_counts, ALTERNATIVES)
    assert scored.texts_scored == 2 * now.texts_scored
    assert (scored.passes, scored.waits) == (now.passes, now.waits)
    assert alone.token_operations > 2 * now.token_operations
    assert alone.passes > now.passes
    assert alone.waits > now.waits
    assert recomputed.update_mib < now.update_mib
    assert recomputed.gflop > now.gflop
    assert recomputed.tokens == now.tokens
