"""WISE's published files, written and read back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabench.benchmarks.wise.official_files import (
    OFFICIAL,
    PARTS,
    read_wise_results,
    summarise_wise_results,
)
from alphabench.benchmarks.wise.scoring import CATEGORIES, EDITIONS, METRICS, WiseEdition
from alphabench.core.errors import AlphaBenchError
from alphabench.types import Sample, Verdict, image_id


def _sample(edition: WiseEdition, number: int) -> Sample:
    group = edition.category(number)
    assert group is not None
    facts = {"Explanation": f"answer {number}", "Subcategory": "made up"}
    return Sample(id=str(number), prompt=f"riddle {number}", group=group, facts=facts)


def _verdict(edition: WiseEdition, number: int, values: tuple[int, int, int] | None) -> Verdict:
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
    report = summarise_wise_results(folder)
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
        read_wise_results(_file(tmp_path, row))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "holds no scores of WISE"),
        ("[]", "line 1 of .*: not a JSON object"),
        ({"prompt_id": 1}, "holds no scores of WISE"),
        ("", "holds no scores of WISE"),
    ],
)
def test_a_file_of_another_form_names_its_line(tmp_path: Path, row: Any, words: str) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        read_wise_results(_file(tmp_path, row))


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="cannot be read"):
        read_wise_results(tmp_path / "none.jsonl")
    with pytest.raises(AlphaBenchError, match="holds no scores"):
        read_wise_results(tmp_path)


@pytest.mark.parametrize("score", [None, "1", float("nan"), 0.5, 2])
def test_a_score_that_is_neither_0_nor_1_makes_the_id_present_but_counts_nowhere(
    tmp_path: Path, score: Any
) -> None:
    rows = [{"prompt_id": n, "score": 1} for n in range(2, 401)]
    report = summarise_wise_results(_file(tmp_path, {"prompt_id": 1, "score": score}, *rows))
    culture = report.groups["culture"]
    assert (culture.value, culture.n_scored, culture.n_expected) == (1.0, 399, 400)


def _complete(edition: WiseEdition, *, unscored: str = "") -> list[dict[str, Any]]:
    """A line for every id; those of one category may state no score."""
    rows = []
    for number in range(1, 1001):
        given = None if edition.category(number) == unscored else number % 2
        names = ("score",) if edition.name == "verified" else METRICS
        rows.append({"prompt_id": number, **dict.fromkeys(names, given)})
    return rows


@pytest.mark.parametrize("name", ["verified", "legacy"])
@pytest.mark.parametrize("unscored", ["culture", "chemistry"])
def test_a_category_without_a_usable_score_leaves_no_overall_score(
    tmp_path: Path, name: str, unscored: str
) -> None:
    path = tmp_path / "all"
    path.mkdir()
    _file(path, *_complete(EDITIONS[name], unscored=unscored))
    for target in (path, path / "scores.jsonl"):
        report = summarise_wise_results(target)
        assert report.headline.value is None
        assert report.partial
        assert report.withheld == "1 of 6 categories have no scored verdict"
        assert report.bounds is not None
        text = OFFICIAL.text(report)
        assert "No overall score: 1 of 6 categories" in text
        assert unscored.upper() not in text


def test_lines_that_upstream_passes_over_are_passed_over_and_counted(tmp_path: Path) -> None:
    rows: list[Any] = list(_complete(EDITIONS["verified"]))
    rows[0] = "\ufeff" + json.dumps(rows[0])
    path = _file(tmp_path, *rows, "", '{"prompt_id": 5, "score"', "[" * 90_000, {"score": 1})
    report = summarise_wise_results(path)
    assert report.headline.value == pytest.approx(0.5)
    assert report.notes == (
        "1 lines are blank, and are passed over as upstream does",
        "2 lines are no JSON, and are passed over as upstream does",
        "1 lines have no whole number for a prompt id, and are passed over as upstream does",
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_scores_are_added_in_the_order_of_the_lines(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """To the last bit: upstream prints two decimals, and many scores end in a five."""
    random = Random(seed)
    edition = EDITIONS["legacy"]
    rows = [{"prompt_id": n, **{m: random.randint(0, 2) for m in METRICS}} for n in range(1, 1001)]
    random.shuffle(rows)
    report = summarise_wise_results(_file(tmp_path_factory.mktemp("order"), *rows))
    sums = dict.fromkeys(CATEGORIES, 0.0)
    for row in rows:
        c, r, a = (row[metric] for metric in METRICS)
        sums[str(edition.category(row["prompt_id"]))] += (0.7 * c + 0.2 * r + 0.1 * a) / 2
    sizes = {name: last - first + 1 for name, (first, last) in edition.ranges.items()}
    means = {name: sums[name] / sizes[name] for name in CATEGORIES}
    assert {name: figure.value for name, figure in report.groups.items()} == means
    u, t, s, b, p, h = means.values()
    assert report.headline.value == 0.4 * u + 0.167 * t + 0.133 * s + 0.1 * b + 0.1 * p + 0.1 * h


def test_the_full_results_of_verified_hold_the_reply_without_its_thoughts() -> None:
    edition = EDITIONS["verified"]
    verdict = _verdict(edition, 7, (2, 1, 0))
    thought = dataclasses.replace(verdict, detail={"reply": "<think>0?</think>\n\nScore: 1"})
    files = {str(path): text for path, text in OFFICIAL.files([_sample(edition, 7)], {}, [thought])}
    (record,) = json.loads(str(files["cultural_common_sense_full_results.json"]))
    assert record["evaluation"] == "Score: 1"
