"""TIIF against upstream's own output, on inputs made for the purpose."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from alphabench.benchmarks.tiif.official_files import (
    accuracies,
    read_tiif_results,
    summarise_tiif_results,
    tiif_results_table,
    tiif_results_text,
)
from alphabench.benchmarks.tiif.scoring import read_lines
from alphabench.evaluators.ocr import gned, recall, words_of

MODELS = ("model_a", "model_b")


@pytest.fixture
def golden(shared: Path) -> Path:
    return shared / "golden" / "tiif"


def test_every_reply_is_read_as_upstream_reads_it(golden: Path) -> None:
    cases = json.loads((golden / "parse_cases.json").read_text())
    assert len(cases) == 15
    for case in cases:
        answers = read_lines(case["text"], n_questions=case["n_questions"])
        said = None if answers is None else ["yes" if answer else "no" for answer in answers]
        assert said == case["pred"], case["text"]


@pytest.mark.parametrize("model", MODELS)
def test_every_accuracy_and_count_is_upstreams(golden: Path, model: str) -> None:
    sheets = json.loads((golden / "result_summary_xlsx_as_json.json").read_text())
    found = accuracies(read_tiif_results(golden / "eval_results" / model))
    n_compared = 0
    for column, accuracy in sheets["Accuracy"][model].items():
        attribute, _, length = column.partition("|")
        if length not in ("short", "long"):
            continue
        if accuracy is None:
            assert f"{attribute} {length}" not in found
            continue
        right, total = found[f"{attribute} {length}"]
        assert float(f"{right / total:.4f}") == accuracy
        assert total == sheets["Total_Questions"][model][column]
        assert right == sheets["Correct_Answers"][model][column]
        n_compared += 1
    assert n_compared == len(found) == (78 if model == "model_a" else 76)


@pytest.mark.parametrize("model", MODELS)
def test_the_mean_accuracy_is_upstreams(golden: Path, model: str) -> None:
    sheets = json.loads((golden / "result_summary_xlsx_as_json.json").read_text())
    report = summarise_tiif_results(golden / "eval_results" / model)
    (printed,) = (v for k, v in sheets["Accuracy"][model].items() if k.startswith("Mean_Accuracy"))
    assert report.extras["mean accuracy"].value == pytest.approx(printed, abs=5e-5)


def test_the_summary_of_two_models_is_upstreams_to_the_letter(golden: Path) -> None:
    reports = {model: summarise_tiif_results(golden / "eval_results" / model) for model in MODELS}
    printed = (golden / "result_summary_dimension.txt").read_text()
    assert tiif_results_table(reports) == printed.removesuffix("\n")
    assert "model_a         0.5066        0.6333" in tiif_results_text(reports["model_a"])


def test_a_missing_group_raises_the_official_overall_and_withholds_the_strict_one(
    golden: Path,
) -> None:
    folder = golden / "eval_results" / "model_b"
    official = summarise_tiif_results(folder)
    strict = summarise_tiif_results(folder, protocol="strict")
    assert official.groups["overall short"].value == pytest.approx(0.4975, abs=5e-5)
    assert official.groups["overall long"].value == pytest.approx(0.6453, abs=5e-5)
    assert strict.groups["overall short"].value is None
    assert strict.groups["Relation short"].value is not None
    assert official.partial


def test_strict_differs_from_official_by_rounding_and_by_answers_that_never_came(
    golden: Path,
) -> None:
    folder = golden / "eval_results" / "model_a"
    official = summarise_tiif_results(folder)
    strict = summarise_tiif_results(folder, protocol="strict")
    for name, figure in official.groups.items():
        assert math.isclose(figure.value or 0, strict.groups[name].value or 0, abs_tol=1e-4)
    assert official.groups != strict.groups
    assert official.statuses == {"scored": 542, "failed": 1}
    assert strict.statuses == {"scored": 542, "failed": 1, "unparsed": 2}


def test_both_text_measures_are_upstreams(golden: Path) -> None:
    cases = json.loads((golden / "gned_recall_cases.json").read_text())
    assert len(cases) == 7
    for case in cases:
        found = words_of(case["ocr"])
        assert gned(case["gt"], found) == pytest.approx(case["gned"], abs=1e-12)
        assert recall(case["gt"], found) == pytest.approx(case["recall"], abs=1e-12)
