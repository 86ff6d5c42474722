"""The comparison of top-p sampling with a sort: both ways agree before any time counts."""

from __future__ import annotations

from alphatrainers.nucleus import LIKELIEST
from tools.perf.nucleus import FLAT, WORK, nucleus_table, nucleus_times


def test_each_kind_of_work_is_timed_both_ways_and_has_a_row() -> None:
    rows = nucleus_times(2 * LIKELIEST + 50)
    assert [(row.flat, row.what) for row in rows] == [(f, w) for f in FLAT for w in WORK]
    table = nucleus_table(rows).splitlines()
    assert len(table) == 1 + len(rows)
    assert all(f"{row.ratio:.2f}" in line for row, line in zip(rows, table[1:], strict=True))
