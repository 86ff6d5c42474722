"""WISE's published files, written and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabench.benchmarks.wise_files import OFFICIAL, PARTS, read_official, summarise_official
from alphabench.benchmarks.wise_rules import CATEGORIES, EDITIONS, METRICS, Edition
from alphabench.errors import AlphaBenchError
from alphabench.types import Sample, Verdict, image_id


def _sample(edition: Edition, number: int) -> Sample:
    group = edition.category(number)
    assert group is not None
    facts = {"Explanation": f"answer {number}", "Subcategory": "made up"}
    return Sample(id=str(number), prompt=f"riddle {number}", group=group, facts=facts)


def _verdict(edition: Edition, number: int, values: tuple[int, int, int] | None) -> Verdict:
    name = image_id(str(number), 0)
    if values is None:
        return Verdict(image_id=name, question_id=edition.question, value=None, status="refused")
    legacy = edition.name == "legacy"
    scored = edition.score(tuple(map(float, values))) if legacy else float(values[0] > 0)
    detail: dict[str, Any] = {"reply": "as the judge said"}
    if legacy:
        detail |= dict(zip(METRICS, map(float, values), strict=True))
    return Verdict(
        image_id=name,
        question_id=edition.question,
        value=scored,
        status="scored",
        detail=detail,
    )


scores = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(["verified", "legacy"]), st.lists(scores, min_size=1, max_size=7))
def test_a_whole_run_is_read_back_with_the_same_figures(
    tmp_path_factory: pytest.TempPathFactory, name: str, cycle: list[tuple[int, int, int]]
) -> None:
    edition = EDITIONS[name]
    samples = [_sample(edition, number) for number in range(1, 1001)]
    verdicts = [_verdict(edition, n, cycle[n % len(cycle)]) for n in range(1, 1001)]
    folder = tmp_path_factory.mktemp("official")
    for path, content in OFFICIAL.files(samples, {}, verdicts):
        assert isinstance(content, str)
        (folder / path).write_text(content)
    report = summarise_official(folder)
    values = [verdict.value for verdict in verdicts if verdict.value is not None]
    assert report.headline.value == pytest.approx(sum(values) / 1000)
    assert list(report.groups) == list(CATEGORIES)
    assert edition.name in report.evaluator


def test_a_run_is_written_as_upstream_names_it_and_without_what_was_not_scored(
    tmp_path: Path,
) -> None:
    edition = EDITIONS["legacy"]
    samples = [_sample(edition, number) for number in (7, 450, 700)]
    verdicts = [_verdict(edition, 7, (2, 1, 0)), _verdict(edition, 450, None)]
    images = {image_id("7", 0): tmp_path / "a.png"}
    files = {str(path): content for path, content in OFFICIAL.files(samples, images, verdicts)}
    assert files.pop("7.png") == tmp_path / "a.png"
    assert set(files) == {
        f"{part}_{kind}" for part in PARTS for kind in ("scores_results.jsonl", "full_results.json")
    }
    (line,) = str(files["cultural_common_sense_scores_results.jsonl"]).splitlines()
    assert json.loads(line) == {
        "prompt_id": 7,
        "Subcategory": "made up",
        "consistency": 2.0,
        "realism": 1.0,
        "aesthetic_quality": 0.0,
    }
    assert files["spatio-temporal_reasoning_scores_results.jsonl"] == ""
    assert json.loads(str(files["cultural_common_sense_full_results.json"])) == [
        {
            "prompt_id": 7,
            "prompt": "riddle 7",
            "key": "answer 7",
            "image_path": "7.png",
            "evaluation": "as the judge said",
        }
    ]


def _file(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "scores.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_the_score_that_marks_a_failure_in_older_files_is_no_score(tmp_path: Path) -> None:
    row = {"prompt_id": 1, "consistency": 999, "realism": 999, "aesthetic_quality": 999}
    with pytest.raises(AlphaBenchError, match=r"line 1 of .* states 999"):
        read_official(_file(tmp_path, row))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "line 1 of .*: not JSON"),
        ("[]", "line 1 of .*: not a JSON object"),
        ({"prompt_id": 1}, "neither 'score' nor 'consistency'"),
        ("", "holds no scores of WISE"),
    ],
)
def test_a_file_of_another_form_names_its_line(tmp_path: Path, row: Any, words: str) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        read_official(_file(tmp_path, row))


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="cannot be read"):
        read_official(tmp_path / "none.jsonl")
    with pytest.raises(AlphaBenchError, match="holds no scores"):
        read_official(tmp_path)


@pytest.mark.parametrize("score", [None, "1", float("nan"), 0.5, 2])
def test_a_score_that_is_neither_0_nor_1_makes_the_id_present_but_counts_nowhere(
    tmp_path: Path, score: Any
) -> None:
    rows = [{"prompt_id": n, "score": 1} for n in range(2, 401)]
    report = summarise_official(_file(tmp_path, {"prompt_id": 1, "score": score}, *rows))
    culture = report.groups["culture"]
    assert (culture.value, culture.n_scored, culture.n_expected) == (1.0, 399, 400)
