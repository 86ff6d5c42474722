"""GenEval's published file formats: the folder of images, and `results.jsonl` with its summary.

Read and written as upstream's scripts at af4902f do, quirks included. Knows neither detectors nor
run folders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from alphabench import statistics
from alphabench.benchmarks.geneval.scoring import IMAGES_PER_PROMPT, share_metrics
from alphabench.benchmarks.reporting import ReportScope, build_report
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, parse_json, read_text
from alphabench.statistics import Cluster
from alphabench.types import Estimate, Report, Sample, Status, Verdict
from alphabench.upstream.formats import OfficialFormat
from alphabench.upstream.layouts import FolderOptions, Layout, Listing

METADATA_FILE: Final = "metadata.jsonl"
RESULTS_FILE: Final = "results.jsonl"
IMAGES: Final = PurePosixPath("images")
"""The folder that upstream's script is pointed at."""
N_PROMPTS: Final = 553
_NEEDED: Final = ("tag", "metadata")
"""What upstream's summary reads beside `correct`."""
_BESIDE: Final = ("filename", "prompt", "reason")
_HINT: Final = "restore the file, or have upstream's evaluation script write it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultLine:
    """What was found in one image."""

    tag: str
    correct: bool | None
    """None where the line states nothing (`null`): upstream averages over the others."""
    metadata: str
    """The prompt's metadata line, as text: upstream's summary takes equal texts for one prompt."""
    filename: str = ""
    """This and what follows is empty where a line lacks it: the summary does not read it."""
    prompt: str = ""
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Category -> [x1, y1, x2, y2, score] of each object that counted."""


def geneval_image_path(sample_id: str, index: int) -> PurePosixPath:
    """`00007/samples/0002.png`: where upstream looks for a prompt's third image."""
    return PurePosixPath(sample_id) / "samples" / f"{index:04}.png"


def geneval_metadata_path(sample_id: str) -> PurePosixPath:
    """`00007/metadata.jsonl`: where upstream looks for what the prompt asks."""
    return PurePosixPath(sample_id) / METADATA_FILE


def geneval_metadata(sample: Sample) -> str:
    """The one line of a sample's metadata file."""
    return json.dumps(dict(sample.facts)) + "\n"


def geneval_result_lines(
    samples: Iterable[Sample], verdicts: Iterable[Verdict], *, root: str = ""
) -> Iterator[str]:
    """The lines of `results.jsonl`, without line ends, by sample and image.

    An image without a scored verdict has no line: the format cannot say that it was not judged.

    Args:
        samples: in the order wanted; verdicts about others are left out.
        verdicts: of GenEval's evaluator, in any order.
        root: what stands before the official path in `filename`.
    """
    by_sample: dict[str, list[tuple[int, Verdict]]] = {}
    for verdict in verdicts:
        if verdict.status == "scored":
            sample_id, _, number = verdict.image_id.rpartition("/")
            by_sample.setdefault(sample_id, []).append((int(number), verdict))
    for sample in samples:
        for index, verdict in sorted(by_sample.get(sample.id, ()), key=lambda pair: pair[0]):
            yield json.dumps(
                {
                    "filename": str(PurePosixPath(root) / geneval_image_path(sample.id, index)),
                    "tag": sample.group,
                    "prompt": sample.prompt,
                    "correct": verdict.value == 1.0,
                    "reason": verdict.detail.get("reason", ""),
                    "metadata": json.dumps(dict(sample.facts)),
                    "details": json.dumps(verdict.detail.get("objects", {})),
                }
            )


def read_geneval_results(path: Path) -> list[ResultLine]:
    """All lines of a `results.jsonl`; empty lines are passed over, as upstream's reader does.

    Lines need what upstream's summary reads: `tag`, `metadata`, and `correct` as true, false, 1, 0
    or null. It would also add up other numbers; here they are refused.

    Raises:
        AlphaBenchError: the file cannot be read, has no line, or a line is not of the format; the
            error names file and line.
    """
    try:
        text = read_text(path)
    except UnreadableFileError as error:
        raise AlphaBenchError(f"{str(path)!r} cannot be read: {error}", hint=_HINT) from error
    lines = [
        _result_line(line, where=f"line {number} of {str(path)!r}")
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]
    if not lines:
        raise AlphaBenchError(f"{str(path)!r} has no results", hint=_HINT)
    return lines


def summarise_geneval_results(path: Path) -> Report:
    """What upstream's summary script finds in a `results.jsonl`, with intervals.

    Upstream's quirks are kept: lines with equal metadata text are one prompt, tasks stand in the
    order in which they first appear, and a task that does not appear is not averaged. The format
    does not say which images were never judged: all that it holds counts as expected, and `partial`
    tells a file without 553 prompts of 4 images. Lines whose `correct` is null are in no mean, and
    a prompt that has no other line is not correct.

    Raises:
        AlphaBenchError: as `read_geneval_results`.
    """
    lines = read_geneval_results(path)
    images = _clusters(lines)
    prompts = _prompts(lines)
    overall = statistics.estimate(images, statistics.mean_of_groups)
    tasks = statistics.group_estimates(images)
    means = [task.value for task in tasks.values() if task.value is not None]
    if means:
        overall = overall.restated(float(np.mean(means)))
    overall, withheld = statistics.over_all_groups(overall, images, tasks, kind="tasks")
    n_scored = sum(line.correct is not None for line in lines)
    complete = len(images) == len(prompts) == N_PROMPTS and all(
        cluster.n_expected == IMAGES_PER_PROMPT for cluster in images
    )
    scope = ReportScope(
        benchmark="geneval",
        split="",
        protocol="official",
        evaluator=RESULTS_FILE,
        statuses=_statuses(n_scored, len(lines)),
        has_all_samples=complete,
    )
    return build_report(
        scope,
        overall,
        tasks,
        coverage=n_scored / len(lines),
        bounds=statistics.bounds(images, statistics.mean_of_groups),
        extras=share_metrics(images, prompts),
        withheld=withheld,
    )


def _statuses(n_scored: int, n_lines: int) -> dict[Status, int]:
    unstated: dict[Status, int] = {"missing": n_lines - n_scored} if n_scored < n_lines else {}
    return {"scored": n_scored, **unstated}


def geneval_results_text(report: Report) -> str:
    """A summary as upstream's script prints it; metrics without a score read `nan`, as there."""
    images, prompts = report.extras["correct_images"], report.extras["correct_prompts"]
    whole = images.n_scored == images.n_expected
    tasks = [
        f"{tag:<16} = {_figure(task.value):.2%} ({_sum(task, whole=whole)} / {task.n_expected})"
        for tag, task in report.groups.items()
    ]
    return "\n".join(
        [
            "Summary",
            "=======",
            f"Total images: {images.n_expected}",
            f"Total prompts: {prompts.n_scored}",
            f"% correct images: {_figure(images.value):.2%}",
            f"% correct prompts: {_figure(prompts.value):.2%}",
            "",
            "Task breakdown",
            "==============",
            *tasks,
            "",
            f"Overall score (avg. over tasks): {_figure(report.headline.value):.5f}",
        ]
    )


def _sum(task: Estimate, *, whole: bool) -> int | float:
    """Correct images; pandas counts in floats once a line of the file states nothing."""
    n_correct = round((task.value or 0) * task.n_scored)
    return n_correct if whole else float(n_correct)


def _figure(value: float | None) -> float:
    return float("nan") if value is None else value


def _result_line(line: str, *, where: str) -> ResultLine:
    fields = _object(line, where=where)
    for key in _NEEDED:
        if not isinstance(fields.get(key), str):
            raise AlphaBenchError(f"{where} has no text {key!r}", hint=_HINT)
    correct = fields.get("correct")
    if correct is not None and not (isinstance(correct, bool | int | float) and correct in (0, 1)):
        raise AlphaBenchError(f"{where} has no true or false 'correct'", hint=_HINT)
    beside = {key: fields[key] for key in _BESIDE if isinstance(fields.get(key), str)}
    return ResultLine(
        tag=fields["tag"],
        metadata=fields["metadata"],
        correct=None if correct is None else bool(correct),
        details=_details(fields.get("details")),
        **beside,
    )


def _details(text: Any) -> Mapping[str, Any]:
    """Empty where there is nothing of upstream's form: no metric rests on it."""
    try:
        found = parse_json(text) if isinstance(text, str) else {}
    except UnreadableFileError:
        return {}
    return found if isinstance(found, dict) else {}


def _object(text: str, *, where: str) -> dict[str, Any]:
    try:
        fields = parse_json(text)
    except UnreadableFileError as error:
        raise AlphaBenchError(f"{where}: not JSON ({error})", hint=_HINT) from error
    if not isinstance(fields, dict):
        raise AlphaBenchError(f"{where}: not a JSON object", hint=_HINT)
    return fields


def _clusters(lines: Iterable[ResultLine]) -> list[Cluster]:
    """The images of each prompt, in order of first appearance."""
    verdicts: dict[tuple[str, str], list[bool | None]] = {}
    for line in lines:
        verdicts.setdefault((line.tag, line.metadata), []).append(line.correct)
    return [
        Cluster(
            sample_id=metadata,
            group=tag,
            total=float(correct.count(True)),
            n_scored=len(correct) - correct.count(None),
            n_expected=len(correct),
        )
        for (tag, metadata), correct in verdicts.items()
    ]


def _prompts(lines: Iterable[ResultLine]) -> list[Cluster]:
    """Each prompt once, correct when one of its images is; by metadata alone, as upstream."""
    correct: dict[str, bool] = {}
    tags: dict[str, str] = {}
    for line in lines:
        correct[line.metadata] = correct.get(line.metadata, False) or bool(line.correct)
        tags.setdefault(line.metadata, line.tag)
    return [
        Cluster(
            sample_id=metadata, group=tags[metadata], total=float(any_), n_scored=1, n_expected=1
        )
        for metadata, any_ in correct.items()
    ]


def geneval_export_files(
    samples: Sequence[Sample], images: Mapping[str, Path], verdicts: Sequence[Verdict]
) -> Iterator[tuple[PurePosixPath, str | Path]]:
    """Upstream's folder of images with their metadata, and `results.jsonl` beside it.

    Args:
        samples: in the order wanted.
        images: image id -> stored PNG.
        verdicts: of GenEval's evaluator.
    """
    for sample in samples:
        yield IMAGES / geneval_metadata_path(sample.id), geneval_metadata(sample)
    for name, path in images.items():
        sample_id, _, index = name.rpartition("/")
        yield IMAGES / geneval_image_path(sample_id, int(index)), path
    lines = geneval_result_lines(samples, verdicts, root=str(IMAGES))
    yield PurePosixPath(RESULTS_FILE), "".join(f"{line}\n" for line in lines)


OFFICIAL: Final = OfficialFormat(
    summarise=lambda path, _data: summarise_geneval_results(path),
    text=geneval_results_text,
    files=geneval_export_files,
)


def _find_images(root: Path, _: FolderOptions) -> Listing:
    """All-digit folders, and in `samples/` the files named by digits, in the order of names.

    As djghosh13/geneval's evaluation/evaluate_images.py takes them; the n-th file is image n.
    """
    listed: dict[str, dict[int, Path]] = {}
    for folder in sorted(root.iterdir()):
        if not folder.name.isdecimal() or not (folder / "samples").is_dir():
            continue
        key = _folder_key(folder.name)
        files = sorted(
            path
            for path in (folder / "samples").iterdir()
            if re.fullmatch(r"\d+\.png", path.name) and path.is_file()
        )
        if not files:
            continue
        if key in listed:
            other = listed[key][0].parent.parent.name
            raise AlphaBenchError(
                f"the folders {other!r} and {folder.name!r} are both number {key}",
                hint="remove one of them",
            )
        listed[key] = dict(enumerate(files))
    return listed


def _folder_key(name: str) -> str:
    """`00007` and `7` are the same folder to GenEval's scripts, which count."""
    return str(int(name)) if name.isdecimal() else name


LAYOUT: Final = Layout(
    form="DIR/00000/samples/0000.png",
    find=_find_images,
    key=lambda sample: _folder_key(sample.id),
    prompt_file=lambda image: image.parent.parent / METADATA_FILE,
)
