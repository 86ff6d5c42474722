"""UniGenBench++ against upstream's own output, on inputs made for the purpose."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from alphabench.benchmarks.unigenbench.benchmark import open_unigenbench
from alphabench.benchmarks.unigenbench.official_files import (
    DIMENSIONS,
    summarise_unigenbench_results,
    unigenbench_results_text,
)
from alphabench.benchmarks.unigenbench.scoring import primary_of
from alphabench.judges.score_tags import ScoreTags, literal, tagged_lists
from alphabench.questions import Reply
from alphabench.upstream import UpstreamData


@pytest.fixture
def golden(shared: Path) -> Path:
    return shared / "golden" / "unigenbench"


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_table_of_scores_has_upstreams_shares(golden: Path) -> None:
    report = summarise_unigenbench_results(golden / "results.csv")
    expected = load(golden / "expected_scores.json")
    wanted = {
        name.strip(): (one["correct"], one["total"], one["accuracy"])
        for table in expected.values()
        for name, one in table.items()
    }
    found = {
        name: (round(one.value * one.n_scored), one.n_scored, round(one.value, 4))
        for name, one in report.groups.items()
        if one.value is not None
    }
    assert found == wanted
    ours = load(golden / "notes.json")["not_in_upstream"]
    assert report.headline.value == pytest.approx(ours["mean_of_the_primary_dimensions"])
    assert report.extras["pooled"].value == pytest.approx(ours["pooled"])
    assert report.partial
    rows = load(golden / "rows.json")
    assert report.statuses["scored"] == sum(
        one["total"] for one in expected["sub_dimensions"].values()
    )
    assert sum(report.statuses.values()) == sum(len(literal(row["testpoint"])) for row in rows)
    printed = {
        line.strip(" -").replace(" :", ":", 1)
        for line in (golden / "stdout.txt").read_text().splitlines()
        if line.startswith("  - ")
    }
    assert printed <= set(unigenbench_results_text(report).splitlines())


def test_every_reply_is_accepted_as_upstream_accepts_it(golden: Path) -> None:
    for case in load(golden / "parse_cases.json"):
        found = tagged_lists(case["text"], len(case["testpoints"]))
        score, expected = None if found is None else found.score, case["score"]
        if isinstance(expected, dict) and "accepted_as" in expected:
            assert repr(score) == expected["accepted_as"], case["kind"]
        else:
            assert score == expected, case["kind"]
        values = ScoreTags(strict=False, n_items=len(case["testpoints"])).parse(
            Reply(text=case["text"] or "", model="m")
        )
        if values is not None and score is not None:
            assert values == tuple(float(one == 1) for one in score), case["kind"]


@pytest.mark.parametrize(
    ("split", "n_samples", "n_points"),
    [("en", 600, 1813), ("zh", 600, 1813), ("en-long", 599, 3915), ("zh-long", 600, 3920)],
)
def test_official_data_has_the_known_prompts_and_test_points(
    shared: Path, tmp_path: Path, split: str, n_samples: int, n_points: int
) -> None:
    data = UpstreamData(cache_dir=tmp_path)
    data.fetch("unigenbench", source=shared / "upstream")
    benchmark = open_unigenbench(split, data=data)
    samples = benchmark.samples()
    points = Counter(point for sample in samples for point in sample.facts["points"])
    assert (len(samples), points.total(), len(points)) == (n_samples, n_points, 27)
    assert {primary_of(point) for point in points} == set(DIMENSIONS[split[:2]])
    assert len({sample.id for sample in samples} - {str(n) for n in range(600)}) == 0
    report = benchmark.summarise(samples, [], evaluator="judge", all_samples=samples)
    assert report.headline.value is None
    named = [note for note in report.notes if "row 509" in note]
    assert len(named) == (split == "en-long")
