"""T2I-CoReBench's published files, read and written as upstream's script at ebf7b7a does.

C-MI/C-MI-001-0.png     the images: dimension, prompt, number
C-MI-JUDGE.json         image -> its prompt's entry with scores; and `mean_score`
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from alphabench.benchmarks.answered_images import AnsweredImage, answer_counts
from alphabench.benchmarks.corebench.benchmark import dimension_of, judged_images
from alphabench.benchmarks.corebench.scoring import (
    DIMENSIONS,
    IMAGES,
    N_IMAGES,
    corebench_report,
)
from alphabench.benchmarks.reporting import published_scope
from alphabench.core.errors import AlphaBenchError
from alphabench.types import Report, Sample, Verdict, image_id
from alphabench.upstream.formats import HINT, OfficialFormat, read_official_json, values_text
from alphabench.upstream.layouts import (
    FolderOptions,
    Layout,
    Listing,
    id_with_fact,
    is_image_file,
    listing_of,
)

_FILE: Final = re.compile(r"(?P<dimension>[CR]-[A-Z]{2})-(?P<judge>.+)\.json")
_JUDGE: Final = "AlphaBench"  # upstream puts its judge's name there


def summarise_corebench_results(path: Path) -> Report:
    """What upstream's script computes from the scores in a result file, or in a folder's files.

    A score that is neither 0 nor 1 is left out, as is an image without any.

    Raises:
        AlphaBenchError: nothing to read, files of several judges, or a file of another form.
    """
    files = [path]
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if _FILE.fullmatch(file.name)]
    judges = sorted(
        {match["judge"] if (match := _FILE.fullmatch(file.name)) else "" for file in files}
    )
    if len(judges) != 1:
        raise AlphaBenchError(
            f"{str(path)!r} holds results of {len(judges)} judges: {', '.join(judges)}",
            hint="name a folder with the files of one judge, C-MI-JUDGE.json and so on",
        )
    images = [image for file in files for image in _images(file)]
    scope = published_scope(
        "corebench",
        judges[0],
        *answer_counts(images),
        has_all_samples=len(images) >= N_IMAGES,
    )
    return corebench_report(images, scope)


def corebench_results_text(report: Report) -> str:
    """The mean score of each dimension, as upstream stores it, and the means over dimensions."""
    scores = {f"{name} mean_score": group for name, group in report.groups.items()}
    scores |= {"mean of 12 dimensions": report.headline, **report.extras}
    return values_text(scores)


def corebench_export_files(
    samples: Sequence[Sample], images: Mapping[str, Path], verdicts: Sequence[Verdict]
) -> Iterator[tuple[PurePosixPath, str | Path]]:
    """The images as upstream names them, and a result file for each dimension."""
    for name, path in images.items():
        sample_id, _, index = name.rpartition("/")
        yield PurePosixPath(dimension_of(sample_id)) / f"{sample_id}-{index}.png", path
    judged = judged_images(samples, verdicts)
    for dimension in dict.fromkeys(sample.group for sample in samples):
        stored: dict[str, Any] = {
            f"{sample.id}-{number}": _entry(sample, judged[name])
            for sample in samples
            for number in range(IMAGES)
            if sample.group == dimension and (name := image_id(sample.id, number)) in images
        }
        scores = [entry["image_score"] for entry in stored.values() if entry["image_score"] != ""]
        stored["mean_score"] = sum(scores) / len(scores) if scores else ""
        text = json.dumps(stored, ensure_ascii=False, indent=2)
        yield PurePosixPath(f"{dimension}-{_JUDGE}.json"), text


def _entry(sample: Sample, image: AnsweredImage) -> dict[str, Any]:
    known = ("Main Class", "Sub Class", "Prompt", "Checklist", "Remark")
    entry = {key: sample.facts[key] for key in known if key in sample.facts}
    scored = zip(entry["Checklist"], image.answers, strict=True)
    entry["Checklist"] = [
        {**item, "score": "" if value is None else int(value)} for item, value in scored
    ]
    return {**entry, "image_score": "" if (score := image.score()) is None else score}


def _images(file: Path) -> Iterator[AnsweredImage]:
    rows = read_official_json(file)
    try:
        for name, entry in rows.items():
            if name == "mean_score":
                continue
            scores = [item.get("score") for item in entry["Checklist"]]
            yield AnsweredImage(
                sample_id="-".join(name.split("-")[:3]),
                group=_known_dimension(name),
                answers=tuple(float(one) if one in (0, 1) else None for one in scores),
            )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AlphaBenchError(
            f"{str(file)!r} is no result of T2I-CoReBench ({type(error).__name__}: {error})",
            hint=HINT,
        ) from error


def _known_dimension(name: str) -> str:
    if (dimension := dimension_of(name)) not in DIMENSIONS:
        raise ValueError(f"{name!r} is no image of its 12 dimensions")
    return dimension


def _find_images(root: Path, _: FolderOptions) -> Listing:
    """`C-MI/C-MI-001-0.png`, where the last field is the number of the image."""
    folders = [root / dimension for dimension in DIMENSIONS if (root / dimension).is_dir()]
    files = [path for folder in folders for path in sorted(folder.iterdir()) if is_image_file(path)]
    fields = ((*path.stem.rpartition("-")[::2], path) for path in files)
    return listing_of(root, ((key, int(i), path) for key, i, path in fields if i.isdecimal()))


OFFICIAL: Final = OfficialFormat(
    summarise=lambda path, _data: summarise_corebench_results(path),
    text=corebench_results_text,
    files=corebench_export_files,
)
LAYOUT: Final = Layout(
    form="DIR/C-MI/C-MI-001-0.png", find=_find_images, key=id_with_fact("Checklist")
)
