"""Each estimate on the page of results stands in a table that a tool wrote from kept numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "docs" / "results"
NUMBER = r"([+\-−]?\d+\.\d+)"
ESTIMATE = re.compile(rf"{NUMBER}\s\[{NUMBER}, {NUMBER}\]")


def estimates(text: str) -> Iterator[tuple[float, tuple[float, ...]]]:
    """Value and interval without signs, so that a difference may be told either way round."""
    for found in ESTIMATE.findall(re.sub(r"\s+", " ", text)):
        value, *ends = (abs(float(one.replace("−", "-"))) for one in found)
        yield value, tuple(sorted(ends))


def test_the_page_of_results_states_no_number_that_no_table_has() -> None:
    kept = {
        one
        for page in (RESULTS / "evidence").glob("*/README.md")
        for one in estimates(page.read_text(encoding="utf-8"))
    }
    stated = list(estimates((RESULTS / "README.md").read_text(encoding="utf-8")))
    assert len(stated) > 20
    assert [one for one in stated if one not in kept] == []
