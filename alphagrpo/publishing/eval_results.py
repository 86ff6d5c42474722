"""Scores as `.eval_results/*.yaml`, which the Hugging Face hub shows and gathers in leaderboards.

Only complete scores by a benchmark's own rules are written: a part of a benchmark, or a score that
is not comparable with published ones, would stand in a leaderboard as if it were one. The format is
the hub client's (`EvalResultEntry`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from alphabench.core.errors import AlphaBenchError
from alphabench.reports.markdown import number
from alphabench.reports.run_report import missing_parts, not_comparable_reason
from alphagrpo.publishing.hub_upload import hub_target
from alphagrpo.publishing.public_texts import public_text
from alphagrpo.publishing.trained_weights import ValidatedRun, ValidatedScore

if TYPE_CHECKING:
    from huggingface_hub import EvalResultEntry

EVAL_RESULTS: Final = ".eval_results"
HUB_DATASETS: Final[Mapping[str, str]] = {
    "gedit": "stepfun-ai/GEdit-Bench",
    "imgedit": "sysuyy/ImgEdit",
    "tiif": "A113NW3I/TIIF-Bench-Data",
    "wise": "Yuwei-Niu/WISE",
}
"""Benchmark -> the dataset on the hub that its authors keep it in; others have none known here."""
_TASK: Final = "default"
"""The task of a dataset that has one alone."""


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


def write_eval_results(
    out: Path, scores: Sequence[ValidatedScore], datasets: Mapping[str, str]
) -> list[str]:
    """Writes an entry for each score that the hub can place, a file for each benchmark.

    Args:
        out: the exported folder.
        scores: of the exported weights.
        datasets: benchmark -> owner/name or owner/name#task, beside those known here.

    Returns:
        A clause for each score that was left out, with the reason.
    """
    from huggingface_hub import eval_result_entries_to_yaml

    left_out = []
    for score in scores:
        if (reason := _unplaceable(score, datasets)) is not None:
            left_out.append(f"no entry for a leaderboard from {score.point.name}: {reason}")
            continue
        assert score.run is not None
        entries = eval_result_entries_to_yaml([_entry(score, score.run, datasets)])
        name = score.point.name.replace(":", "-").replace("/", "-")
        file = out / EVAL_RESULTS / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            yaml.safe_dump(entries, sort_keys=False, allow_unicode=True), encoding="utf-8"
        )
    return left_out


def _unplaceable(score: ValidatedScore, datasets: Mapping[str, str]) -> str | None:
    """Why a score is left out; None where it is not."""
    if score.point.value is None:
        return "it could not be measured"
    if score.run is None:
        return "its run folder cannot be read"
    report, benchmark = score.run.report, score.run.report.benchmark
    if report.partial:
        return missing_parts(report, score.run.manifest)
    if not_comparable_reason(report, score.run.identity) is not None:
        return "it is not comparable with published scores"
    if _dataset(score.run, datasets) is None:
        return f"no dataset of the hub is known for it; --dataset {benchmark}=OWNER/NAME names one"
    return None


def _dataset(run: ValidatedRun, datasets: Mapping[str, str]) -> str | None:
    return {**HUB_DATASETS, **datasets}.get(run.report.benchmark)


def _entry(
    score: ValidatedScore, run: ValidatedRun, datasets: Mapping[str, str]
) -> EvalResultEntry:
    from huggingface_hub import EvalResultEntry

    dataset = _dataset(run, datasets)
    assert dataset is not None
    repository, _, task = dataset.partition("#")
    return EvalResultEntry(
        dataset_id=repository,
        task_id=task or _TASK,
        value=score.point.value,
        date=run.began,
        notes="; ".join(_notes(score, run)),
    )


def _notes(score: ValidatedScore, run: ValidatedRun) -> Iterable[str]:
    """What a reader must know before the value is compared with another."""
    report, point = run.report, score.point
    yield f"AlphaBench {run.version or 'of an unknown version'}, {run.manifest.benchmark}"
    yield f"{report.protocol} protocol, evaluator {report.evaluator}"
    if run.judge is not None:
        yield f"judge {public_text(run.judge)}"
    yield f"{report.headline.n_samples} prompts, images per prompt: {run.images_per_sample}"
    yield f"95% interval {number(point.low)} to {number(point.high)}"
    yield f"seed {run.manifest.pixels['seed']}"
    if score.decided:
        yield "these weights were chosen by this score, so it is optimistic"
    yield from report.notes
