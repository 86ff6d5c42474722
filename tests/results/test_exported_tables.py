"""Runs as tables in files: the numbers of the report, and no number where nothing was scored."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from alphabench import AlphaBenchError, RunResult, evaluate, load_run
from alphabench.analysis import export_tables
from alphabench.results.exported_tables import ESTIMATE_COLUMNS, VERDICT_COLUMNS
from alphabench.runs.store import RunFolder, StoredVerdict
from alphabench.types import Verdict


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with errors, one image that is gone and one verdict that could not be read."""
    out = tmp_path_factory.mktemp("tables") / "run"
    evaluate("geneval:mini", "scene:?error=0.5", limit=12, out=out, progress=False)
    run = RunFolder.open(out)
    first, second = list(run.images().values())[:2]
    (out / first.path).unlink()
    verdict = Verdict(
        image_id=second.image_id, question_id="correct", value=None, status="unparsed",
        detail={"reason": 'said "maybe",\nthen = nothing: é'},
    )  # fmt: skip
    (evaluation,) = run.evaluations()
    run.append_verdicts(evaluation, [StoredVerdict(image_sha256=second.sha256, verdict=verdict)])
    return out


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_verdict_has_a_row_and_those_without_a_value_have_an_empty_cell(
    folder: Path, tmp_path: Path
) -> None:
    export_tables(folder, tmp_path)
    rows = rows_of(tmp_path / "verdicts.csv")
    assert list(rows[0]) == list(VERDICT_COLUMNS)
    frame = load_run(folder).to_pandas()
    assert len(rows) == len(frame) == 48
    for row, value in zip(rows, frame["value"], strict=True):
        assert (row["value"] == "") == math.isnan(value)
        assert row["value"] == "" or float(row["value"]) == value
    unscored = {row["status"]: row for row in rows if row["value"] == ""}
    assert set(unscored) == {"unparsed", "failed"} or set(unscored) == {"unparsed", "missing"}
    assert unscored["unparsed"]["reason"] == 'said "maybe",\nthen = nothing: é'
    assert all(row["reason"] for row in unscored.values())
    assert json.loads(unscored["unparsed"]["detail"])["reason"].startswith("said")


def test_the_estimates_are_those_of_the_report_with_interval_and_counts(
    folder: Path, tmp_path: Path
) -> None:
    export_tables([folder], tmp_path)
    rows = rows_of(tmp_path / "estimates.csv")
    assert list(rows[0]) == list(ESTIMATE_COLUMNS)
    report = load_run(folder).report
    assert [(row["kind"], row["metric"]) for row in rows] == [
        ("headline", "score"),
        *(("group", name) for name in report.groups),
        *(("extra", name) for name in report.extras),
    ]
    first = rows[0]
    assert float(first["value"]) == report.headline.value
    assert float(first["low"]) == report.headline.low
    assert float(first["high"]) == report.headline.high
    assert first["partial"] == "true"
    assert (first["images_per_sample"], first["prompts"], first["seed"]) == ("4", "original", "0")
    assert "NOT COMPARABLE" in first["remarks"]
    empty = [row for row in rows if row["n_expected"] == "0"]
    assert all(row["value"] == row["low"] == row["high"] == "" for row in empty)


def test_parquet_holds_the_same_rows_with_types(folder: Path, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    export_tables(folder, tmp_path)
    export_tables(folder, tmp_path, file_format="parquet")
    for name, columns in (("verdicts", VERDICT_COLUMNS), ("estimates", ESTIMATE_COLUMNS)):
        table = pq.read_table(tmp_path / f"{name}.parquet")
        assert table.column_names == list(columns)
        kinds = {"text": "string", "integer": "int64", "number": "double", "flag": "bool"}
        assert [str(one.type) for one in table.schema] == [kinds[one] for one in columns.values()]
        plain = rows_of(tmp_path / f"{name}.csv")
        assert [_as_csv(row) for row in table.to_pylist()] == plain
    assert not list(tmp_path.glob(".*tmp"))


def _as_csv(row: dict[str, Any]) -> dict[str, str]:
    def cell(value: Any) -> str:
        if value is None:
            return ""
        return str(value).lower() if isinstance(value, bool) else str(value)

    return {name: cell(value) for name, value in row.items()}


def test_folders_above_runs_and_both_protocols_are_told_apart(tmp_path: Path) -> None:
    for protocol in ("official", "strict"):
        evaluate("geneval:mini", "scene:", limit=2, out=tmp_path / "runs" / "a", protocol=protocol)
    evaluate("geneval:mini", "scene:", limit=2, seed=1, out=tmp_path / "runs" / "b")
    export_tables(tmp_path / "runs", tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "estimates.csv")
    told = {(Path(row["run"]).name, row["protocol"], row["seed"]) for row in rows}
    assert told == {("a", "official", "0"), ("a", "strict", "0"), ("b", "official", "1")}


def test_an_unscored_run_or_an_empty_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="there is no run in"):
        export_tables(tmp_path, tmp_path / "out")
    evaluated: RunResult = evaluate("geneval:mini", "scene:", limit=2, out=tmp_path / "run")
    for name in ("verdicts", "reports", "evaluations"):
        shutil.rmtree(evaluated.folder / name, ignore_errors=True)
    with pytest.raises(AlphaBenchError, match="nothing was scored") as refused:
        export_tables(tmp_path / "run", tmp_path / "out")
    assert "alphabench score" in refused.value.hint
    assert not list((tmp_path / "out").glob("*.csv"))
