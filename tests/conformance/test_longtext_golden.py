"""LongText-Bench against upstream's own output, on inputs made for the purpose."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from alphabench.benchmarks.longtext.benchmark import open_longtext, unit_of
from alphabench.benchmarks.longtext.official_files import (
    longtext_results_text,
    summarise_longtext_results,
)
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.transcription import Transcription, comparable_text, match_texts, transcribed
from alphabench.questions import Reply
from alphabench.upstream import UpstreamData

LANGUAGES = ("en", "zh")


@pytest.fixture
def golden(shared: Path) -> Path:
    return shared / "golden" / "longtext"


def rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_replies_are_cleaned_as_upstream_cleans_them(golden: Path) -> None:
    for case in json.loads((golden / "clean_cases.json").read_text()):
        assert transcribed(case["reply"]) == case["cleaned"], case["reply"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_row_has_upstreams_texts_and_counts(golden: Path, language: str) -> None:
    unit = unit_of(language)
    given, expected = (rows(golden / language / f"{n}.jsonl") for n in ("replies", "expected"))
    assert len(given) == len(expected) > 0
    for row, known in zip(given, expected, strict=True):
        text = " ".join(row["ocr_gt"])
        assert comparable_text(text, unit) == known["ocr_gt"]
        assert comparable_text(row["ocr_results"], unit) == known["ocr_results"]
        counts = (known["match_word_count"], known["gt_word_count"])
        assert match_texts(row["ocr_results"], text, unit)[:2] == counts
        contract = Transcription(text=text, unit=unit, strict=False)
        values = contract.parse(Reply(text=row["ocr_results"], model="m", finish_reason="stop"))
        assert values is not None
        assert values[0] == known["text_accuray"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["replies", "expected"])
def test_the_score_is_upstreams_before_and_after_its_script(
    golden: Path, language: str, name: str
) -> None:
    expected = json.loads((golden / "expected.json").read_text())[language]
    report = summarise_longtext_results(golden / language / f"{name}.jsonl", [], language)
    assert report.headline.value == expected["score"]
    assert longtext_results_text(report) + "\n" == expected["printed"]
    mean = report.extras["mean over images"].value
    assert mean == pytest.approx(expected["not_in_upstream_mean_over_images"])
    assert report.partial


def test_a_text_with_nothing_to_count_is_an_error_and_no_score(tmp_path: Path) -> None:
    row = {"image": "0000_1.png", "prompt": "p", "ocr_gt": ["?!"], "ocr_results": "x"}
    (tmp_path / "results.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(AlphaBenchError, match="no words to count"):
        summarise_longtext_results(tmp_path, [], "en")


def test_official_data_has_the_known_prompts(shared: Path, tmp_path: Path) -> None:
    data = UpstreamData(cache_dir=tmp_path)
    data.fetch("longtext", source=shared / "upstream")
    for language in LANGUAGES:
        samples = open_longtext(language, data=data).samples()
        groups = Counter(sample.group for sample in samples)
        kinds = "sign label print webpage slide poster caption dialogue"
        assert groups == dict.fromkeys(kinds.split(), 20)
        assert Counter(sample.facts["length"] for sample in samples) == {"short": 80, "long": 80}
        assert len({sample.id for sample in samples}) == 160
        assert max(sample.id for sample in samples) <= "0199"
