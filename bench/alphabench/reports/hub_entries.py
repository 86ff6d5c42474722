"""Scores as `.eval_results/*.yaml`, which the Hugging Face hub shows and gathers in leaderboards.

Only complete scores by a benchmark's own rules are written: a part of a benchmark, or a score that
is not comparable with published ones, would stand in a leaderboard as if it were one. The format is
the hub client's (`EvalResultEntry`). Uploads nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from alphabench.core.errors import AlphaBenchError
from alphabench.core.public_texts import public_text
from alphabench.core.writing import replace_file
from alphabench.remote.hub_upload import hub_target
from alphabench.reports.markdown import number
from alphabench.reports.run_report import missing_parts, not_comparable_reason, self_test_stamp
from alphabench.runs.records import Manifest
from alphabench.types import Report

if TYPE_CHECKING:
    from huggingface_hub import EvalResultEntry

EVAL_RESULTS: Final = ".eval_results"
HUB_DATASETS: Final[Mapping[str, str]] = {
    "cvtg": "dnkdnk/CVTG-2K",
    "gedit": "stepfun-ai/GEdit-Bench",
    "imgedit": "sysuyy/ImgEdit",
    "rise": "PhoenixZ/RISEBench",
    "tiif": "A113NW3I/TIIF-Bench-Data",
    "wise": "Yuwei-Niu/WISE",
}
"""Benchmark -> the dataset on the hub that its authors keep it in; others have none known here."""
_TASK: Final = "default"
"""The task of a dataset that has one alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubScore:
    """A measured score with all that the hub is told about it."""

    name: str
    """Of its file, and of what is said of it."""
    value: float | None
    low: float | None
    high: float | None
    manifest: Manifest
    report: Report
    identity: Mapping[str, str]
    """Of the evaluator and its protocol."""
    remarks: tuple[str, ...] = ()
    """Further clauses of the notes."""

    @property
    def judge(self) -> str | None:
        """The judge's model, or its kind where it has no name; None without a judge."""
        return self.identity.get("judge.model") or self.identity.get("judge.kind")

    @property
    def version(self) -> str | None:
        """Of AlphaBench, when the images were generated."""
        packages = self.manifest.circumstances.get("packages")
        found = packages.get("alphabench") if isinstance(packages, dict) else None
        return found if isinstance(found, str) else None

    @property
    def began(self) -> str | None:
        """When generating began, in ISO 8601."""
        found = self.manifest.circumstances.get("began")
        return found if isinstance(found, str) else None


def named_datasets(assignments: Iterable[str]) -> dict[str, str]:
    """`["geneval=owner/name#task"]` -> `{"geneval": "owner/name#task"}`.

    Raises:
        AlphaBenchError: one is no such assignment.
    """
    named = {}
    for text in assignments:
        benchmark, equals, dataset = text.partition("=")
        if not (benchmark and equals):
            raise AlphaBenchError(
                f"{text!r} names no dataset of a benchmark",
                hint="write --dataset BENCHMARK=OWNER/NAME, or BENCHMARK=OWNER/NAME#TASK",
            )
        hub_target(dataset.partition("#")[0], public=False)
        named[benchmark] = dataset
    return named


def write_hub_entries(
    out: Path, scores: Sequence[HubScore], datasets: Mapping[str, str]
) -> list[str]:
    """Write an entry for each score that the hub can place, a file for each.

    Args:
        out: the folder that becomes the model's repository, or a part of it.
        scores: of one model.
        datasets: benchmark -> owner/name or owner/name#task, beside those known here.

    Returns:
        A clause for each score that was left out, with the reason.
    """
    from huggingface_hub import eval_result_entries_to_yaml

    left_out = []
    for score in scores:
        if (reason := unplaceable(score, datasets)) is not None:
            left_out.append(f"no entry for a leaderboard from {score.name}: {reason}")
            continue
        entries = eval_result_entries_to_yaml([_entry(score, datasets)])
        file = out / entry_path(score.name)
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, yaml.safe_dump(entries, sort_keys=False, allow_unicode=True))
    return left_out


def entry_path(name: str) -> str:
    """`geneval:long` -> `.eval_results/geneval-long.yaml`."""
    return f"{EVAL_RESULTS}/{name.replace(':', '-').replace('/', '-')}.yaml"


def unplaceable(score: HubScore, datasets: Mapping[str, str]) -> str | None:
    """Why a score is left out; None where it is not."""
    report, benchmark = score.report, score.report.benchmark
    if score.value is None:
        return "it could not be measured"
    if report.partial:
        return missing_parts(report, score.manifest)
    if not_comparable_reason(report, score.identity) is not None:
        return "it is not comparable with published scores"
    if _dataset(benchmark, datasets) is None:
        return f"no dataset of the hub is known for it; --dataset {benchmark}=OWNER/NAME names one"
    return None


def _dataset(benchmark: str, datasets: Mapping[str, str]) -> str | None:
    return {**HUB_DATASETS, **datasets}.get(benchmark)


def _entry(score: HubScore, datasets: Mapping[str, str]) -> EvalResultEntry:
    from huggingface_hub import EvalResultEntry

    dataset = _dataset(score.report.benchmark, datasets)
    assert dataset is not None
    repository, _, task = dataset.partition("#")
    return EvalResultEntry(
        dataset_id=repository,
        task_id=task or _TASK,
        value=score.value,
        date=score.began,
        notes="; ".join(entry_notes(score)),
    )


def entry_notes(score: HubScore) -> Iterator[str]:
    """What a reader must know before the value is compared with another, clause by clause."""
    report, pixels = score.report, score.manifest.pixels
    yield f"AlphaBench {score.version or 'of an unknown version'}, {score.manifest.benchmark}"
    yield f"{report.protocol} protocol, evaluator {report.evaluator}"
    if score.judge is not None:
        yield f"judge {public_text(score.judge)}"
    style = pixels.get("benchmark.prompt_style")
    written = "" if style is None else f" ({style})"
    n_images = pixels["benchmark.images_per_sample"]
    yield f"{report.headline.n_samples} prompts{written}, images per prompt: {n_images}"
    yield f"95% interval {number(score.low)} to {number(score.high)}"
    yield f"seed {pixels['seed']}"
    yield from _additions(pixels)
    if (stamp := self_test_stamp(score.identity)) is not None:
        yield stamp[0].lower()
    yield from score.remarks
    yield from report.notes


def _additions(pixels: Mapping[str, str]) -> Iterator[str]:
    """What the checkpoint did beside generating an image from the prompt."""
    if pixels.get("checkpoint.think") == "on":
        yield "chain of thought before each image"
    if (refined := pixels.get("checkpoint.refine")) is not None:
        yield f"images refined ({public_text(refined)})"
