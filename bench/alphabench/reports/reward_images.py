"""The images that rewards are compared on, by prompt, and what is true of them.

They are those of run folders. The truth comes from an evaluation of the runs, or from a file of
labels. Runs of one benchmark with other seeds add up to larger groups. Knows no reward.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.files import UnreadableFileError, parse_json, read_text
from alphabench.reports.reward_groups import Floats
from alphabench.runs import factories
from alphabench.runs.stored_run import StoredRun
from alphabench.types import FULL_MARKS, OUT_OF, GeneratedImage, Sample, Verdict

_LABEL_FILES: Final = (".csv", ".jsonl")
_FORM: Final = (
    "a line has `image`, the path of its file (or its id such as 00000/2, with one run), and "
    "`truth`, a number"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptImages:
    """The images of one prompt, numbered through, whatever run they come from."""

    sample: Sample
    images: tuple[GeneratedImage, ...]
    truth_I: Floats
    """NaN where it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardImages:
    """Groups of images to compare rewards on."""

    prompts: tuple[PromptImages, ...]
    benchmark: str
    truth: str | None
    """The evaluation or the file that it comes from; None where there is none."""
    truth_identity: Mapping[str, str] = field(default_factory=dict)
    """Of the evaluation."""

    @property
    def n_images(self) -> int:
        return sum(len(one.images) for one in self.prompts)


def read_reward_images(runs: Sequence[Path], *, truth: str | None = None) -> RewardImages:
    """The images of some run folders, in groups of one prompt.

    Args:
        runs: of one benchmark, with several images for a prompt between them.
        truth: an evaluation of the runs, or a .csv or .jsonl file of labels; None takes the
            evaluation of the runs where there is exactly one.

    Raises:
        AlphaBenchError: no such run or evaluation, runs of different benchmarks, labels that do not
            fit, or no prompt with two images.
    """
    opened = [StoredRun.open(root, verify_images=True) for root in runs]
    _refuse_unlike(opened)
    truth = _only_evaluation(opened) if truth is None else truth
    labels = _read_labels(Path(truth)) if truth and truth.endswith(_LABEL_FILES) else None
    groups: dict[str, list[tuple[GeneratedImage, float]]] = {}
    samples: dict[str, Sample] = {}
    for run in opened:
        if labels is None:
            truths = {} if truth is None else _truths(run, truth)
        else:
            truths = dict(_labelled(run, labels, by_id=len(opened) == 1))
        for image in _images(run):
            sample = samples.setdefault(image.request.sample.id, image.request.sample)
            groups.setdefault(sample.id, []).append((image, truths.get(image.id, math.nan)))
    if labels:
        raise AlphaBenchError(
            f"{truth!r} has {len(labels)} labels of images that are in no run, such as "
            f"{next(iter(labels))!r}",
            hint=_FORM,
        )
    prompts = [_numbered(samples[name], group) for name, group in groups.items() if len(group) > 1]
    if not prompts:
        raise AlphaBenchError(
            "no prompt has two images, and rewards are compared on images of the same prompt",
            hint="name further runs of the same benchmark with other seeds: `alphabench generate "
            "... --seed 1`, then --run for each",
        )
    by_evaluation = truth is not None and not truth.endswith(_LABEL_FILES)
    return RewardImages(
        prompts=tuple(prompts),
        benchmark=opened[0].manifest.benchmark,
        truth=truth,
        truth_identity=opened[0].evaluation(truth).identity if truth and by_evaluation else {},
    )


def _refuse_unlike(runs: Sequence[StoredRun]) -> None:
    first = runs[0].manifest
    for run in runs[1:]:
        if run.manifest.benchmark != first.benchmark:
            raise AlphaBenchError(
                f"{str(run.root)!r} is of {run.manifest.benchmark!r}, and {str(runs[0].root)!r} of "
                f"{first.benchmark!r}",
                hint="name runs of one benchmark",
            )
    fingerprints = [run.manifest.fingerprint for run in runs]
    if len(set(fingerprints)) < len(fingerprints):
        raise AlphaBenchError(
            "two of the runs have the same images: checkpoint, settings and seed are the same",
            hint="name each run once, or generate another with --seed",
        )


def _only_evaluation(runs: Sequence[StoredRun]) -> str | None:
    names = {name for run in runs for name in run.evaluations()}
    if len(names) > 1:
        raise AlphaBenchError(
            f"the runs were scored by {len(names)} evaluators: {', '.join(sorted(names))}",
            hint="say which is the truth: --truth NAME",
        )
    return next(iter(names), None)


def _images(run: StoredRun) -> Iterator[GeneratedImage]:
    benchmark = factories.benchmark_of_run(run.manifest.benchmark, "official", folder=run.folder)
    run.check_same_data(benchmark)
    for image in run.generated_images(run.samples(benchmark.samples())):
        if image.id not in run.damage:
            yield image


def _truths(run: StoredRun, evaluation: str) -> dict[str, float]:
    """Image id -> mean of its verdicts as shares of full marks; none where one is not scored."""
    if evaluation not in run.evaluations():
        raise unknown_name("evaluation in this run", evaluation, run.evaluations())
    by_image: dict[str, list[Verdict]] = {}
    for verdict in run.verdicts(evaluation):
        by_image.setdefault(verdict.image_id, []).append(verdict)
    truths = {}
    for image, verdicts in by_image.items():
        values = [v.value / v.number(OUT_OF, FULL_MARKS) for v in verdicts if v.value is not None]
        if len(values) == len(verdicts):
            truths[image] = math.fsum(values) / len(values)
    return truths


def _labelled(
    run: StoredRun, labels: dict[str, float], *, by_id: bool
) -> Iterator[tuple[str, float]]:
    """Takes the labels of a run's images out of `labels`."""
    for image in _images(run):
        resolved = str(image.path.resolve())
        for key in [*([image.id] if by_id else []), resolved]:
            if key in labels:
                yield image.id, labels.pop(key)


def _read_labels(path: Path) -> dict[str, float]:
    """Image id or absolute path -> its label."""
    try:
        text = read_text(path)
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"the labels {str(path)!r} cannot be read: {error}", hint=_FORM
        ) from error
    labels: dict[str, float] = {}
    for number, row in enumerate(_rows(path, text), start=1):
        image, value = row.get("image"), row.get("truth")
        try:
            truth = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            truth = math.nan
        if not isinstance(image, str) or not math.isfinite(truth):
            raise AlphaBenchError(
                f"row {number} of {str(path)!r} has no `image`, or no number as `truth`", hint=_FORM
            )
        key = str(Path(image).resolve()) if Path(image).suffix else image
        if key in labels:
            raise AlphaBenchError(f"{str(path)!r} labels {image!r} twice", hint=_FORM)
        labels[key] = truth
    return labels


def _rows(path: Path, text: str) -> list[Mapping[str, Any]]:
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(text)))
    try:
        rows = [parse_json(line) for line in text.splitlines() if line.strip()]
    except UnreadableFileError as error:
        raise AlphaBenchError(f"{str(path)!r} is not JSON lines: {error}", hint=_FORM) from error
    return [row if isinstance(row, dict) else {} for row in rows]


def _numbered(sample: Sample, group: Sequence[tuple[GeneratedImage, float]]) -> PromptImages:
    return PromptImages(
        sample=sample,
        images=tuple(
            replace(image, request=replace(image.request, index=index))
            for index, (image, _) in enumerate(group)
        ),
        truth_I=np.array([truth for _, truth in group], dtype=np.float64),
    )
