"""Charts of published results can be made again from what was published."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from tools.results.published_curves import README_CURVE, REPORTS, RESULTS, published_figures

ROOT = Path(__file__).parents[3]


def test_the_charts_in_the_documentation_are_those_of_the_published_logs() -> None:
    figures = published_figures(ROOT)
    assert set(figures) == {README_CURVE, *(RESULTS / name / "comparison.svg" for name in REPORTS)}
    for path, text in figures.items():
        hint = f"{path}: run python -m tools.results.published_curves"
        assert (ROOT / path).read_text(encoding="utf-8") == text, hint
        ET.fromstring(text)


def test_every_published_training_is_in_a_chart() -> None:
    for name, report in REPORTS.items():
        folders = {path.parent.name for path in (ROOT / RESULTS / name).glob("*/metrics.jsonl")}
        assert folders == set(report.runs)
