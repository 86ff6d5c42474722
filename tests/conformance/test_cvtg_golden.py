"""CVTG-2K against upstream's own output, on inputs made for the purpose."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alphabench.benchmarks.cvtg.benchmark import FOLDER, Cvtg, open_cvtg, read_images
from alphabench.benchmarks.cvtg.official_files import (
    cvtg_export_files,
    cvtg_results_text,
    summarise_cvtg_results,
)
from alphabench.benchmarks.cvtg.questions import upstream_key
from alphabench.benchmarks.cvtg.scoring import asked_words
from alphabench.evaluators.word_accuracy import word_similarity
from alphabench.runs.plan import requests_for
from alphabench.types import GeneratedImage, ProtocolName, Report, Verdict
from alphabench.upstream import UpstreamData


@pytest.fixture
def golden(shared: Path) -> Path:
    return shared / "golden" / "cvtg2k"


@pytest.fixture
def cvtg(golden: Path, tmp_path: Path) -> Callable[[ProtocolName], Cvtg]:
    shutil.copytree(golden / "benchmark", tmp_path / FOLDER)
    data = UpstreamData(cache_dir=tmp_path)
    return lambda protocol: open_cvtg(protocol=protocol, data=data)


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def verdicts_on(benchmark: Cvtg, golden: Path) -> list[Verdict]:
    """Those of the images that were there, with the readings of the reference."""
    path = golden / "ocr.json"
    evaluator = benchmark.evaluator(f"ocr?results={path}&engine=paddleocr 2.7")
    return list(
        evaluator.evaluate(
            [
                GeneratedImage(request=one, path=Path("none.png"), sha256="0" * 64, seconds=0.0)
                for one in requests_for(benchmark.samples(), 1, seed=0)
                if upstream_key(one.sample) in load(path)
            ]
        )
    )


def report_of(benchmark: Cvtg, verdicts: list[Verdict]) -> Report:
    samples = benchmark.samples()
    return benchmark.summarise(samples, verdicts, evaluator="ocr", all_samples=samples)


def test_the_words_of_a_prompt_are_those_between_pairs_of_quotes(golden: Path) -> None:
    for case in load(golden / "word_cases.json")["words"]:
        assert asked_words(case["prompt"], "official") == case["words"], case["prompt"]


def test_similarities_are_upstreams(golden: Path) -> None:
    for case in load(golden / "word_cases.json")["similarity"]:
        assert word_similarity(case["a"], case["b"]) == case["similarity"]


def test_every_image_has_upstreams_words_and_similarities(
    golden: Path, cvtg: Callable[[ProtocolName], Cvtg]
) -> None:
    benchmark = cvtg("official")
    expected = load(golden / "expected_per_image.json")
    keys = {sample.id: upstream_key(sample) for sample in benchmark.samples()}
    words = {keys[sample.id]: sample.facts["words"] for sample in benchmark.samples()}
    verdicts = verdicts_on(benchmark, golden)
    assert len(verdicts) == len(expected) == 19
    for image in read_images(benchmark.samples(), verdicts):
        known = expected.get(keys[image.sample_id])
        if known is None:
            assert image.correct is None
        elif image.correct is None:
            assert (known["correct"], set(known["similarities"])) == (0, {0.0})
        else:
            assert words[keys[image.sample_id]] == known["words"]
            assert (image.correct, image.expected) == (known["correct"], known["total"])
            assert image.similarities == known["similarities"]


def test_upstreams_scores_stand_beside_ours_where_ocr_failed(
    golden: Path, cvtg: Callable[[ProtocolName], Cvtg]
) -> None:
    expected = load(golden / "expected.json")["overall_results"]
    report = report_of(cvtg("official"), verdicts_on(cvtg("official"), golden))
    assert report.statuses == {"scored": 16, "failed": 1, "missing": 5}
    assert "prompts that quote no word count in nothing: 2" in report.notes
    as_upstream = report.extras["word accuracy, failures as wrong"]
    assert as_upstream.value == expected["word_accuracy"]
    ned = report.extras["NED, failures as wrong"].value
    assert ned == pytest.approx(expected["ned"], abs=1e-12)
    assert report.headline.value == expected["correct_words"] / (expected["total_words"] - 8)
    assert report.bounds is not None
    assert report.bounds[0] < expected["word_accuracy"] < report.bounds[1]
    assert report.partial


def test_strict_has_no_score_without_all_parts_and_shows_no_failure_as_wrong(
    golden: Path, cvtg: Callable[[ProtocolName], Cvtg]
) -> None:
    report = report_of(cvtg("strict"), verdicts_on(cvtg("strict"), golden))
    assert report.headline.value is None
    assert report.withheld == "1 of 8 parts have no scored verdict"
    assert not [name for name in report.extras if "wrong" in name]


def test_a_result_file_comes_back_and_ours_has_the_same_numbers(
    golden: Path, cvtg: Callable[[ProtocolName], Cvtg], tmp_path: Path
) -> None:
    benchmark, theirs = cvtg("official"), load(golden / "expected.json")
    verdicts = verdicts_on(benchmark, golden)
    (_, text), *_ = cvtg_export_files(benchmark.samples(), {}, verdicts)
    assert isinstance(text, str)
    ours = json.loads(text)
    rows = zip(ours["area_results"], theirs["area_results"], strict=True)
    for our, their in [(ours["overall_results"], theirs["overall_results"]), *rows]:
        same = {"word_accuracy", "total_images", "total_words", "correct_words"}
        assert {key: our[key] for key in same} == {key: their[key] for key in same}
        assert our["ned"] == pytest.approx(their["ned"], abs=1e-12)
        assert our.get("ned_word_data") == their.get("ned_word_data")
        assert our["clipscore"] is None
    (tmp_path / "CVTG_results.json").write_text(text)
    again = summarise_cvtg_results(tmp_path)
    report = summarise_cvtg_results(golden / "expected.json")
    assert again.headline == report.headline
    assert again.groups == report.groups
    assert "images that could not be read, whose words are wrong: 1" in again.notes
    overall = theirs["overall_results"]
    assert report.headline.value == pytest.approx(overall["word_accuracy"], abs=1e-12)
    names = {"NED": "ned", "CLIPScore": "clipscore", "VQAScore": "vqascore"}
    for name, key in (names | {"Aesthetic Score": "aesthetic_score"}).items():
        assert report.extras[name].value == pytest.approx(overall[key], abs=1e-12)
    assert {name: group.value for name, group in report.groups.items()} == pytest.approx(
        {
            f"{row['benchmark_type']}-{row['area']}": row["word_accuracy"]
            for row in theirs["area_results"]
        }
    )
    assert "Word Accuracy: 0.7009\nNED: 0.8459\nCLIPScore: 0.7254" in cvtg_results_text(report)
    assert "CLIPScore: not measured" in cvtg_results_text(again)
