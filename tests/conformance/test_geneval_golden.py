"""GenEval against upstream's own output, on inputs made for the purpose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alphabench.benchmarks.geneval.official_files import (
    geneval_results_text,
    read_geneval_results,
    summarise_geneval_results,
)
from alphabench.detections.geneval_rules import colour_questions, decide, select
from alphabench.detections.objects import DetectedObject
from alphabench.evaluators.detection.detection_evaluator import boxes_by_category


def _objects(case: Mapping[str, Any]) -> list[DetectedObject]:
    found = []
    for category, rows in case["detections"].items():
        colours = case["colors"].get(category, [None] * len(rows))
        for (x1, y1, x2, y2, score), colour in zip(rows, colours, strict=True):
            found.append(
                DetectedObject(category=category, score=score, box=(x1, y1, x2, y2), colour=colour)
            )
    return found


def test_every_detector_case_has_upstreams_verdict_reason_and_details(shared: Path) -> None:
    folder = shared / "golden" / "geneval"
    cases = json.loads((folder / "detector_cases_input.json").read_text())
    expected = json.loads((folder / "detector_cases_expected.json").read_text())
    assert len(cases) == len(expected) == 28
    for case, wanted in zip(cases, expected, strict=True):
        selected = select(
            _objects(case),
            tag=case["metadata"]["tag"],
            max_overlap=case["options"].get("NMS_THRESHOLD", 1.0),
        )
        asked = colour_questions(case["metadata"], selected)
        answers = {found: str(found.colour) for found in asked}
        decision = decide(case["metadata"], selected, answers.__getitem__)
        got = {
            "name": case["name"],
            "correct": decision.correct,
            "reason": decision.reason,
            "details": boxes_by_category(selected),
        }
        assert got == wanted


def test_the_summary_of_a_published_result_file_is_upstreams_to_the_letter(shared: Path) -> None:
    folder = shared / "golden" / "geneval"
    printed = (folder / "summary_stdout.txt").read_text().rstrip("\n")
    assert geneval_results_text(summarise_geneval_results(folder / "results.jsonl")) == printed


def test_the_headline_is_the_mean_of_tasks_and_not_of_images(shared: Path) -> None:
    report = summarise_geneval_results(shared / "golden" / "geneval" / "results.jsonl")
    assert report.headline.value is not None
    assert round(report.headline.value, 5) == 0.56597
    assert report.extras["correct_images"].value == 42 / 72
    assert report.partial


def test_the_order_of_lines_changes_no_figure(shared: Path, tmp_path: Path) -> None:
    path = shared / "golden" / "geneval" / "results.jsonl"
    backwards = tmp_path / "results.jsonl"
    backwards.write_text("\n".join(reversed(path.read_text().strip().split("\n"))))
    forth, back = summarise_geneval_results(path), summarise_geneval_results(backwards)
    assert forth == back
    assert list(forth.groups) == list(back.groups)[::-1]


def test_every_line_of_the_published_file_is_read(shared: Path) -> None:
    assert len(read_geneval_results(shared / "golden" / "geneval" / "results.jsonl")) == 72
