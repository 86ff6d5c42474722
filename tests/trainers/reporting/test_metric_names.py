"""The table of metrics, and the page that shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphatrainers.reporting.metric_names import (
    METRIC_SECTIONS,
    metric_of,
    metrics_page_tables,
)

PAGE = Path(__file__).parents[3] / "docs" / "training" / "metrics.md"


def test_the_page_shows_the_table_as_it_stands_in_the_code() -> None:
    hint = "run python -m tools.results.metrics_page"
    assert metrics_page_tables() in PAGE.read_text(encoding="utf-8"), hint


def test_no_name_has_two_rows_and_every_row_says_what_to_do() -> None:
    metrics = [metric for section in METRIC_SECTIONS for metric in section.metrics]
    names = [name for metric in metrics for name in metric.names]
    assert len(names) == len(set(names))
    assert all(one.meaning and one.unit and one.healthy and one.unhealthy for one in metrics)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("reward/mean", "reward/mean"),
        ("reward/dvreward/mean", "reward/<reward>/mean"),
        ("reward/dvreward/semantic/mean", "reward/<reward>/<part>/mean"),
        ("forward_passes/train/texts", "forward_passes/<view>/texts"),
    ],
)
def test_a_logged_name_finds_its_row(name: str, row: str) -> None:
    metric = metric_of(name)
    assert metric is not None
    assert row in metric.names


def test_a_name_that_nothing_logs_has_no_row() -> None:
    assert metric_of("gradient_norm") is None
    assert metric_of("reward/meaning") is None
