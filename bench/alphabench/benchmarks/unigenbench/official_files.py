"""UniGenBench++'s published files, read and written as upstream's script at 49d0bce does.

0_0.png                 the images: index of the prompt, number
MODEL_en.csv            a row for each image, with the judge's scores
MODEL_en.json           shares by dimension and sub-dimension
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

from alphabench.benchmarks.reporting import published_scope
from alphabench.benchmarks.unigenbench.benchmark import (
    BROKEN_ROWS,
    ROWS,
    judged_images,
    left_out_notes,
)
from alphabench.benchmarks.unigenbench.scoring import (
    IMAGES,
    JudgedImage,
    unigenbench_report,
)
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.score_tags import is_met, literal
from alphabench.types import Report, Sample, Verdict, image_id
from alphabench.upstream.csv_tables import ABSENT, read_csv_rows
from alphabench.upstream.formats import OfficialFormat
from alphabench.upstream.layouts import FolderOptions, Layout, Listing, is_image_file, listing_of

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
_IMAGE: Final = re.compile(r"(\d+)_(\d+)")


def summarise_unigenbench_results(path: Path, split: str = "en") -> Report:
    """What upstream's script computes from its table of scores, or from the one in a folder.

    A row that it skips has no verdict on any of its test points; one score too few, none on that.

    Raises:
        AlphaBenchError: no table, several, or a file that is none.
    """
    tables = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if len(tables) != 1:
        raise AlphaBenchError(
            f"{str(path)!r} holds {len(tables)} tables of scores", hint="name one: MODEL_en.csv"
        )
    rows = read_csv_rows(tables[0], ("testpoint", "result_json"), where=str(tables[0]))
    images = [image for row in rows if (image := _judged(row)) is not None]
    answers = [met for image in images for met in image.met]
    n_scored = sum(met is not None for met in answers)
    scope = published_scope("unigenbench", tables[0].stem, n_scored, len(answers))
    wanted = IMAGES * (ROWS - len(BROKEN_ROWS.get(split, ())))
    scope = replace(scope, split=split, has_all_samples=len(images) >= wanted)
    needed = DIMENSIONS[split[:2]]
    return unigenbench_report(images, scope, needed=needed, notes=left_out_notes(split))


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
    folder = PurePosixPath(tag) / model
    for name, path in images.items():
        yield folder / f"{name.replace('/', '_')}.png", path
    stored = {(verdict.image_id, verdict.question_id): verdict for verdict in verdicts}
    text, kept = io.StringIO(newline=""), []
    table = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    table.writeheader()
    for place, image in enumerate(judged_images(samples, verdicts)):
        sample, number = samples[place // IMAGES], place % IMAGES
        name = image_id(sample.id, number)
        if name in images:
            known = [stored.get((name, str(index))) for index in range(len(image.points))]
            row = _row(sample, image, [{} if one is None else one.detail for one in known])
            table.writerow({**row, "img_path": f"{folder}/{sample.id}_{number}.png"})
            kept.append(image)
    results = PurePosixPath("results")
    yield results / f"{model}_{tag}.csv", text.getvalue()
    shares = json.dumps(_shares(kept), ensure_ascii=False, indent=4)
    yield results / f"{model}_{tag}.json", shares


def _row(
    sample: Sample, image: JudgedImage, details: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Upstream stores all of an image's scores or none, so unknown ones make it none."""
    points = list(image.points)
    result = {
        "prompt": sample.facts["prompt"],
        "testpoint": points,
        "analysis": [str(one.get("analysis", one.get("reply", ""))) for one in details],
        "score": [None if met is None else int(met) for met in image.met],
    }
    is_complete = None not in image.met
    return {
        "index": sample.id,
        "prompt": sample.facts["prompt"],
        "testpoint": str(points),
        "output": str(details[0].get("reply", "")),
        "result_json": json.dumps(result if is_complete else None, ensure_ascii=False, indent=4),
    }


def _shares(images: Sequence[JudgedImage]) -> dict[str, dict[str, dict[str, float]]]:
    """Of the images that upstream would not skip; it keeps the blank behind a dimension's name."""
    counts: dict[str, dict[str, list[int]]] = {"primary_dimensions": {}, "sub_dimensions": {}}
    for image in images:
        for point, met in zip(image.points, image.met, strict=True):
            names = zip(counts.values(), (point.partition("-")[0], point), strict=True)
            for table, name in names if None not in image.met else ():
                count = table.setdefault(name, [0, 0])
                count[0] += int(met or 0)
                count[1] += 1
    return {
        kind: {
            name: {"correct": right, "total": of, "accuracy": round(right / of, 4)}
            for name, (right, of) in table.items()
        }
        for kind, table in counts.items()
    }


def _judged(row: Mapping[str, str]) -> JudgedImage | None:
    """The image of a row; None where not even its test points can be read, as upstream skips it."""
    try:
        points = tuple(literal(row["testpoint"]))
        if not points or not all(isinstance(point, str) for point in points):
            return None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    scores = _scores(row)[: len(points)]
    met = (*(float(is_met(one)) for one in scores), *[None] * (len(points) - len(scores)))
    return JudgedImage(sample_id=_index(row), points=points, met=met)


def _scores(row: Mapping[str, str]) -> list[Any]:
    """The scores that upstream reads; none where it skips the row."""
    try:
        stored = row["result_json"]
        if stored in ABSENT:
            return list(literal(row["score"]))
        scores = literal(stored)["score"]
        return scores if isinstance(scores, list) else list(literal(row["score"]))
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        return []


def _index(row: Mapping[str, str]) -> str:
    """The prompt that an image is of, for intervals: its index, else its text."""
    return row.get("index") or row.get("prompt") or ""


def _find_images(root: Path, _: FolderOptions) -> Listing:
    """`0_0.png`: index of the prompt and number of the image, below a model's folder or not."""
    files = [path for path in sorted(root.iterdir()) if is_image_file(path)]
    found = ((_IMAGE.fullmatch(path.stem), path) for path in files)
    return listing_of(root, ((match[1], int(match[2]), path) for match, path in found if match))


def _key(sample: Sample) -> str:
    """The prompt's index; KeyError for a sample of another benchmark."""
    return sample.id if sample.facts["points"] else ""


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
LAYOUT: Final = Layout(form="DIR/0_0.png", find=_find_images, key=_key)
