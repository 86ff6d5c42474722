"""GenEval's published file formats, written and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.benchmarks.geneval.official_files import (
    OFFICIAL,
    geneval_image_path,
    geneval_metadata,
    geneval_metadata_path,
    geneval_result_lines,
    geneval_results_text,
    read_geneval_results,
    summarise_geneval_results,
)
from alphabench.core.errors import AlphaBenchError
from alphabench.types import Sample, Verdict, image_id

FACTS: dict[str, Any] = {
    "tag": "colors",
    "include": [{"class": "dog", "count": 1, "color": "red"}],
    "prompt": "a photo of a réd dog",
}


def sample(id_: str = "00007", **others: Any) -> Sample:
    facts = {**FACTS, **others}
    return Sample(id=id_, prompt=facts["prompt"], group=facts["tag"], facts=facts)


def verdict(index: int, *, correct: bool | None, id_: str = "00007") -> Verdict:
    if correct is None:
        return Verdict(
            image_id=image_id(id_, index), question_id="correct", value=None, status="failed"
        )
    return Verdict(
        image_id=image_id(id_, index),
        question_id="correct",
        value=float(correct),
        status="scored",
        detail={"reason": "" if correct else "why", "objects": {"dog": [[0, 0, 9, 9, 0.5]]}},
    )


def line(**changes: Any) -> str:
    (text,) = geneval_result_lines([sample()], [verdict(0, correct=True)])
    fields = {**json.loads(text), **changes}
    return json.dumps({key: value for key, value in fields.items() if value is not ...})


def test_an_image_lies_where_upstream_looks_for_it() -> None:
    assert str(geneval_image_path("00007", 2)) == "00007/samples/0002.png"
    assert str(geneval_metadata_path("00007")) == "00007/metadata.jsonl"
    assert json.loads(geneval_metadata(sample())) == FACTS


def test_a_result_line_has_upstreams_keys_and_its_nested_json() -> None:
    lines = geneval_result_lines([sample()], [verdict(1, correct=False)], root="imgs")
    fields = json.loads(next(lines))
    assert list(fields) == [
        "filename", "tag", "prompt", "correct", "reason", "metadata", "details",
    ]  # fmt: skip
    assert fields["filename"] == "imgs/00007/samples/0001.png"
    assert (fields["correct"], fields["reason"]) == (False, "why")
    assert json.loads(fields["metadata"]) == FACTS
    assert json.loads(fields["details"]) == {"dog": [[0, 0, 9, 9, 0.5]]}


def test_an_image_that_was_not_judged_has_no_line() -> None:
    verdicts = [verdict(0, correct=None), verdict(10, correct=True), verdict(2, correct=True)]
    lines = [json.loads(text) for text in geneval_result_lines([sample()], verdicts)]
    names = [fields["filename"] for fields in lines]
    assert names == ["00007/samples/0002.png", "00007/samples/0010.png"]


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=6))
def test_what_is_written_is_summarised_alike(
    tmp_path_factory: pytest.TempPathFactory, correct: list[list[bool]]
) -> None:
    samples = [sample(f"{n:05}", prompt=f"prompt {n}") for n in range(len(correct))]
    verdicts = [
        verdict(index, correct=one, id_=f"{n:05}")
        for n, of in enumerate(correct)
        for index, one in enumerate(of)
    ]
    path = tmp_path_factory.mktemp("official") / "results.jsonl"
    path.write_text("\n".join(geneval_result_lines(samples, verdicts)) + "\n")
    report = summarise_geneval_results(path)
    flat = [one for of in correct for one in of]
    assert report.headline.value == pytest.approx(sum(flat) / len(flat))
    assert report.extras["correct_prompts"].value == pytest.approx(
        sum(any(of) for of in correct) / len(correct)
    )
    assert [one.correct for one in read_geneval_results(path)] == flat


def test_a_run_is_written_in_upstreams_layout_with_the_images_it_has(tmp_path: Path) -> None:
    first, second = sample("00000"), sample("00001", prompt="another")
    stored = {image_id("00000", index): tmp_path / f"{index}" for index in (11, 2)}
    verdicts = [verdict(2, correct=True, id_="00000"), verdict(0, correct=None, id_="00001")]
    files = {
        str(path): content for path, content in OFFICIAL.files([first, second], stored, verdicts)
    }
    results = files.pop("results.jsonl")
    assert files == {
        "images/00000/metadata.jsonl": geneval_metadata(first),
        "images/00000/samples/0002.png": tmp_path / "2",
        "images/00000/samples/0011.png": tmp_path / "11",
        "images/00001/metadata.jsonl": geneval_metadata(second),
    }
    assert isinstance(results, str)
    assert [json.loads(text)["filename"] for text in results.splitlines()] == [
        "images/00000/samples/0002.png"
    ]


def test_equal_metadata_is_one_prompt_and_absent_tasks_are_not_averaged(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join([line(), line(filename="other.png", correct=False)]))
    report = summarise_geneval_results(path)
    assert report.extras["correct_prompts"].n_scored == 1
    assert list(report.groups) == ["colors"]
    assert report.headline.value == 0.5
    assert "colors           = 50.00% (1 / 2)" in geneval_results_text(report)


def test_a_complete_run_is_not_partial(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    samples = [sample(f"{n:05}", prompt=f"prompt {n}") for n in range(553)]
    verdicts = [verdict(i, correct=True, id_=one.id) for one in samples for i in range(4)]
    path.write_text("\n".join(geneval_result_lines(samples, verdicts)))
    assert not summarise_geneval_results(path).partial
    path.write_text("\n".join(geneval_result_lines(samples, verdicts[1:])))
    assert summarise_geneval_results(path).partial


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (line()[:-9], "line 2 of .*not JSON"),
        ("3", "line 2 of .*not a JSON object"),
        (line(tag=...), "line 2 of .*no text 'tag'"),
        (line(correct="true"), "line 2 of .*no true or false 'correct'"),
        (line(correct=2), "line 2 of .*no true or false 'correct'"),
        (line(correct=0.5), "line 2 of .*no true or false 'correct'"),
        (line(metadata=FACTS), "line 2 of .*no text 'metadata'"),
    ],
)
def test_a_bad_line_is_named_with_its_file(tmp_path: Path, bad: str, complaint: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(f"{line()}\n{bad}\n")
    with pytest.raises(AlphaBenchError, match=complaint) as caught:
        summarise_geneval_results(path)
    assert "results.jsonl" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe{}"])
def test_a_file_without_results_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(content)
    with pytest.raises(AlphaBenchError, match=r"results\.jsonl"):
        summarise_geneval_results(path)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="cannot be read"):
        summarise_geneval_results(tmp_path / "none.jsonl")


def test_what_upstreams_summary_does_not_read_may_be_lacking(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    bare: dict[str, Any] = dict.fromkeys(("filename", "prompt", "reason", "details"), ...)
    rows = [line(**bare), line(**bare, correct=0), line(correct=1, metadata="no JSON", details="[")]
    path.write_text("\ufeff" + "\n".join(rows))
    report = summarise_geneval_results(path)
    assert report.headline.value == pytest.approx(2 / 3)
    assert report.extras["correct_prompts"].n_scored == 2
    assert report.coverage == 1.0
    assert read_geneval_results(path)[0].details == {}


def test_a_line_that_states_nothing_is_in_no_mean_and_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join([line(), line(correct=False), line(correct=None, metadata="other")]))
    report = summarise_geneval_results(path)
    assert report.headline.value == 0.5
    assert report.coverage == pytest.approx(2 / 3)
    assert report.statuses == {"scored": 2, "missing": 1}
    assert "colors           = 50.00% (1.0 / 3)" in geneval_results_text(report)
    assert "% correct prompts: 50.00%" in geneval_results_text(report)
