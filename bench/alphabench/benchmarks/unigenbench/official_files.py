"""UniGenBench++'s published files, read and written as upstream's script at 49d0bce does.

0_0.png                 the images: index of the prompt, number
MODEL_en.csv            a row for each image, with the judge's scores
MODEL_en.json           shares by dimension and sub-dimension
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

from alphabench.benchmarks.reporting import published_scope, scored_counts
from alphabench.benchmarks.unigenbench import benchmark
from alphabench.benchmarks.unigenbench.scoring import (
    IMAGES,
    JudgedImage,
    point_clusters,
    unigenbench_report,
)
from alphabench.judges.score_tags import UNREADABLE, is_met, literal, literal_parts
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
    images = [image for row in rows if (image := _judged(row)) is not None]
    n_wanted = IMAGES * (benchmark.ROWS - len(benchmark.BROKEN_ROWS.get(split, ())))
    scope = published_scope(
        "unigenbench",
        table.stem,
        *scored_counts(met for image in images for met in image.met),
        split=split,
        has_all_samples=len(images) >= n_wanted,
    )
    needed = DIMENSIONS[split[:2]]
    return unigenbench_report(images, scope, needed=needed, notes=benchmark.left_out_notes(split))


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
    by_id = {sample.id: sample for sample in samples}
    details = {(one.image_id, one.question_id): one.detail for one in verdicts}
    judged = {
        name: image
        for name, image in benchmark.judged_images(samples, verdicts).items()
        if name in images
    }
    rows = []
    for name, image in judged.items():
        sample = by_id[image.sample_id]
        of_points = [details.get((name, point), {}) for point in benchmark.point_ids(sample)]
        rows.append({**_row(sample, image, of_points), "img_path": files[name]})
    results = PurePosixPath("results")
    yield results / f"{model}_{tag}.csv", csv_text(_COLUMNS, rows)
    complete = [image for image in judged.values() if None not in image.met]
    shares = {
        "primary_dimensions": _shares(complete, lambda point: point.partition("-")[0]),
        "sub_dimensions": _shares(complete, str),
    }
    text = json.dumps(shares, ensure_ascii=False, indent=4)
    yield results / f"{model}_{tag}.json", text


def _row(
    sample: Sample, image: JudgedImage, details: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Upstream stores all of an image's scores or none, so unknown ones make it none."""
    points, result = list(image.points), None
    if None not in image.met:
        result = {
            "prompt": sample.facts["prompt"],
            "testpoint": points,
            "analysis": [str(one.get("analysis", one.get("reply", ""))) for one in details],
            "score": [int(met or 0) for met in image.met],
        }
    return {
        "index": sample.id,
        "prompt": sample.facts["prompt"],
        "testpoint": str(points),
        "output": str(details[0].get("reply", "")),
        "result_json": json.dumps(result, ensure_ascii=False, indent=4),
    }


def _shares(
    images: Sequence[JudgedImage], name_of: Callable[[str], str]
) -> dict[str, dict[str, float]]:
    """Of the images that upstream would not skip; it keeps the blank after a dimension's name."""
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for cluster in point_clusters(images, name_of):
        right[cluster.group] += int(cluster.total)
        total[cluster.group] += cluster.n_scored
    return {
        name: {"correct": right[name], "total": n, "accuracy": round(right[name] / n, 4)}
        for name, n in total.items()
    }


def _judged(row: Mapping[str, str]) -> JudgedImage | None:
    """The image of a row; None where not even its test points can be read, as upstream skips it."""
    points = tuple(literal_parts(row["testpoint"]))
    if not points or not all(isinstance(point, str) for point in points):
        return None
    scores = _scores(row)[: len(points)]
    met = (*(float(is_met(one)) for one in scores), *[None] * (len(points) - len(scores)))
    name = row.get("index") or row.get("prompt") or ""
    return JudgedImage(sample_id=name, points=points, met=met)


def _scores(row: Mapping[str, str]) -> list[Any]:
    """The scores that upstream reads; none where it skips the row."""
    scores = None
    if row["result_json"] not in ABSENT:
        try:
            scores = literal(row["result_json"])["score"]
        except (*UNREADABLE, KeyError):
            return []
    return scores if isinstance(scores, list) else literal_parts(row.get("score", ""))


def _format_of(split: str) -> OfficialFormat:
    return OfficialFormat(
        summarise=lambda path, _data: summarise_unigenbench_results(path, split),
        text=unigenbench_results_text,
        files=partial(unigenbench_export_files, split=split),
    )


OFFICIAL: Final = _format_of("en")
OFFICIAL_ZH: Final = _format_of("zh")
OFFICIAL_EN_LONG: Final = _format_of("en-long")
OFFICIAL_ZH_LONG: Final = _format_of("zh-long")
LAYOUT: Final = Layout(
    form="DIR/0_0.png",
    find=find_named(re.compile(r"(?P<key>\d+)_(?P<number>\d+)")),
    key=id_with_fact("points"),
)
"""Index of the prompt and number of the image, in the folder of a model."""
