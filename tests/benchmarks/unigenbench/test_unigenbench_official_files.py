"""UniGenBench++'s published files, written and read back."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from alphabench.benchmarks.unigenbench.benchmark import open_unigenbench
from alphabench.benchmarks.unigenbench.official_files import (
    LAYOUT,
    OFFICIAL_EN_LONG,
    summarise_unigenbench_results,
    unigenbench_export_files,
    unigenbench_results_text,
)
from alphabench.core.errors import AlphaBenchError
from alphabench.types import Verdict
from alphabench.upstream import UpstreamData
from alphabench.upstream.layouts import FolderOptions
from tests.support.judged_world import noise

NOWHERE = UpstreamData(cache_dir=Path("nowhere"))
BENCHMARK = open_unigenbench("mini", data=NOWHERE)
SAMPLES = BENCHMARK.samples()
NAMES = [f"{sample.id}/{index}" for sample in SAMPLES for index in range(4)]


def verdicts() -> list[Verdict]:
    """Of the first image of the first prompt, none can be read."""
    found = []
    for place, name in enumerate(NAMES):
        sample = SAMPLES[place // 4]
        for number in range(len(sample.facts["points"])):
            value = float((place + number) % 3 > 0) if place else None
            found.append(
                Verdict(
                    image_id=name,
                    question_id=str(number),
                    value=value,
                    status="scored" if place else "unparsed",
                    detail={"reply": "as written"} if number == 0 else {"analysis": "so"},
                )
            )
    return found


def exported(folder: Path) -> Path:
    images = dict.fromkeys(NAMES, folder / "a.png")
    (folder / "results").mkdir()
    for path, content in unigenbench_export_files(SAMPLES, images, verdicts()):
        if isinstance(content, str):
            (folder / path).write_text(content)
        else:
            assert str(path.parent) == "en/alphabench"
    return folder / "results"


def test_what_is_exported_has_the_same_scores_when_it_is_read_again(tmp_path: Path) -> None:
    results = exported(tmp_path)
    report = summarise_unigenbench_results(results)
    own = BENCHMARK.summarise(SAMPLES, verdicts(), evaluator="judge", all_samples=SAMPLES)
    assert {name: one.value for name, one in report.groups.items()} == {
        name: one.value for name, one in own.groups.items()
    }
    assert report.statuses == own.statuses
    assert report.extras["pooled"].value == own.extras["pooled"].value
    assert (report.partial, report.headline.value) == (True, None)  # mini lacks four dimensions
    assert "4 of 10 dimensions" in report.withheld
    shares = json.loads((results / "alphabench_en.json").read_text())
    colour, ours = shares["sub_dimensions"]["Attribute - Color"], own.groups["Attribute - Color"]
    assert colour["accuracy"] == round(ours.value or 0.0, 4)
    assert (colour["total"], ours.n_scored) == (ours.n_scored, colour["total"])
    assert "Attribute " in shares["primary_dimensions"]
    text = unigenbench_results_text(report)
    assert f"Attribute - Color: {colour['correct']}/{colour['total']} = " in text
    assert "mean of 10" not in text


def table(folder: Path, **cells: str) -> Path:
    """A table of one row."""
    row = {
        "index": "0", "prompt": "p", "testpoint": "['Style', 'Grammar - Negation']",
        "output": "", "result_json": '{"score": [1, 0]}', "img_path": "0_0.png", **cells,
    }  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row))
    writer.writeheader()
    writer.writerow(row)
    (folder / "m_en.csv").write_text(text.getvalue())
    return folder / "m_en.csv"


@pytest.mark.parametrize(
    ("cells", "style", "grammar"),
    [
        ({}, 1.0, 0.0),
        ({"result_json": "null"}, None, None),
        ({"result_json": "null", "score": "[0, 1]"}, 0.0, 1.0),
        ({"result_json": '{"score": [true, 1]}'}, None, None),
        ({"result_json": '{"score": [1]}'}, 1.0, None),
        ({"result_json": '{"score": [1, 0, 1]}'}, 1.0, 0.0),
        ({"result_json": '{"score": "10"}'}, None, None),
        ({"result_json": '{"score": "10"}', "score": "[1, 1]"}, 1.0, 1.0),
        ({"result_json": '{"score": ["1", 1.0]}'}, 0.0, 1.0),
    ],
)
def test_rows_are_read_and_skipped_as_upstream_does(
    tmp_path: Path, cells: dict[str, str], style: float | None, grammar: float | None
) -> None:
    report = summarise_unigenbench_results(table(tmp_path, **cells))
    found = {name: one.value for name, one in report.groups.items()}
    assert found == {"Style": style, "Grammar": grammar, "Grammar - Negation": grammar}
    assert sum(report.statuses.values()) == 2


def test_what_is_no_table_of_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="holds 0 tables"):
        summarise_unigenbench_results(tmp_path)
    path = tmp_path / "a.csv"
    for text in ("", "a,b\n1,2\n", "testpoint,prompt\n[],x\n", '"'):
        path.write_text(text)
        with pytest.raises(AlphaBenchError):
            summarise_unigenbench_results(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AlphaBenchError, match="cannot be read"):
        summarise_unigenbench_results(path)


def test_the_row_that_upstream_cannot_read_is_named_in_published_results(tmp_path: Path) -> None:
    report = OFFICIAL_EN_LONG.summarise(table(tmp_path), NOWHERE)
    assert report.split == "en-long"
    assert "row 509 of 600 is left out" in report.notes[0]
    assert summarise_unigenbench_results(table(tmp_path), "zh").notes == ()


def test_images_lie_as_upstream_names_them(tmp_path: Path) -> None:
    for name in ("0_0.png", "0_3.png", "23_1.png", "a_1.png", "5.png"):
        noise(tmp_path / name)
    found = LAYOUT.find(tmp_path, FolderOptions())
    assert {key: sorted(of) for key, of in found.items()} == {"0": [0, 3], "23": [1]}
    assert [LAYOUT.key(sample) for sample in SAMPLES[:2]] == ["0", "1"]
