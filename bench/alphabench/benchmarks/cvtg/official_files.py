"""CVTG-2K's published files, read and written as upstream's unified_metrics_eval.py does.

CVTG/2/17.png        the images: kind of prompts, regions of text, index
CVTG_results.json    scores of all images and of each of the eight parts, with the similarities of
                     all words. It does not say which image a word is of. A metric whose library is
                     not installed is 0.0 in it; AlphaBench writes null for what it did not measure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks.cvtg.benchmark import N_PROMPTS, read_images
from alphabench.benchmarks.cvtg.questions import failed_samples, upstream_key
from alphabench.benchmarks.cvtg.scoring import AREAS, KINDS, NED, ReadImage
from alphabench.benchmarks.reporting import build_report, published_scope, scored_share
from alphabench.core.errors import AlphaBenchError
from alphabench.statistics import Cluster
from alphabench.types import Estimate, Report, Sample, Verdict
from alphabench.upstream.formats import HINT, OfficialFormat, read_json_object
from alphabench.upstream.layouts import FolderOptions, Layout, Listing, is_image_file, listing_of

RESULTS_FILE: Final = "CVTG_results.json"
UNREAD: Final = "unread_images"
"""A key of our own: images on which OCR failed, whose words count as wrong in upstream's scores."""
MEANS: Final[Mapping[str, tuple[str, float]]] = {
    "clipscore": ("CLIPScore", 2.5),
    "vqascore": ("VQAScore", 1.0),
    "aesthetic_score": ("Aesthetic Score", 10.0),
}
"""Key -> upstream's name of a mean over images, and the upper end of its scale."""


def summarise_cvtg_results(path: Path) -> Report:
    """The scores that upstream's script stored; failures of OCR are wrong words in them.

    Args:
        path: the file, or a folder with `CVTG_results.json`.

    Raises:
        AlphaBenchError: no such file, or one of another form.
    """
    file = path / RESULTS_FILE if path.is_dir() else path
    tree = read_json_object(file, hint=f"name upstream's {RESULTS_FILE}, or its folder")
    try:
        parts = {f"{row['benchmark_type']}-{row['area']}": row for row in tree["area_results"]}
        for row in parts.values():
            _check_part(row)
        if not parts or len(parts) < len(tree["area_results"]):
            raise ValueError("no part at all, or one twice")
    except (KeyError, TypeError, ValueError) as error:
        raise AlphaBenchError(
            f"{str(file)!r} is no result of CVTG-2K ({type(error).__name__}: {error})", hint=HINT
        ) from error
    n_images = sum(row["total_images"] for row in parts.values())
    n_read = n_images - sum(row.get(UNREAD, 0) for row in parts.values())
    # Which of the words are right is not stored, only how many.
    right = {k: [n < p["correct_words"] for n in range(p["total_words"])] for k, p in parts.items()}
    words = _clusters(right)
    similar = _clusters({name: part["ned_word_data"] for name, part in parts.items()})
    means = {name: _mean(parts.values(), key, highest) for key, (name, highest) in MEANS.items()}
    measured = {name: one for name, one in means.items() if one.value is not None}
    notes = ["intervals take words as independent: the file does not say which image one is of"]
    if unmeasured := ", ".join(name for name in means if name not in measured):
        notes.append(f"not measured: {unmeasured} (0 in every part)")
    if n_read < n_images:
        notes.append(f"images that could not be read, whose words are wrong: {n_images - n_read}")
    is_whole = n_images >= N_PROMPTS
    return build_report(
        published_scope("cvtg", RESULTS_FILE, n_read, n_images, has_all_samples=is_whole),
        statistics.estimate(words, statistics.pooled(words)),
        statistics.group_estimates(words),
        coverage=scored_share(n_read, n_images),
        bounds=None,
        extras={NED: statistics.estimate(similar, statistics.pooled(similar)), **measured},
        withheld="" if words else "the script counted no words, as without PaddleOCR",
        notes=tuple(notes),
    )


def cvtg_results_text(report: Report) -> str:
    """The lines that upstream prints about all parts."""
    names = (NED, *(name for name, _ in MEANS.values()))
    shown = {"Word Accuracy": report.headline, **{name: report.extras.get(name) for name in names}}
    values = {name: None if one is None else one.value for name, one in shown.items()}
    lines = [
        f"{name}: {'not measured' if value is None else f'{value:.4f}'}"
        for name, value in values.items()
    ]
    return "\n".join(["=== Overall Results ===", *lines])


def cvtg_export_files(
    samples: Sequence[Sample], images: Mapping[str, Path], verdicts: Sequence[Verdict]
) -> Iterator[tuple[PurePosixPath, str | Path]]:
    """The images as upstream names them, and its results where their text was read.

    The words of an image on which OCR failed are wrong, as in upstream's file; it is counted.
    """
    keys = {sample.id: upstream_key(sample) for sample in samples}
    for name, path in images.items():
        yield PurePosixPath(f"{keys[name.rpartition('/')[0]]}.png"), path
    failed = failed_samples(verdicts)
    known = [
        one
        for one in read_images(samples, verdicts)
        if one.similarities is not None or one.sample_id in failed
    ]
    areas = []
    for kind, area in ((kind, area) for kind in KINDS for area in AREAS):
        if part := [one for one in known if one.part == f"{kind}-{area}"]:
            words = {"ned_word_data": [value for one in part for value in _similarities(one)]}
            areas.append({"area": area, "benchmark_type": kind, **_results(part), **words})
    if areas:
        tree = {"overall_results": _results(known), "area_results": areas}
        yield PurePosixPath(RESULTS_FILE), json.dumps(tree, indent=2)


def _results(images: Sequence[ReadImage]) -> dict[str, Any]:
    words = [value for one in images for value in _similarities(one)]
    n_correct = sum(one.correct or 0 for one in images)
    return {
        "word_accuracy": n_correct / max(len(words), 1),
        "ned": math.fsum(words) / max(len(words), 1),
        **dict.fromkeys(MEANS),
        "total_images": len(images),
        "total_words": len(words),
        "correct_words": n_correct,
        UNREAD: sum(one.correct is None for one in images),
    }


def _similarities(image: ReadImage) -> Sequence[float]:
    return [0.0] * image.expected if image.similarities is None else image.similarities


def _check_part(row: Mapping[str, Any]) -> None:
    """KeyError, TypeError or ValueError for anything but the results of one part."""
    if row["benchmark_type"] not in KINDS or row["area"] not in AREAS:
        raise ValueError(f"no part {row['benchmark_type']!r} with {row['area']!r} regions")
    total, correct, images = (row[k] for k in ("total_words", "correct_words", "total_images"))
    counts = (total, correct, images, row.get(UNREAD, 0))
    numbers = [*row["ned_word_data"], *(row[key] for key in MEANS if row[key] is not None)]
    if any(type(count) is not int or count < 0 for count in counts):
        raise TypeError(f"{counts} are no counts")
    if any(type(one) not in (int, float) or not math.isfinite(one) for one in numbers):
        raise TypeError("a score that is no number")
    if len(row["ned_word_data"]) != total or correct > total or counts[-1] > images:
        raise ValueError(f"{correct} of {total} words, {len(row['ned_word_data'])} similarities")


def _clusters(words: Mapping[str, Iterable[float]]) -> list[Cluster]:
    """A cluster for each word, from the values of the words of each part."""
    return [
        statistics.cluster_of(f"{part}/{place}", [value], group=part)
        for part, values in words.items()
        for place, value in enumerate(values)
    ]


def _mean(parts: Iterable[Mapping[str, Any]], key: str, highest: float) -> Estimate:
    """Weighted by images; no value where every part has 0 or none. Its spread is not stored."""
    known = [row for row in parts if row[key] is not None]
    n = sum(row["total_images"] for row in known)
    if not any(row[key] for row in known):
        return Estimate(value=None, low=None, high=None, n_samples=0, n_scored=0, n_expected=n)
    value = sum(row[key] * row["total_images"] for row in known) / n
    low, high = min(0.0, value), max(highest, value)
    return Estimate(value=value, low=low, high=high, n_samples=n, n_scored=n, n_expected=n)


def _find_images(root: Path, _: FolderOptions) -> Listing:
    """`CVTG/2/17.png`."""
    paths = [path for kind in KINDS for path in sorted((root / kind).glob("[2345]/*"))]
    images = [path for path in paths if is_image_file(path)]
    keys = (path.relative_to(root).with_suffix("").as_posix() for path in images)
    return listing_of(root, ((key, 0, path) for key, path in zip(keys, images, strict=True)))


OFFICIAL: Final = OfficialFormat(
    summarise=lambda path, _data: summarise_cvtg_results(path),
    text=cvtg_results_text,
    files=cvtg_export_files,
)
LAYOUT: Final = Layout(form="DIR/CVTG/2/17.png", find=_find_images, key=upstream_key)
