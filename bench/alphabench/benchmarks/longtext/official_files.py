"""LongText-Bench's published files, read and written as upstream's scripts at 2b8237b do.

0000_1.png        the images: the prompt's id, and the number of the image from 1
results.jsonl     a row for each image: its transcription, and the text that should be there;
                  summary_scores.py adds counts to the rows and replaces the file
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

from alphabench.benchmarks.judged import rows_of_lines
from alphabench.benchmarks.longtext.benchmark import (
    FILES,
    N_PROMPTS,
    PIN,
    open_longtext,
    unit_of,
)
from alphabench.benchmarks.longtext.scoring import IMAGES, ReadImage, longtext_report
from alphabench.benchmarks.reporting import published_scope
from alphabench.benchmarks.text_accuracy import READ
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_bytes
from alphabench.judges.transcription import Unit, match_texts
from alphabench.types import Report, Sample, Verdict
from alphabench.upstream import UpstreamData
from alphabench.upstream.formats import HINT, OfficialFormat
from alphabench.upstream.layouts import (
    FolderOptions,
    Layout,
    Listing,
    id_with_fact,
    is_image_file,
    listing_of,
)

RESULTS_FILE: Final = "results.jsonl"
_IMAGE: Final = re.compile(r"(?P<prompt>\d{4})(?:_(?P<number>\d+))?")
_COUNTS: Final = ("match_word_count", "gt_word_count")


def summarise_longtext_results(path: Path, samples: Sequence[Sample], split: str) -> Report:
    """What upstream's script computes from a file of transcriptions, before or after it did.

    Args:
        path: the file, or a folder with `results.jsonl`.
        samples: the prompts, for groups; without them the report has the score alone.
        split: the language.

    Raises:
        AlphaBenchError: no such file, a row of another form, or no text at all to be read.
    """
    file = path / RESULTS_FILE if path.is_dir() else path
    try:
        content = read_bytes(file)
        rows = rows_of_lines(content, _is_row, where=str(file))
    except (UnreadableFileError, UnicodeDecodeError) as error:
        raise AlphaBenchError(f"{str(file)!r} cannot be read: {error}", hint=HINT) from error
    known = {sample.id: sample for sample in samples}
    images = [_read_row(row, known, unit_of(split)) for row in rows]
    if not all(image.expected for image in images):
        raise AlphaBenchError(
            f"{str(file)!r} has a row whose text has no {unit_of(split)} to count",
            hint="name the split of its language, longtext:en or longtext:zh",
        )
    scope = published_scope(
        "longtext",
        split,
        len(images),
        len(images),
        split=split,
        has_all_samples=len(images) >= N_PROMPTS * IMAGES,
    )
    return longtext_report(images, scope)


def longtext_results_text(report: Report) -> str:
    """The line that upstream prints."""
    return f"Text Score: {report.headline.value:.4f}" if report.headline.value is not None else ""


def longtext_export_files(
    samples: Sequence[Sample], images: Mapping[str, Path], verdicts: Sequence[Verdict]
) -> Iterator[tuple[PurePosixPath, str | Path]]:
    """The images as upstream names them, and its rows about those that were read."""
    facts = {sample.id: sample.facts for sample in samples}
    names: dict[str, str] = {}
    for name, path in images.items():
        sample_id, _, index = name.rpartition("/")
        names[name] = f"{sample_id}_{int(index) + 1}.png"
        yield PurePosixPath(names[name]), path
    rows = [
        {
            "image": names[one.image_id],
            "prompt": facts[sample_id]["prompt"],
            "ocr_gt": facts[sample_id]["text"],
            "ocr_results": one.detail[READ],
        }
        for one in verdicts
        for sample_id in [one.image_id.rpartition("/")[0]]
        if one.status == "scored" and one.image_id in names and READ in one.detail
    ]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    yield PurePosixPath(RESULTS_FILE), text


def _is_row(row: Any) -> bool:
    """False, KeyError or TypeError for anything else."""
    texts = [row["image"], row["ocr_results"]]
    if not all(isinstance(text, str) for text in texts):
        return False
    if all(key in row for key in _COUNTS):
        matched, expected = (row[key] for key in _COUNTS)
        return type(matched) is int and type(expected) is int and 0 <= matched <= expected
    pieces = row["ocr_gt"]
    return isinstance(pieces, list) and all(isinstance(piece, str) for piece in pieces)


def _read_row(row: Mapping[str, Any], known: Mapping[str, Sample], unit: Unit) -> ReadImage:
    match = _IMAGE.fullmatch(PurePosixPath(row["image"]).stem)
    name = match["prompt"] if match else row["image"]
    if all(key in row for key in _COUNTS):
        matched, expected = (row[key] for key in _COUNTS)
    else:
        matched, expected, _ = match_texts(row["ocr_results"], " ".join(row["ocr_gt"]), unit)
    sample = known.get(name)
    return ReadImage(
        sample_id=name,
        category=sample.group if sample else "all",
        length=sample.facts["length"] if sample else "",
        expected=expected,
        matched=matched,
    )


def _summarise(path: Path, data: UpstreamData, *, split: str) -> Report:
    """With groups where the prompts are on this machine."""
    is_here = split not in FILES or data.path_of(PIN, FILES[split]).exists()
    samples = open_longtext(split, data=data).samples() if is_here else []
    return summarise_longtext_results(path, samples, split)


def _find_images(root: Path, _: FolderOptions) -> Listing:
    """`0000_1.png`, with numbers from 1; a file without a number is the first image.

    A folder with a number 0 is the flat layout.
    """
    files = (path for path in sorted(root.iterdir()) if is_image_file(path))
    found = [(path, match) for path in files if (match := _IMAGE.fullmatch(path.stem))]
    numbered = [(one["prompt"], int(one["number"] or 1), path) for path, one in found]
    if any(number < 1 for _, number, _ in numbered):
        return {}
    return listing_of(root, ((prompt, number - 1, path) for prompt, number, path in numbered))


def _format(split: str) -> OfficialFormat:
    read = partial(_summarise, split=split)
    return OfficialFormat(summarise=read, text=longtext_results_text, files=longtext_export_files)


OFFICIAL: Final = _format("en")
OFFICIAL_ZH: Final = _format("zh")
OFFICIAL_MINI: Final = _format("mini")
LAYOUT: Final = Layout(form="DIR/0000_1.png", find=_find_images, key=id_with_fact("text_length"))
