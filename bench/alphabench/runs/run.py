"""Generate, score and summarise one run: the only orchestration.

Each step can be repeated: it completes what is missing and does nothing twice. Knows no benchmark's
rules, no model and no file format.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.writing import UnwritableError
from alphabench.interfaces import Benchmark
from alphabench.questions import JudgeUsage
from alphabench.runs.device_use import give_back_memory
from alphabench.runs.engines import Engine
from alphabench.runs.evaluator_loading import load_evaluator, needs_device
from alphabench.runs.generation import generate_into, share_folder
from alphabench.runs.job_handlers import ScoredImage, open_scoring
from alphabench.runs.judge_usage import UsageMeter
from alphabench.runs.overlapped_scoring import (
    JudgeTurns,
    OverlappedScoring,
    overlapped_scoring,
)
from alphabench.runs.plan import Evaluation, RunPlan, unscorable
from alphabench.runs.progress import Progress, Silent, begin_phase
from alphabench.runs.reasons import frequent_reasons
from alphabench.runs.run_pages import write_pages
from alphabench.runs.self_test import require_served
from alphabench.runs.store import RunFolder, StoredVerdict
from alphabench.runs.stored_run import StoredRun
from alphabench.runs.workers import LostJob, Opener, run_jobs
from alphabench.types import (
    REVISED_PROMPT,
    GeneratedImage,
    ProtocolName,
    Report,
    Sample,
    Verdict,
)

_MOST_REASONS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a run."""

    report: Report
    folder: RunFolder
    benchmark: Benchmark
    evaluation: str
    samples: Sequence[Sample]
    """Those of the run, as they were read for the report."""
    unscored: tuple[tuple[str, int], ...] = ()
    """The most frequent reasons for which verdicts have no value, `status: why`, and how often."""
    unwritten: str = ""
    """Why the report could not be written to the folder; empty if it was."""
    pages: Mapping[str, Path] = field(default_factory=dict)
    """`report.md` and `gallery.html` -> the page that shows this evaluation."""
    usage: JudgeUsage | None = None
    """What this command asked of a remote judge; None where there was none."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """`unscored` for display: `3 failed: out of memory`."""
        return tuple(f"{count} {reason}" for reason, count in self.unscored)

    @property
    def incomplete(self) -> bool:
        """Some expected verdict has no value: missing, refused, unparsed or failed."""
        return self.report.incomplete


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Execution options; they never affect results."""

    devices: tuple[str, ...] = ("cpu",)
    """One worker for each device."""
    engine: Engine | None = None
    """Runs the workers; None is this process, or for several devices processes of this machine."""
    progress: Progress = field(default_factory=Silent)
    title: str = ""
    """Names the run in the progress display, where a command has several."""

    def phase(self, name: str) -> str:
        """What the progress display calls a phase of the run."""
        return f"{name} {self.title}" if self.title else name


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunRun:
    """A run whose images are generated; a remote judge may still be asked about them."""

    plan: RunPlan
    evaluation: Evaluation
    folder: RunFolder
    opener: Opener[GeneratedImage, ScoredImage] | None = None
    """The loaded evaluator; None where it is not needed."""
    scoring: OverlappedScoring | None = None
    """Under way in a thread; None where there is none."""
    held: ExitStack = field(default_factory=ExitStack)
    """The folder's lock, as long as `scoring` writes to it."""

    def finish(self, work: Work) -> Outcome:
        """Score what is left and report; needs the checkpoint no more."""
        if self.scoring is None:
            return self._score_rest(work)
        with self.held:
            self.scoring.wait()
        # Where nothing is left to be asked, other runs keep their judge.
        with nullcontext() if self.scoring.is_complete else self.scoring.turn:
            return self._score_rest(work)

    def _score_rest(self, work: Work) -> Outcome:
        return score_run(
            self.folder,
            self.plan.benchmark,
            self.evaluation,
            work,
            opener=self.opener,
            all_samples=self.plan.all_samples,
            scored=None if self.scoring is None else self.scoring.scored,
        )

    def stop(self) -> None:
        """Leave the scoring; the same command continues it."""
        if self.scoring is not None:
            self.scoring.stop()
        self.held.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRun:
    """A run whose evaluator has passed its self-test, if it is needed."""

    plan: RunPlan
    evaluation: Evaluation
    folder: RunFolder | None
    """None where it does not exist yet."""
    opener: Opener[GeneratedImage, ScoredImage] | None
    scoring: OverlappedScoring | None

    def begin(self, work: Work) -> BegunRun:
        """Generate, with all that the checkpoint is needed for."""
        with ExitStack() as held:
            folder = generate_into(self.plan, work, held, folder=self.folder, sink=self.scoring)
            return BegunRun(
                plan=self.plan,
                evaluation=self.evaluation,
                folder=folder,
                opener=self.opener,
                scoring=self.scoring,
                held=held.pop_all() if self.scoring is not None else ExitStack(),
            )

    def execute(self, work: Work) -> Outcome:
        """`begin`, and then `BegunRun.finish`."""
        begun = self.begin(work)
        try:
            give_back_memory(work.devices[0])
            return begun.finish(work)
        except BaseException:
            begun.stop()
            raise


def execute_plan(plan: RunPlan, evaluation: Evaluation, work: Work) -> Outcome:
    """Generate missing images, score unscored ones, write the report.

    A remote judge is asked about images while others are generated; other evaluators follow. The
    evaluator runs its self-test before the first image is generated. A complete run loads no
    model.
    """
    return load_planned_run(plan, evaluation, work).execute(work)


def load_planned_run(
    plan: RunPlan, evaluation: Evaluation, work: Work, *, turns: JudgeTurns | None = None
) -> LoadedRun:
    """Check what can be checked before the first image, and load the evaluator where it is needed.

    Args:
        plan: of the run.
        evaluation: which evaluator.
        work: devices and progress.
        turns: shared by runs that are under way together.
    """
    opener = scoring = None
    folder = RunFolder.create(plan.root, plan.manifest) if plan.root.exists() else None
    stored = None if folder is None else StoredRun.of(folder)
    if not _has_all_images(stored, plan):
        require_served(plan.generator)
    if not _is_finished(stored, plan, evaluation):
        if reason := unscorable(plan, evaluation, device=work.devices[0]):
            work.progress.note(f"{reason}; they will count as failed")
        share_folder(plan.root, work)
        opener = load_evaluator(evaluation, work, keep=not needs_device(plan.generator, work))
        scoring = overlapped_scoring(
            evaluation,
            plan.benchmark,
            device=work.devices[0],
            all_samples=plan.all_samples,
            progress=work.progress,
            phase=work.phase("scoring"),
            turns=turns or JudgeTurns(),
        )
    return LoadedRun(
        plan=plan, evaluation=evaluation, folder=folder, opener=opener, scoring=scoring
    )


def _has_all_images(stored: StoredRun | None, plan: RunPlan) -> bool:
    able = {request.id for request in plan.requests}.difference(plan.refusals)
    return stored is not None and able <= stored.images.keys()


def _is_finished(stored: StoredRun | None, plan: RunPlan, evaluation: Evaluation) -> bool:
    if stored is None or not _has_all_images(stored, plan):
        return False
    return not stored.unscored_images(stored.samples(plan.all_samples), evaluation.id)


def score_run(
    folder: RunFolder,
    benchmark: Benchmark,
    evaluation: Evaluation,
    work: Work,
    *,
    opener: Opener[GeneratedImage, ScoredImage] | None = None,
    all_samples: Sequence[Sample] | None = None,
    scored: Collection[str] | None = None,
) -> Outcome:
    """Score the images that have no complete verdicts yet, and report.

    Args:
        folder: the run.
        benchmark: that the run is about.
        evaluation: which evaluator.
        work: devices and progress.
        opener: from `load_evaluator`, if that was called already.
        all_samples: of the benchmark, if they were read already.
        scored: images that this command has scored already, whatever came of it; None where it
            did not try.

    Raises:
        AlphaBenchError: the folder is about other data, or the evaluator fails its self-test.
    """
    StoredRun.of(folder).check_same_data(benchmark)
    evaluator = evaluation.open(device=work.devices[0])
    meter = UsageMeter(evaluator)
    with folder.locked():
        folder.write_evaluation(evaluation.id, evaluation.identity)
        stored = StoredRun.of(folder, verify_images=True)
        all_samples = benchmark.samples() if all_samples is None else all_samples
        samples = stored.samples(all_samples)
        todo = [
            image
            for image in stored.unscored_images(samples, evaluation.id)
            if scored is None or image.id not in scored
        ]
        total = sum(1 for _ in stored.generated_images(samples))
        if opener is None and todo and len(work.devices) == 1 and work.engine is None:
            opener = load_evaluator(evaluation, work)
        share_folder(folder.root, work)
        shown = bool(todo) or scored is None
        if shown:
            done = total - len(todo)
            begin_phase(
                work.progress,
                work.phase("scoring"),
                total=total,
                done=done,
                first="first batch",
                cost=meter.words,
            )
        outcomes = run_jobs(
            opener or partial(open_scoring, evaluation.open),
            todo,
            devices=work.devices,
            batch_size=evaluator.batch_size,
            note=work.progress.note,
            engine=work.engine,
        )
        with closing(outcomes):
            for outcome in outcomes:
                image = outcome.job
                if isinstance(outcome, LostJob):
                    verdicts = _failed(benchmark, image, outcome.reason)
                else:
                    verdicts, usage, process = outcome.result
                    meter.receive(process, usage)
                folder.append_verdicts(
                    evaluation.id,
                    [StoredVerdict(image_sha256=image.sha256, verdict=v) for v in verdicts],
                )
                work.progress.advance(unscored=any(v.status != "scored" for v in verdicts))
        if shown:
            work.progress.end()
        for name, what in stored.damage.items():
            work.progress.note(f"image {name} was {what} since it was made; it is not scored")
        result = summarise_run(folder, benchmark, evaluation.id, all_samples=all_samples)
        return replace(result, usage=meter.total())


def _failed(benchmark: Benchmark, image: GeneratedImage, reason: str) -> list[Verdict]:
    return [
        Verdict(
            image_id=image.id,
            question_id=question,
            value=None,
            status="failed",
            detail={"reason": reason},
        )
        for question in benchmark.questions(image.request.sample)
    ]


def summarise_run(
    folder: RunFolder,
    benchmark: Benchmark,
    evaluation: str,
    *,
    all_samples: Sequence[Sample] | None = None,
    must_write: bool = True,
) -> Outcome:
    """Compute the report from what is stored; generates and scores nothing.

    Every expected verdict counts: one that is not stored has the status that its absence implies.

    Args:
        must_write: whether an unwritable folder is an error; else `Outcome.unwritten` reports it.
        all_samples: of the benchmark, where they were read already.
    """
    stored = StoredRun.of(folder, verify_images=True)
    stored.check_same_data(benchmark)
    all_samples = benchmark.samples() if all_samples is None else all_samples
    samples = stored.samples(all_samples)
    verdicts = stored.expected_verdicts(benchmark, samples, evaluation)
    name = evaluation.partition("-")[0]
    report = benchmark.summarise(samples, verdicts, evaluator=name, all_samples=all_samples)
    report = replace(report, notes=(*report.notes, *_rewritten(stored, verdicts)))
    outcome = Outcome(
        report=report,
        folder=folder,
        benchmark=benchmark,
        evaluation=evaluation,
        samples=samples,
        unscored=_reasons(verdicts),
    )
    try:
        folder.write_report(evaluation, report)
        reported = stored.evaluation(evaluation)
        return replace(outcome, pages=write_pages(stored, samples, reported))
    except UnwritableError as error:
        if must_write:
            raise
        return replace(outcome, unwritten=error.message)


def _rewritten(stored: StoredRun, verdicts: Sequence[Verdict]) -> list[str]:
    """A note for reports where the host rewrote prompts before it generated."""
    images = {verdict.image_id for verdict in verdicts}
    records = [record for name, record in stored.images.items() if name in images]
    n_rewritten = sum(REVISED_PROMPT in record.notes for record in records)
    if not n_rewritten:
        return []
    return [
        f"the host rewrote {n_rewritten} of {len(records)} prompts before it generated "
        f"(images.jsonl has them as {REVISED_PROMPT!r}); this is not the benchmark's text"
    ]


def _reasons(verdicts: Sequence[Verdict]) -> tuple[tuple[str, int], ...]:
    unscored = [
        f"{verdict.status}: {verdict.detail.get('reason') or 'no reason was given'}"
        for verdict in verdicts
        if verdict.status != "scored"
    ]
    return tuple(frequent_reasons(unscored, _MOST_REASONS))


def summarise_all(
    folder: RunFolder, open_benchmark: Callable[[str, ProtocolName], Benchmark]
) -> list[Outcome]:
    """`summarise` for each evaluation that the folder holds, which may be read-only.

    The one that was scored last comes last, so that `report.md` shows it.

    Raises:
        AlphaBenchError: nothing was scored in it yet.
    """
    stored = StoredRun.of(folder)
    if not stored.evaluations():
        raise AlphaBenchError(
            f"nothing was scored in {str(folder.root)!r} yet",
            hint=f"`alphabench score {folder.root}` does",
        )
    outcomes = []
    for evaluation in folder.evaluations_by_time():
        benchmark = open_benchmark(folder.manifest.benchmark, stored.protocol(evaluation))
        outcomes.append(summarise_run(folder, benchmark, evaluation, must_write=False))
    return outcomes
