"""A run with everything opened that its options name, ready to be executed or previewed.

`alphabench run` and `alphabench.evaluate` share it. Loads no weights and writes nothing before
`execute`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Benchmark
from alphabench.questions import Judge, judge_on_device
from alphabench.runs import factories
from alphabench.runs.overlapped_scoring import JudgeTurns
from alphabench.runs.plan import (
    CheckpointFactory,
    Evaluation,
    RunPlan,
    choose_samples,
    evaluator_on_device,
    open_evaluation,
    plan_run,
    suggested_evaluator,
)
from alphabench.runs.run import LoadedRun, Outcome, Work, load_planned_run
from alphabench.runs.sharding import RunShard


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What a run has as options besides its benchmark, its checkpoint and its devices.

    Raises:
        AlphaBenchError: a limit that chooses nothing, or a setting of `refine` without it.
    """

    judge: str | Judge | None = None
    evaluator: str | None = None
    """`name?key=value&...`; None takes the one that suits benchmark and checkpoint."""
    wording: Literal["official", "own"] | None = None
    refine: str | None = None
    """`always`, `self`, `resample` or `oracle`, optionally followed by `:ROUNDS`."""
    refine_judge: str | Judge | None = None
    refine_from: str | None = None
    """A run folder whose images are refined, or `swapped:` and that folder."""
    limit: int | None = None
    seed: int = 0
    shard: RunShard | None = None
    """The part of the samples that is generated and scored; None takes all."""
    out: Path | None = None
    """The run folder; None names one below `runs`. That of a shard stands beside it."""
    label: str | None = None
    """What tables call the run instead of its checkpoint; also names its folder without `out`."""
    budget: float | None = None
    """US dollars that the judge may cost."""
    no_cache: bool = False
    shared_judge: Judge | None = None
    """What `judge` names, where it is open already: runs of one command share its budget."""

    def __post_init__(self) -> None:
        choose_samples((), self.limit, seed=self.seed)
        if self.refine is None and self.refine_judge is not None:
            raise AlphaBenchError(
                "--refine-judge is given without --refine",
                hint="add --refine self, or leave out --refine-judge",
            )
        if self.refine is None and self.refine_from is not None:
            raise AlphaBenchError(
                "--refine-from is given without --refine",
                hint="add --refine always, or leave out --refine-from",
            )

    def open_judge(self, judge: str | Judge | None, *, device: str) -> Judge | None:
        """The judge by its spec, with budget and cache; an object is taken as it is."""
        if self.shared_judge is not None and judge == self.judge:
            return self.shared_judge
        if judge is None or isinstance(judge, str):
            return factories.open_named_judge(
                judge, budget=self.budget, no_cache=self.no_cache, device=device
            )
        if self.budget is not None:
            raise AlphaBenchError(
                "a budget limits the cost of a judge that is named, and this one is an object",
                hint="leave out the budget, or let the object keep to one",
            )
        return judge


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRun:
    """A run that was checked as far as possible without weights."""

    plan: RunPlan
    evaluator: str
    """Its spec, with the chosen templates."""
    judge: Judge | None
    moves_judge: bool = False
    """It was named, and goes where its worker is; an object stays where its owner put it."""

    def execute(self, work: Work) -> Outcome:
        """Generate, score and report.

        Raises:
            AlphaBenchError: for errors that the caller can fix.
        """
        return self.load(work).execute(work)

    def load(self, work: Work, *, turns: JudgeTurns | None = None) -> LoadedRun:
        """See `load_planned_run`.

        Raises:
            AlphaBenchError: for errors that the caller can fix.
        """
        return load_planned_run(self.plan, self.evaluation(work.devices), work, turns=turns)

    def evaluation(self, devices: Sequence[str]) -> Evaluation:
        """The evaluator, whose models are not loaded yet.

        Raises:
            AlphaBenchError: it cannot be opened, or the folder not be written.
        """
        factories.check_writable(self.plan.root)
        if self.judge is not None and self.moves_judge:
            for device in devices:  # refuses those that a worker would refuse too late
                judge_on_device(self.judge, device)
        return open_evaluation(
            self.plan.benchmark,
            self.evaluator,
            judge=self.judge,
            device=devices[0],
            moves_judge=self.moves_judge,
        )


def prepare_run(
    benchmark: Benchmark,
    checkpoint: CheckpointFactory,
    settings: RunSettings,
    *,
    device: str,
    dry: bool = False,
) -> PreparedRun:
    """Open judge, evaluator and checkpoint, and decide what the run does.

    Args:
        benchmark: what to evaluate on.
        checkpoint: what to evaluate.
        settings: the other options of the run.
        device: for the judge and the evaluator.
        dry: nothing will be executed: a faulty evaluator is left to the preview.

    Raises:
        AlphaBenchError: whatever makes the run impossible.
    """
    if settings.out is not None and not dry:
        factories.check_writable(settings.out)
    judge = settings.open_judge(settings.judge, device=device)
    known, evaluator, wording = benchmark.card.evaluators, settings.evaluator, settings.wording
    if not dry and (evaluator is not None or len(known) == 1):
        # Fails before the checkpoint is opened, which may take long.
        named = factories.evaluator_spec(evaluator, known[0], wording)
        open_evaluation(benchmark, named, judge=judge, device=device)
    if settings.refine is not None:
        suggested = suggested_evaluator(checkpoint.open(device=device), benchmark)
        oracle = factories.evaluator_spec(evaluator, suggested, wording)
        checkpoint = factories.open_refined(
            checkpoint,
            settings.refine,
            judge=settings.open_judge(settings.refine_judge, device=device),
            moves_judge=isinstance(settings.refine_judge, str),
            open_evaluator=partial(
                evaluator_on_device, benchmark, oracle, judge, isinstance(settings.judge, str)
            ),
            initial=settings.refine_from,
        )
    plan = plan_run(
        benchmark,
        checkpoint,
        out=settings.out,
        label=settings.label,
        limit=settings.limit,
        seed=settings.seed,
        shard=settings.shard,
        device=device,
    )
    spec = factories.evaluator_spec(evaluator, plan.evaluator, wording)
    return PreparedRun(
        plan=plan, evaluator=spec, judge=judge, moves_judge=isinstance(settings.judge, str)
    )
