"""Validation during training: the harness runs a benchmark on the current weights.

Every point of a curve is an ordinary run folder. All points use the same seed, so that they are
compared sample by sample, and the first one equals `alphabench run` on the checkpoint that the
training started from. Knows no policy: it is given a generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, TypeVar

from alphabench import statistics
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Benchmark, Generator
from alphabench.questions import Judge
from alphabench.runs.plan import (
    LONGEST_LABEL,
    CheckpointFactory,
    Evaluation,
    choose_samples,
    open_evaluation,
    plan_run,
    suggested_evaluator,
)
from alphabench.runs.progress import Progress, Silent
from alphabench.runs.run import Outcome, Work, execute_plan
from alphabench.runs.store import RunFolder
from alphabench.runs.stored_run import StoredRun
from alphabench.types import Sample
from alphagrpo.rank_engine import Held, RankEngine
from alphatrainers.protocols import RewardFunction, ValidationPoint, WeightView

T = TypeVar("T")
LEAST_COVERAGE: Final = 0.95
"""Share of verdicts that must be scored for a point; below it the curve has a gap."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkValidation:
    """One benchmark, measured at intervals; see `alphatrainers.protocols.Validation`."""

    name: str
    benchmark: Benchmark
    evaluation: Evaluation
    generator: Callable[[], Generator]
    """The weights in force."""
    checkpoint: str
    """Name of the checkpoint that the training started from, for display."""
    training: str
    """Name of the training, which names its runs in tables."""
    folder: Path
    """Holds the run folders."""
    limit: int | None
    seed: int
    device: str
    report: Callable[[str], None] = field(repr=False)
    """Receives the reason for a gap in the curve."""
    engine: RankEngine | None = field(default=None, repr=False)
    """Shares images and verdicts over the processes of the training; None does all here."""
    progress: Progress = field(default_factory=Silent, repr=False)

    @cached_property
    def samples(self) -> Sequence[Sample]:
        """The samples that are generated for."""
        return choose_samples(self.benchmark.samples(), self.limit, seed=self.seed)

    @property
    def prompts(self) -> Sequence[str]:
        return [sample.prompt for sample in self.samples]

    def measure(self, *, step: int, view: WeightView) -> ValidationPoint | None:
        """See `alphatrainers.protocols.Validation`.

        Raises:
            AlphaBenchError: the very first point cannot be measured: then none could.
        """
        try:
            if self.engine is None:
                return self._point(self._run(step, view))
            return self._point(self.engine.lead(self._held, partial(self._run, step, view)))
        except AlphaBenchError as error:
            if step == 0:
                raise AlphaBenchError(f"{self.name}: {error.message}", hint=error.hint) from error
            self.report(f"step {step}: {self.name} ({view}): {error}")
            return None

    def assist(self) -> None:
        """See `alphatrainers.protocols.SharedValidation`."""
        if self.engine is not None:
            self.engine.assist(self._held)

    def _held(self) -> dict[str, Held[Any]]:
        evaluator = self.evaluation.open(device=self.device)
        parts = {"generator": self.generator(), "evaluator": evaluator}
        return {name: Held(name, part) for name, part in parts.items()}

    def _run(self, step: int, view: WeightView) -> Outcome:
        held = self._held()
        checkpoint = CheckpointFactory(
            name=f"{_without_folders(self.checkpoint)}, step {step}, {view}", open=held["generator"]
        )
        plan = plan_run(
            self.benchmark,
            checkpoint,
            label=self._label(step, view),
            out=run_folder(self.folder, step=step, view=view, name=self.name),
            limit=self.limit,
            seed=self.seed,
            device=self.device,
        )
        _set_others_aside(plan.root, plan.manifest.fingerprint)
        evaluation = replace(self.evaluation, open=held["evaluator"])
        devices = (self.device,) if self.engine is None else self.engine.devices
        work = Work(devices=devices, engine=self.engine, progress=self.progress)
        return execute_plan(plan, evaluation, work)

    def _label(self, step: int, view: WeightView) -> str:
        """What tables call the run: two trainings from one checkpoint have different names."""
        point = f", step {step}, {view}"
        name = "".join(one if one.isprintable() else "-" for one in self.training)
        return f"{name[: LONGEST_LABEL - len(point)]}{point}"

    def _point(self, outcome: Outcome) -> ValidationPoint | None:
        report = outcome.report
        headline = report.headline
        if headline.value is None or report.coverage < LEAST_COVERAGE:
            why = f"no headline, {report.withheld}; " if report.withheld else ""
            self.report(
                f"{self.name}: {why}{report.coverage:.0%} of the verdicts were scored; see "
                f"{outcome.folder.root}"
            )
            return None
        assert headline.low is not None
        assert headline.high is not None
        return ValidationPoint(
            value=headline.value,
            low=headline.low,
            high=headline.high,
            items=mean_verdicts(outcome),
            folder=outcome.folder.root,
        )


def run_folder(folder: Path, *, step: int, view: WeightView, name: str) -> Path:
    """Of the point of a curve; `folder` holds those of all."""
    slug = "".join(letter if letter.isalnum() else "-" for letter in name)
    return folder / f"step-{step:06d}-{view}" / slug


def mean_verdicts(outcome: Outcome) -> dict[str, float]:
    """Mean verdict of each sample all of whose verdicts are scored."""
    values: dict[str, list[float | None]] = {}
    run = StoredRun.of(outcome.folder, verify_images=True)
    for verdict in run.expected_verdicts(outcome.benchmark, outcome.samples, outcome.evaluation):
        values.setdefault(statistics.sample_of(verdict), []).append(verdict.value)
    means = {}
    for sample, found in values.items():
        known = [value for value in found if value is not None]
        if known and len(known) == len(found):
            means[sample] = math.fsum(known) / len(known)
    return means


def open_validation(
    benchmark: Benchmark,
    generator: Callable[[], Generator],
    *,
    evaluator: str | None,
    judge: Judge | None,
    device: str,
) -> Evaluation:
    """The evaluation of a validation; its models load once and stay loaded.

    Raises:
        AlphaBenchError: unknown name or option, or a judge is missing.
    """
    spec = evaluator or suggested_evaluator(generator(), benchmark)
    found = open_evaluation(benchmark, spec, judge=judge, device=device)
    return Evaluation(
        name=found.name,
        open=_always(found.open(device=device)),
        identity=found.identity,
        licences=found.licences,
    )


def refuse_rewarded(
    name: str, identity: Mapping[str, str], rewards: Mapping[str, RewardFunction]
) -> None:
    """Refuses a validation by the reward itself: its curve would rise in any case.

    Args:
        name: of the validation.
        identity: of its evaluation.
        rewards: by name; parts of sums count too.

    Raises:
        AlphaBenchError: naming the reward.
    """
    own = {key: value for key, value in identity.items() if key != "protocol"}
    for reward, found in rewards.items():
        if dict(found.identity) == own:
            raise AlphaBenchError(
                f"the validation {name!r} is measured by the reward {reward!r} itself",
                hint="name another evaluator or judge, or set same_as_reward: true in it",
            )


def _without_folders(checkpoint: str) -> str:
    """A checkpoint in a folder of this machine is named by that folder alone."""
    return Path(checkpoint).name if Path(checkpoint).is_absolute() else checkpoint


def _always(one: T) -> Callable[..., T]:
    def the_one(*, device: str) -> T:
        del device
        return one

    return the_one


def _set_others_aside(root: Path, fingerprint: str) -> None:
    """A training resumed on a GPU may reach other weights: both runs are kept."""
    if not (root / "manifest.json").exists():
        return
    if RunFolder.open(root).manifest.fingerprint == fingerprint:
        return
    number = 1
    while (aside := root.with_name(f"{root.name}-before-{number}")).exists():
        number += 1
    root.rename(aside)
