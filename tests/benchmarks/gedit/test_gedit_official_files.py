"""GEdit-Bench's published files, written and read back."""

from __future__ import annotations

import csv
import io
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabench.benchmarks.gedit.official_files import (
    COLUMNS,
    OFFICIAL,
    OFFICIAL_CN,
    gedit_results_text,
    read_gedit_results,
    summarise_gedit_results,
)
from alphabench.benchmarks.gedit.scoring import GROUPS
from alphabench.core.errors import AlphaBenchError
from alphabench.types import Sample, Verdict, image_id
from alphabench.upstream import UpstreamData


def _sample(group: str, number: int, language: str = "en", **others: Any) -> Sample:
    facts = {
        "task_type": group,
        "key": f"k{number}",
        "instruction_language": language,
        "Intersection_exist": number % 2 == 0,
        "judge_source": f"/somewhere/{group}.png",
        **others,
    }
    name = f"{language}-{group}-k{number}"
    return Sample(id=name, prompt=f'do "{number}", then rest', group=group, facts=facts)


def _verdict(sample: Sample, semantics: float, quality: float) -> Verdict:
    return Verdict(
        image_id=image_id(sample.id, 0),
        question_id="overall",
        value=math.sqrt(semantics * quality),
        status="scored",
        detail={"semantics": semantics, "quality": quality},
    )


def _written(folder: Path, samples: list[Sample], verdicts: list[Verdict]) -> Path:
    for path, content in OFFICIAL.files(samples, {}, verdicts):
        assert isinstance(content, str)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return folder


scores = st.tuples(st.integers(0, 10), st.sampled_from([0.0, 3.0, 7.5, 10.0]))


@settings(max_examples=10, deadline=None)
@given(st.lists(scores, min_size=22, max_size=33))
def test_a_run_is_read_back_with_the_same_figures(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[int, float]]
) -> None:
    samples = [_sample(GROUPS[i % 11], i // 11) for i in range(len(cells))]
    verdicts = [_verdict(s, float(a), b) for s, (a, b) in zip(samples, cells, strict=True)]
    folder = _written(tmp_path_factory.mktemp("official"), samples, verdicts)
    report = summarise_gedit_results(folder)
    means = []
    for group in GROUPS:
        own = [
            math.sqrt(a * b) for s, (a, b) in zip(samples, cells, strict=True) if s.group == group
        ]
        assert report.groups[group].value == pytest.approx(sum(own) / len(own))
        means.append(sum(own) / len(own))
    assert report.headline.value == pytest.approx(sum(means) / 11)


def test_a_run_is_written_where_upstream_looks_for_it(tmp_path: Path) -> None:
    first, second = _sample("ps_human", 1, "cn"), _sample("subject-add", 2)
    images = {image_id(first.id, 0): tmp_path / "edit.png"}
    files = {str(p): c for p, c in OFFICIAL.files([first, second], images, [_verdict(first, 8, 9)])}
    assert files["alphabench/fullset/ps_human/cn/k1.png"] == tmp_path / "edit.png"
    assert files["alphabench/fullset/ps_human/cn/k1_SRCIMG.png"] == Path("/somewhere/ps_human.png")
    tables = {name.rpartition("/")[2]: c for name, c in files.items() if name.endswith(".csv")}
    assert len(tables) == 12
    (row,) = csv.DictReader(io.StringIO(str(tables["alphabench_ps_human_gpt_score.csv"])))
    assert row == {
        "source_image": "alphabench/fullset/ps_human/cn/k1_SRCIMG.png",
        "edited_image": "alphabench/fullset/ps_human/cn/k1.png",
        "instruction": 'do "1", then rest',
        "sementics_score": "8",
        "quality_score": "9",
        "intersection_exist": "False",
        "instruction_language": "cn",
    }
    assert tables["alphabench_subject-add_gpt_score.csv"] == ",".join(COLUMNS) + "\n"


def test_a_group_without_a_line_leaves_no_average_as_upstream_prints_nan(tmp_path: Path) -> None:
    samples = [_sample(group, 0) for group in GROUPS if group != "text_change"]
    folder = _written(tmp_path, samples, [_verdict(s, 8, 8) for s in samples])
    report = summarise_gedit_results(folder)
    assert report.headline.value is None
    text = gedit_results_text(report)
    assert "text_change: nan, nan, nan" in text
    assert "Average: nan, nan, nan" in text
    assert "ps_human: 8.000, 8.000, 8.000" in text


def test_each_language_has_its_own_summary(tmp_path: Path) -> None:
    samples = [_sample(g, 0, language) for g in GROUPS for language in ("en", "cn")]
    verdicts = [
        _verdict(s, *((9, 9) if s.facts["instruction_language"] == "en" else (4, 4)))
        for s in samples
    ]
    folder = _written(tmp_path, samples, verdicts)
    assert OFFICIAL.summarise(
        folder, UpstreamData(cache_dir=tmp_path)
    ).headline.value == pytest.approx(9)
    assert OFFICIAL_CN.summarise(
        folder, UpstreamData(cache_dir=tmp_path)
    ).headline.value == pytest.approx(4)


def _whole(tmp_path: Path) -> Path:
    samples = [_sample(group, 0) for group in GROUPS]
    return _written(tmp_path, samples, [_verdict(s, 8, 8) for s in samples])


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    folder = _whole(tmp_path)
    next(folder.rglob("*ps_human_gpt*")).unlink()
    with pytest.raises(AlphaBenchError, match="holds no table of ps_human"):
        read_gedit_results(folder)


def test_two_models_are_not_taken_for_one(tmp_path: Path) -> None:
    _whole(tmp_path / "a")
    _whole(tmp_path / "b")
    with pytest.raises(AlphaBenchError, match="several tables"):
        read_gedit_results(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (",8,8,", ",8,,", "line 2 of .* has the score ''"),
        (",8,8,", ",nan,8,", "line 2 of .* has the score 'nan'"),
        (",8,8,", ",-1,8,", "line 2 of .* has the score '-1'"),
        ("True", "maybe", "says 'maybe' of the intersection"),
        ("sementics_score", "semantics_score", "no column 'sementics_score'"),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    file = next(_whole(tmp_path).rglob("*style_change_gpt*"))
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(AlphaBenchError, match=words):
        summarise_gedit_results(tmp_path)


def test_a_byte_order_mark_before_a_table_changes_nothing(tmp_path: Path) -> None:
    file = next(_whole(tmp_path).rglob("*style_change_gpt*"))
    plain = summarise_gedit_results(tmp_path)
    header, rest = file.read_text().split("\n", 1)
    names = header.split(",")
    # The first column becomes one that is read.
    order = sorted(range(len(names)), key=lambda column: names[column] != "sementics_score")
    rows = [next(csv.reader([line])) for line in (header, *rest.splitlines())]
    table = io.StringIO()
    csv.writer(table).writerows([[row[i] for i in order] for row in rows])
    file.write_text("\ufeff" + table.getvalue())
    assert summarise_gedit_results(tmp_path) == plain


def test_a_pipe_in_the_place_of_a_table_is_not_waited_for(tmp_path: Path) -> None:
    file = next(_whole(tmp_path).rglob("*style_change_gpt*"))
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(AlphaBenchError, match="not a regular file"):
        summarise_gedit_results(tmp_path)
