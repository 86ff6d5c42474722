"""RISEBench against upstream's own output, on inputs made for the purpose."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path

import pytest

from alphabench.benchmarks.rise.official_files import (
    OFFICIAL,
    read_rise_results,
    rise_results_text,
    summarise_rise_results,
)
from alphabench.judges.final_score import numbers_after_final_score
from alphabench.upstream import UpstreamData

KINDS = ("with", "without")


@pytest.fixture
def golden(shared: Path) -> Path:
    return shared / "golden" / "risebench"


def laid_out(golden: Path, kind: str, folder: Path) -> Path:
    """Items and pickled judgements as upstream leaves them."""
    stem = f"{kind}_consistency_free"
    (folder / "data_total.json").write_bytes((golden / f"{stem}_items.json").read_bytes())
    judgements = json.loads((golden / f"{stem}_judgements.json").read_text())
    (folder / "m.pkl").write_bytes(pickle.dumps(judgements))
    return folder


def test_replies_are_read_as_upstream_reads_them(golden: Path) -> None:
    cases = json.loads((golden / "parse_cases.json").read_text())
    assert len(cases) == 15
    for case in cases:
        numbers = numbers_after_final_score(case["text"])
        assert (None if numbers is None else list(numbers)) == case["numbers"], case["text"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_item_has_upstreams_scores(golden: Path, kind: str, tmp_path: Path) -> None:
    expected = json.loads((golden / "expected.json").read_text())[f"{kind}_consistency_free"]
    items = read_rise_results(laid_out(golden, kind, tmp_path), UpstreamData(cache_dir=tmp_path))
    assert len(items) == len(expected["rows"])
    for item, row in zip(items, expected["rows"], strict=True):
        scores = item.scores or {}
        assert (item.index, item.category) == (row["index"], row["category"])
        assert scores.get("reasoning") == row["Reasoning"]
        assert scores.get("consistency") == row["ApprConsistency"]
        assert scores.get("plausibility") == row["VisualPlausibility"]
        assert (item.scores is None) == (row["match_log"] == "failed")
        assert item.score("official") == pytest.approx(row["score"], abs=1e-12)
        assert item.complete == row["complete"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_is_upstreams(golden: Path, kind: str, tmp_path: Path) -> None:
    expected = json.loads((golden / "expected.json").read_text())[f"{kind}_consistency_free"]
    report = OFFICIAL.summarise(laid_out(golden, kind, tmp_path), UpstreamData(cache_dir=tmp_path))
    header, *rows = csv.reader(rise_results_text(report).splitlines())
    assert header == ["-", "Score-Origin", "Score-Percentage", "Accuracy"]
    assert [row[0] for row in rows] == [row[0] for row in expected["table"]]
    for ours, theirs in zip(rows, expected["table"], strict=True):
        for cell, value in zip(ours[1:], theirs[1:], strict=True):
            assert (float(cell) if cell else None) == pytest.approx(value, abs=1e-9), ours[0]
    assert report.headline.value == pytest.approx(expected["table"][0][3])


def test_without_the_column_the_strict_score_is_the_official_one(
    golden: Path, tmp_path: Path
) -> None:
    data = UpstreamData(cache_dir=tmp_path)
    for kind, differ in (("without", False), ("with", True)):
        (tmp_path / kind).mkdir()
        items = read_rise_results(laid_out(golden, kind, tmp_path / kind), data)
        pairs = [(item.score("official"), item.score("strict")) for item in items]
        assert any(a != b for a, b in pairs) == differ
    assert summarise_rise_results(tmp_path / "with", data).partial
