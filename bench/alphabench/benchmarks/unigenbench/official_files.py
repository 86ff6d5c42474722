"""UniGenBench++'s published files, read and written as upstream's script at 49d0bce does.

0_0.png                 the images: index of the prompt, number
MODEL_en.csv            a row for each image, with the judge's scores
MODEL_en.json           shares by dimension and sub-dimension
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks.judged import ImageValues, index_ids
from alphabench.benchmarks.reporting import published_scope, scored_counts
from alphabench.benchmarks.unigenbench import benchmark, scoring
from alphabench.judges.score_tags import is_met, literal_parts, stored_scores
from alphabench.types import Report, Sample, Verdict
from alphabench.upstream.csv_tables import ABSENT, csv_text, read_csv_rows
from alphabench.upstream.formats import OfficialFormat, file_of
from alphabench.upstream.layouts import Layout, find_named, id_with_fact

DIMENSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": (
        "Style", "World Knowledge", "Attribute", "Action", "Relationship", "Logical Reasoning",
        "Grammar", "Compound", "Entity Layout", "Text Generation",
    ),
    "zh": (
        "\u98ce\u683c", "\u4e16\u754c\u77e5\u8bc6", "\u5c5e\u6027", "\u52a8\u4f5c",
        "\u5173\u7cfb", "\u903b\u8f91\u63a8\u7406", "\u8bed\u6cd5", "\u590d\u5408\u8003\u70b9",
        "\u5b9e\u4f53\u5e03\u5c40", "\u6587\u672c\u751f\u6210",
    ),
}  # fmt: skip
"""In the order of upstream's leaderboards."""
_COLUMNS: Final = ("index", "prompt", "testpoint", "output", "result_json", "img_path")


def summarise_unigenbench_results(path: Path, split: str = "en") -> Report:
    """What upstream's script computes from its table of scores, or from the one in a folder.

    A row that it skips has no verdict on any of its test points; one score too few, none on that.

    Raises:
        AlphaBenchError: no table, several, or a file that is none.
    """
    table = file_of(path, "*.csv", kind="tables of scores", hint="name one: MODEL_en.csv")
    rows = read_csv_rows(table, ("testpoint", "result_json"), where=str(table))
    images = [points for row in rows if (points := _points_of(row))]
    n_wanted = scoring.IMAGES * (benchmark.ROWS - len(benchmark.BROKEN_ROWS.get(split, ())))
    points = [point for image in images for point in image]
    scope = published_scope(
        "unigenbench",
        table.stem,
        *scored_counts(point.met for point in points),
        split=split,
        has_all_samples=len(images) >= n_wanted,
    )
    needed, notes = DIMENSIONS[split[:2]], benchmark.left_out_notes(split)
    return scoring.unigenbench_report(points, scope, needed=needed, notes=notes)


def unigenbench_results_text(report: Report) -> str:
    """The shares by dimension and sub-dimension, as upstream prints them, and the two means."""
    lines = [
        f"{name}: {round(one.value * one.n_scored)}/{one.n_scored} = {one.value:.2%}"
        for name, one in report.groups.items()
        if one.value is not None
    ]
    means = {"mean of 10 dimensions": report.headline, **report.extras}
    lines += [f"{name}: {one.value:.2%}" for name, one in means.items() if one.value is not None]
    return "\n".join(lines)


def unigenbench_export_files(
    samples: Sequence[Sample],
    images: Mapping[str, Path],
    verdicts: Sequence[Verdict],
    *,
    split: str = "en",
) -> Iterator[tuple[PurePosixPath, str | Path]]:
    """The images as upstream names them, its table of scores, and its shares."""
    tag, model = split.replace("-", "_"), "alphabench"
    files = {name: f"{tag}/{model}/{name.replace('/', '_')}.png" for name in images}
    for name, path in images.items():
        yield PurePosixPath(files[name]), path
    details = {(one.image_id, one.question_id): one.detail for one in verdicts}
    judged = [one for one in benchmark.judged_images(samples, verdicts) if one.image_id in images]
    rows = [{**_row(one, details), "img_path": files[one.image_id]} for one in judged]
    results = PurePosixPath("results")
    yield results / f"{model}_{tag}.csv", csv_text(_COLUMNS, rows)
    points = benchmark.judged_points(one for one in judged if None not in one.values)
    shares = {
        "primary_dimensions": _shares(points, lambda point: point.partition("-")[0]),
        "sub_dimensions": _shares(points, str),
    }
    yield results / f"{model}_{tag}.json", json.dumps(shares, ensure_ascii=False, indent=4)


def _row(
    image: ImageValues, details: Mapping[tuple[str, str], Mapping[str, Any]]
) -> dict[str, str]:
    """Upstream stores all of an image's scores or none, so unknown ones make it none."""
    sample, points = image.sample, list(image.sample.facts["points"])
    of_points = [details.get((image.image_id, i), {}) for i in index_ids(points)]
    result = {
        "prompt": sample.prompt,
        "testpoint": points,
        "analysis": [str(one.get("analysis", one.get("reply", ""))) for one in of_points],
        "score": [None if met is None else int(met) for met in image.values],
    }
    stored = None if None in image.values else result
    return {
        "index": sample.id,
        "prompt": sample.prompt,
        "testpoint": str(points),
        "output": str(of_points[0].get("reply", "")),
        "result_json": json.dumps(stored, ensure_ascii=False, indent=4),
    }


def _shares(
    points: Sequence[scoring.JudgedPoint], name_of: Callable[[str], str]
) -> dict[str, dict[str, float]]:
    """Of the images that upstream would not skip; it keeps the blank after a dimension's name."""
    groups = statistics.group_estimates(scoring.point_clusters(points, name_of))
    return {
        name: {
            "correct": round(one.value * one.n_scored),
            "total": one.n_scored,
            "accuracy": round(one.value, 4),
        }
        for name, one in groups.items()
        if one.value is not None
    }


def _points_of(row: Mapping[str, str]) -> list[scoring.JudgedPoint]:
    """Of the image of a row; none where not even they can be read, as upstream skips it."""
    points = literal_parts(row["testpoint"])
    if not all(isinstance(point, str) for point in points):
        return []
    name = row.get("index") or row.get("prompt") or ""
    stored = None if row["result_json"] in ABSENT else stored_scores(row["result_json"])
    scores = literal_parts(row.get("score", "")) if stored is None else stored
    met = [float(is_met(score)) for score in scores[: len(points)]]
    return [scoring.JudgedPoint(name, point, of) for point, of in zip_longest(points, met)]


def _format_of(split: str) -> OfficialFormat:
    return OfficialFormat(
        summarise=lambda path, _data: summarise_unigenbench_results(path, split),
        text=unigenbench_results_text,
        files=partial(unigenbench_export_files, split=split),
    )


OFFICIAL, OFFICIAL_ZH = _format_of("en"), _format_of("zh")
OFFICIAL_EN_LONG, OFFICIAL_ZH_LONG = _format_of("en-long"), _format_of("zh-long")
LAYOUT: Final = Layout(
    form="DIR/0_0.png",
    find=find_named(re.compile(r"(?P<key>\d+)_(?P<number>\d+)")),
    key=id_with_fact("points"),
)
