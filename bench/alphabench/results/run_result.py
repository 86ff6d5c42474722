"""The result of an evaluation, or a stored run: score, report, verdicts and images.

Reads the run folder on demand and writes nothing. Knows no benchmark's rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from alphabench.core.data_frames import data_frame
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.interfaces import Benchmark
from alphabench.reports.markdown import (
    NOTHING,
    inline,
    interval,
    markdown_table,
    number,
    plain_text,
)
from alphabench.reports.outcome_json import run_to_json
from alphabench.reports.run_report import coverage_words, report_markdown, stamps
from alphabench.results.run_images import RunImages
from alphabench.runs.run_pages import GALLERY_FILE, page_of_evaluation
from alphabench.runs.serialization import report_to_json
from alphabench.runs.stored_run import StoredRun, verdict_reason
from alphabench.types import ProtocolName, Report, Sample, Verdict

if TYPE_CHECKING:
    import pandas as pd

FrameName = Literal["verdicts", "groups", "images"]
COLUMNS: Final[Mapping[FrameName, tuple[str, ...]]] = {
    "verdicts": (
        "evaluation",
        "image_id",
        "sample_id",
        "index",
        "group",
        "prompt",
        "question_id",
        "value",
        "status",
        "reason",
        "detail",
    ),
    "groups": (
        "evaluation",
        "group",
        "score",
        "low",
        "high",
        "n_samples",
        "n_scored",
        "n_expected",
    ),
    "images": (
        "evaluation",
        "image_id",
        "sample_id",
        "index",
        "group",
        "prompt",
        "seed",
        "state",
        "reason",
        "path",
        "seconds",
        "thought",
    ),
}
"""The columns of each frame of `RunResult.to_pandas`."""


class OpenBenchmark(Protocol):
    """Opens the benchmark of a run under a protocol."""

    def __call__(self, protocol: ProtocolName, /) -> Benchmark: ...


class RunResult:
    """A run of one benchmark with one checkpoint, and what an evaluator found in it.

    `evaluate` returns it, and `load_run` for a folder that exists. A run that was scored by several
    evaluators has several evaluations: choose one with `select`. The frames of `to_pandas` then
    hold all of them, told apart by the column `evaluation`.
    """

    def __init__(
        self, run: StoredRun, open_benchmark: OpenBenchmark, evaluation: str | None = None
    ) -> None:
        self._run = run
        self._open_benchmark = open_benchmark
        self._chosen = evaluation
        self._benchmark = lru_cache(maxsize=None)(open_benchmark)

    @property
    def folder(self) -> Path:
        """The run folder: images, verdicts, reports and the gallery."""
        return self._run.root

    @property
    def gallery(self) -> Path:
        """The page with all images and their verdicts under the selected evaluation."""
        if self._chosen is None:
            return self.folder / GALLERY_FILE
        return self.folder / page_of_evaluation(self._run, GALLERY_FILE, self._chosen)

    @property
    def benchmark(self) -> str:
        """Name, version and split: `geneval@af4902f:mini`."""
        return self._run.manifest.benchmark

    @property
    def checkpoint(self) -> str:
        """The checkpoint as it was named."""
        return self._run.manifest.checkpoint

    @property
    def name(self) -> str:
        """What tables call the run: the name that it was given, or else the checkpoint."""
        return self._run.manifest.title

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self._run.manifest.pixels["seed"])

    @property
    def evaluations(self) -> tuple[str, ...]:
        """The names of all evaluations of the run: evaluator, protocol and a digest."""
        return tuple(self._run.evaluations())

    @property
    def evaluation(self) -> str:
        """The name of the evaluation whose numbers this result gives.

        Raises:
            AlphaBenchError: nothing was scored yet, or there are several and none was selected.
        """
        if self._chosen is not None:
            return self._chosen
        known = self.evaluations
        if len(known) == 1:
            return known[0]
        if not known:
            raise AlphaBenchError(
                f"nothing was scored in {str(self.folder)!r} yet",
                hint=f"`alphabench score {self.folder}` does",
            )
        raise AlphaBenchError(
            f"the run {str(self.folder)!r} was scored by {len(known)} evaluators",
            hint=f"choose one: .select({known[0]!r}), of {', '.join(known)}",
        )

    def select(self, evaluation: str) -> RunResult:
        """The same run under one of its evaluations.

        Raises:
            AlphaBenchError: the run has no such evaluation.
        """
        if evaluation not in self.evaluations:
            raise unknown_name("evaluation of this run", evaluation, self.evaluations)
        return RunResult(self._run, self._open_benchmark, evaluation)

    @property
    def report(self) -> Report:
        """All numbers: headline, groups, coverage, bounds, statuses.

        Raises:
            AlphaBenchError: there is no report yet, or several and none was selected.
        """
        return self._report(self.evaluation)

    @property
    def score(self) -> float | None:
        """The headline; None where there is none, see `report.withheld` and `report.statuses`."""
        return self.report.headline.value

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the score; None where there is no score."""
        headline = self.report.headline
        if headline.low is None or headline.high is None:
            return None
        return headline.low, headline.high

    @property
    def coverage(self) -> float:
        """The fraction of expected verdicts that were scored, from 0 to 1."""
        return self.report.coverage

    @cached_property
    def images(self) -> RunImages:
        """Image id -> Pillow image, opened when it is asked for."""
        return RunImages(self._run)

    @cached_property
    def samples(self) -> Sequence[Sample]:
        """The prompts of the run.

        Raises:
            AlphaBenchError: the benchmark's data is not here, or it is your own and not named.
        """
        names = self._evaluations()
        benchmark = self._benchmark(self._run.protocol(names[0]) if names else "official")
        self._run.check_same_data(benchmark)
        return self._run.samples(benchmark.samples())

    @property
    def verdicts(self) -> list[Verdict]:
        """One verdict for each question about each expected image, in order.

        What is missing is a verdict without a value, with the reason.

        Raises:
            AlphaBenchError: as `samples` and `evaluation`.
        """
        return self._verdicts(self.evaluation)

    def to_pandas(self, what: FrameName = "verdicts") -> pd.DataFrame:
        """A data frame; see `COLUMNS` for its columns.

        Args:
            what: `verdicts`, a row for each question about each expected image; `groups`, a row
                for each group of the report; `images`, a row for each expected image.

        An unscored verdict has the value NaN, a status other than `scored`, and a reason. `state`
        of an image is right, partly, wrong or unscored.

        Raises:
            AlphaBenchError: no such frame, pandas is not installed (extra `notebook`), or the
                benchmark's data is not here (for verdicts and images).
        """
        return data_frame(self.rows(what), COLUMNS[what])

    def rows(self, what: FrameName = "verdicts") -> Iterator[dict[str, Any]]:
        """The rows of `to_pandas`, without pandas: column -> value, None where there is none.

        Raises:
            AlphaBenchError: no such frame, or the benchmark's data is not here (for verdicts and
                images).
        """
        if what not in COLUMNS:
            raise unknown_name("frame", str(what), COLUMNS)
        makers = {"verdicts": self._verdict_rows, "groups": self._group_rows}
        return makers[what]() if what in makers else self._image_rows()

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values, and under `run` folder, checkpoint, seed and identities.

        The keys are those of `alphabench run --json`.
        """
        name, report = self.evaluation, self.report
        return {**report_to_json(report), "run": run_to_json(self._run.folder, name, report)}

    def to_markdown(self) -> str:
        """The full report, as in `report.md`.

        Raises:
            AlphaBenchError: as `report`.
        """
        evaluation = self._run.evaluation(self.evaluation)
        self._report(evaluation.name)
        return report_markdown(self._run, evaluation)

    def __repr__(self) -> str:
        lines = [_summary(self._run.folder.report(name), name) for name in self._evaluations()]
        scores = ";\n  ".join(lines) or "not scored yet"
        about = f"{plain_text(self.name, 80)}, folder {str(self.folder)!r}"
        return f"RunResult({self.benchmark}, {scores},\n  {about})"

    def _repr_markdown_(self) -> str:
        """What a notebook displays."""
        parts = [f"**{inline(self.benchmark)}**, {inline(self.name)}"]
        for name in self._evaluations():
            report = self._run.folder.report(name)
            parts.append(inline(_summary(report, name)))
            if report is not None:
                identity = self._run.folder.evaluation_identity(name)
                marks = stamps(report, self._run.manifest, identity)
                parts += [_groups_table(report)]
                parts += [
                    f"**{inline(mark)}**: " + inline(text, 400).replace("\\`", "`")
                    for mark, text in marks
                ]
        return "\n\n".join([*parts, f"Folder: {inline(str(self.folder), 400)}"])

    def _evaluations(self) -> tuple[str, ...]:
        """The selected one, or all."""
        return self.evaluations if self._chosen is None else (self._chosen,)

    def _report(self, evaluation: str) -> Report:
        report = self._run.folder.report(evaluation)
        if report is None:
            raise AlphaBenchError(
                f"the evaluation {evaluation!r} has no report yet",
                hint=f"`alphabench summarise {self.folder}` makes it",
            )
        return report

    def _verdicts(self, evaluation: str) -> list[Verdict]:
        benchmark = self._benchmark(self._run.protocol(evaluation))
        return self._run.expected_verdicts(benchmark, self.samples, evaluation)

    def _verdict_rows(self) -> Iterator[dict[str, Any]]:
        samples = {sample.id: sample for sample in self.samples}
        for evaluation in self._evaluations():
            for verdict in self._verdicts(evaluation):
                sample_id, _, index = verdict.image_id.rpartition("/")
                yield {
                    "evaluation": evaluation,
                    "image_id": verdict.image_id,
                    **_about(samples[sample_id], index),
                    "question_id": verdict.question_id,
                    "value": verdict.value,
                    "status": verdict.status,
                    "reason": verdict_reason(verdict.detail),
                    "detail": dict(verdict.detail),
                }

    def _group_rows(self) -> Iterator[dict[str, Any]]:
        for evaluation in self._evaluations():
            for group, estimate in self._report(evaluation).groups.items():
                yield {
                    "evaluation": evaluation,
                    "group": group,
                    "score": estimate.value,
                    "low": estimate.low,
                    "high": estimate.high,
                    "n_samples": estimate.n_samples,
                    "n_scored": estimate.n_scored,
                    "n_expected": estimate.n_expected,
                }

    def _image_rows(self) -> Iterator[dict[str, Any]]:
        for name in self._evaluations() or (None,):
            evaluation = self._run.evaluation(name) if name is not None else None
            for result in self._run.sample_results(self.samples, evaluation):
                for image in result.images:
                    record = image.record
                    yield {
                        "evaluation": name,
                        "image_id": image.image_id,
                        **_about(result.sample, image.image_id.rpartition("/")[2]),
                        "seed": record.seed if record else None,
                        "state": image.state,
                        "reason": image.reason,
                        "path": str(self.folder / record.path) if record else None,
                        "seconds": record.seconds if record else None,
                        "thought": record.notes.get("thought") if record else None,
                    }


def _about(sample: Sample, index: str) -> dict[str, Any]:
    return {
        "sample_id": sample.id,
        "index": int(index),
        "group": sample.group,
        "prompt": sample.prompt,
    }


def _summary(report: Report | None, evaluation: str) -> str:
    """`official protocol, nano: score 0.888 [0.833, 0.935], coverage 100% (240 of 240)`."""
    if report is None:
        return f"{evaluation}: no report yet"
    headline = report.headline
    ends = f" {interval(headline)}" if headline.value is not None else ""
    partial = ", PARTIAL" if report.partial else ""
    return (
        f"{report.protocol} protocol, {report.evaluator}: score {number(headline.value)}{ends}, "
        f"coverage {coverage_words(report)}{partial}"
    )


def _groups_table(report: Report) -> str:
    rows = [
        [inline(group), number(one.value), interval(one), f"{one.n_scored} / {one.n_expected}"]
        for group, one in report.groups.items()
    ]
    headline = report.headline
    counts = f"{headline.n_scored} / {headline.n_expected}"
    rows.append(["**score**", f"**{number(headline.value)}**", interval(headline), counts])
    return markdown_table(
        ["group", "score", "95% interval", "scored / expected"],
        rows or [[NOTHING] * 4],
        ["left", "right", "right", "right"],
    )
