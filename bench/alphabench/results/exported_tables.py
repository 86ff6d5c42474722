"""Runs as two tables in files: a row for each verdict, and a row for each estimate of a report.

A verdict or an estimate without a value has an empty cell (null in Parquet) and says why; it is
never 0. CSV is UTF-8 with Python's quoting, numbers with all their digits. Uploads nothing.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import well_formed
from alphabench.core.writing import replace_file
from alphabench.reports.run_report import stamps
from alphabench.results.run_result import RunResult
from alphabench.runs.store import RunFolder
from alphabench.types import Estimate, Report

TableFormat = Literal["csv", "parquet"]
ColumnKind = Literal["text", "integer", "number", "flag"]
Row = Mapping[str, Any]

_RUN: Final[Mapping[str, ColumnKind]] = {
    "run": "text",
    "name": "text",
    "checkpoint": "text",
    "benchmark": "text",
    "protocol": "text",
    "evaluation": "text",
    "evaluator": "text",
    "judge": "text",
}
VERDICT_COLUMNS: Final[Mapping[str, ColumnKind]] = {
    **_RUN,
    "image_id": "text",
    "sample_id": "text",
    "index": "integer",
    "group": "text",
    "prompt": "text",
    "image_sha256": "text",
    "question_id": "text",
    "value": "number",
    "status": "text",
    "reason": "text",
    "detail": "text",
}
"""`detail` is JSON; `index` counts the images of a sample."""
ESTIMATE_COLUMNS: Final[Mapping[str, ColumnKind]] = {
    **_RUN,
    "kind": "text",
    "metric": "text",
    "value": "number",
    "low": "number",
    "high": "number",
    "n_samples": "integer",
    "n_scored": "integer",
    "n_expected": "integer",
    "coverage": "number",
    "partial": "flag",
    "withheld": "text",
    "images_per_sample": "integer",
    "prompts": "text",
    "seed": "integer",
    "limit": "integer",
    "data_digest": "text",
    "alphabench": "text",
    "remarks": "text",
}
"""`kind` is headline, group or extra; `low` and `high` are the 95% interval; `prompts` says who
wrote them; `alphabench` is the version that made the images."""
_ROWS_AT_ONCE: Final = 10_000


def write_tables(runs: Sequence[RunResult], out: Path, file_format: TableFormat) -> list[Path]:
    """Write `verdicts` and `estimates` of all evaluations of the runs.

    Raises:
        AlphaBenchError: a run was not scored, its benchmark's data is not here, or Parquet is
            asked for and pyarrow is not installed.
    """
    write = _write_csv if file_format == "csv" else _write_parquet
    tables = (
        ("verdicts", VERDICT_COLUMNS, itertools.chain.from_iterable(map(verdict_rows, runs))),
        ("estimates", ESTIMATE_COLUMNS, itertools.chain.from_iterable(map(estimate_rows, runs))),
    )
    return [write(out / f"{name}.{file_format}", columns, rows) for name, columns, rows in tables]


def verdict_rows(run: RunResult) -> Iterator[dict[str, Any]]:
    """A row for each question about each expected image, as `RunResult.to_pandas` has them.

    Raises:
        AlphaBenchError: nothing was scored.
    """
    folder = RunFolder.open(run.folder)
    if not run.evaluations:
        raise _unscored(run)
    images = folder.images()
    about = {name: _about(run, folder, name) for name in run.evaluations}
    for row in run.rows("verdicts"):
        record = images.get(row["image_id"])
        yield {
            **about[row["evaluation"]],
            **row,
            "image_sha256": None if record is None else record.sha256,
            "detail": json.dumps(row["detail"], ensure_ascii=False, sort_keys=True),
        }


def estimate_rows(run: RunResult) -> Iterator[dict[str, Any]]:
    """A row for the headline, each group and each further metric of each evaluation."""
    folder = RunFolder.open(run.folder)
    for name in run.evaluations:
        report = run.select(name).report
        about = {**_about(run, folder, name), **_of_report(folder, name, report)}
        for kind, metric, estimate in _estimates(report):
            yield {
                **about,
                "kind": kind,
                "metric": metric,
                **{key: getattr(estimate, key) for key in _ESTIMATE_FIELDS},
            }


def _unscored(run: RunResult) -> AlphaBenchError:
    return AlphaBenchError(
        f"nothing was scored in {str(run.folder)!r} yet",
        hint=f"`alphabench score {run.folder}` does, or leave it out",
    )


_ESTIMATE_FIELDS: Final = ("value", "low", "high", "n_samples", "n_scored", "n_expected")


def _estimates(report: Report) -> Iterator[tuple[str, str, Estimate]]:
    yield "headline", "score", report.headline
    yield from (("group", name, one) for name, one in report.groups.items())
    yield from (("extra", name, one) for name, one in report.extras.items())


def _about(run: RunResult, folder: RunFolder, evaluation: str) -> dict[str, Any]:
    identity = folder.evaluation_identity(evaluation)
    report = folder.report(evaluation)
    return {
        "run": str(run.folder),
        "name": run.name,
        "checkpoint": run.checkpoint,
        "benchmark": run.benchmark,
        "protocol": identity.get("protocol"),
        "evaluation": evaluation,
        "evaluator": None if report is None else report.evaluator,
        "judge": identity.get("judge.model") or identity.get("judge.kind"),
    }


def _of_report(folder: RunFolder, evaluation: str, report: Report) -> dict[str, Any]:
    manifest = folder.manifest
    packages = manifest.circumstances.get("packages")
    marks = stamps(report, manifest, folder.evaluation_identity(evaluation))
    return {
        "protocol": report.protocol,
        "coverage": report.coverage,
        "partial": report.partial,
        "withheld": report.withheld or None,
        "images_per_sample": int(manifest.pixels["benchmark.images_per_sample"]),
        "prompts": manifest.pixels.get("benchmark.prompt_style"),
        "seed": int(manifest.pixels["seed"]),
        "limit": manifest.limit,
        "data_digest": manifest.pixels["benchmark.data_digest"],
        "alphabench": packages.get("alphabench") if isinstance(packages, dict) else None,
        "remarks": "; ".join(f"{stamp}: {meaning}" for stamp, meaning in marks) or None,
    }


def _write_csv(path: Path, columns: Mapping[str, ColumnKind], rows: Iterable[Row]) -> Path:
    replace_file(path, _csv_parts(columns, rows))
    return path


def _csv_parts(columns: Mapping[str, ColumnKind], rows: Iterable[Row]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for number, row in enumerate(rows, start=1):
        writer.writerow([_csv_cell(row.get(name)) for name in columns])
        if number % _ROWS_AT_ONCE == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _csv_cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _write_parquet(path: Path, columns: Mapping[str, ColumnKind], rows: Iterable[Row]) -> Path:
    """Rows go to a draft in groups; a reader finds the old file or the complete new one."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise AlphaBenchError(
            f"Parquet needs the package pyarrow: {error}",
            hint="pip install -e '.[data]', or take --format csv",
        ) from error
    kinds = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64(), "flag": pa.bool_()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with pq.ParquetWriter(draft, schema) as writer:
            left = iter(rows)
            while group := list(itertools.islice(left, _ROWS_AT_ONCE)):
                cells = [{name: _parquet_cell(row.get(name)) for name in columns} for row in group]
                writer.write_table(pa.Table.from_pylist(cells, schema=schema))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def _parquet_cell(value: Any) -> Any:
    return well_formed(value) if isinstance(value, str) else value
