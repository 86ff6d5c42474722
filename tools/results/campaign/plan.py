"""What is to be run for a table: a job for each training and each evaluation that is not kept.

Each training has a folder below the work folder, named also by a digest of its recipe: another
recipe begins another training. Decides what is kept of a finished one. Starts no process.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from alphabench import open_benchmark
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Benchmark
from alphabench.reports.comparison import basis_of
from alphabench.runs.plan import package_versions
from alphabench.runs.stored_run import StoredRun
from alphabench.statistics import sample_of
from alphabench.types import Sample, Verdict
from alphabench.upstream import UpstreamData
from alphatrainers.checkpoint import TrainingFolder
from alphatrainers.reporting.history import CurvePoint, MetricsLine, read_points, read_steps
from alphatrainers.strict_yaml import to_plain
from tools.results.campaign.evidence import (
    Evidence,
    KeptEvaluation,
    KeptTraining,
    Score,
    recipe_changes,
)
from tools.results.campaign.jobs import Job
from tools.results.campaign.refined_images import images_generated, judged_samples
from tools.results.campaign.table import (
    SWAPPED,
    CampaignTable,
    EvaluationPlan,
    TableCell,
    evaluations_of,
    home_of,
    overrides_of,
    recipe_of,
    table_cells,
)
from tools.results.image_brightness import brightness_of

State = Literal["kept", "other", "absent"]
"""`other`: kept, but of another recipe or another evaluation than the table's of today."""
_PACKAGES: Final = ("alphabench", "torch", "transformers", "peft", "diffusers", "numpy", "pillow")
_NOT_KEPT: Final = ("forward_passes/", "memory/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A table, where it is run and where its numbers are kept."""

    table: CampaignTable
    work: Path
    """Of the trainings and run folders of all tables: large, and of no use once all is kept."""
    evidence: Evidence
    data: UpstreamData

    def training_state(self, cell: TableCell) -> State:
        """Whether the numbers of its training are there."""
        kept = self.evidence.training(cell)
        if kept is None:
            return "absent"
        same = kept.about["recipe_digest"] == recipe_digest(kept.recipe)
        now = to_plain(recipe_of(self.table, cell))
        return "kept" if same and not recipe_changes(kept.recipe, now) else "other"

    def evaluation_state(self, cell: TableCell, name: str) -> State:
        """Whether the scores of an evaluation are there, of the training that is kept."""
        kept = self.evidence.evaluation(cell, name)
        if kept is None:
            return "absent"
        plan = evaluations_of(self.table, cell)[name]
        same = _definition(kept.plan) == _definition(plan)
        same &= all(name in kept.measures for name in self.table.shows)
        if cell.seed is not None and self.training_state(cell) != "kept":
            same = False
        return "kept" if same else "other"

    def jobs(self) -> list[Job]:
        """All that is not kept, seed by seed: each training, then its evaluations."""
        found = [job for cell in table_cells(self.table) for job in self._jobs_of(cell)]
        names = {job.name for job in found}
        wanted = {one for job in found for one in job.needs} - names
        return [job for job in self._initial_jobs() if job.name in wanted] + found

    def _initial_jobs(self) -> list[Job]:
        """Those whose images others refine: kept ones are run again where their images are gone."""
        sources = {plan.initial_of for plan in self.table.evaluations.values()}
        cells = [(TableCell(condition=one[0], seed=None), one[1]) for one in sources if one]
        return [
            self.evaluation_job(cell, name)
            for cell, name in sorted(cells)
            if not (self._run(cell, name) / "report.md").is_file()
        ]

    def _jobs_of(self, cell: TableCell) -> list[Job]:
        missing = [
            name
            for name in evaluations_of(self.table, cell)
            if self.evaluation_state(cell, name) != "kept"
        ]
        evaluations = [self.evaluation_job(cell, name) for name in missing]
        if cell.seed is None:
            return evaluations
        if self.training_state(cell) == "kept" and all(
            self._weights(cell, evaluations_of(self.table, cell)[name]).is_dir() for name in missing
        ):
            return evaluations
        return [self.training_job(cell), *evaluations]

    def training_job(self, cell: TableCell) -> Job:
        """Begins or continues a training; keeps its numbers."""
        words = [
            *(sys.executable, "-m", "alphabench", "train"),
            self.table.conditions[cell.condition].recipe,
            *overrides_of(self.table, cell),
            *("--out", str(self._training(cell)), "--resume=auto"),
        ]
        return Job(
            name=cell.name,
            words=words,
            folder=self.folder(cell),
            slug="training",
            keep=partial(self._keep_training, cell),
            ended=partial(self._stopped_by_guard, cell),
        )

    def evaluation_job(self, cell: TableCell, name: str) -> Job:
        """Begins or continues an evaluation; keeps its scores."""
        plan = evaluations_of(self.table, cell)[name]
        policy = recipe_of(self.table, cell).policy
        settings = [f"--set={key}={value}" for key, value in policy.texts().items()]
        out = self._run(cell, name)
        needs = [] if cell.seed is None else [cell.name]
        initial = []
        if plan.initial_of is not None:
            source = TableCell(condition=plan.initial_of[0], seed=None)
            swapped = SWAPPED if plan.initial.startswith(SWAPPED) else ""
            initial = ["--refine-from", f"{swapped}{self._run(source, plan.initial_of[1])}"]
            needs.append(_evaluation_name(source, plan.initial_of[1]))

        def words() -> list[str]:
            return [
                *(sys.executable, "-m", "alphabench", "run", plan.benchmark),
                *("--ckpt", policy.checkpoint, *settings, *self._lora(cell, plan)),
                *(*plan.options, *initial, "--out", str(out)),
            ]

        return Job(
            name=_evaluation_name(cell, name),
            words=words(),
            words_then=words,
            folder=self.folder(cell),
            slug=name,
            keep=partial(self._keep_evaluation, cell, name, out),
            needs=tuple(needs),
        )

    def _run(self, cell: TableCell, name: str) -> Path:
        """The run folder of an evaluation."""
        plan = evaluations_of(self.table, cell)[name]
        return self.folder(cell) / f"{name}-{_definition(plan)}"

    def folder(self, cell: TableCell) -> Path:
        """Of all that is run for a cell."""
        seed = "untrained" if cell.seed is None else f"seed-{cell.seed}"
        recipe = to_plain(recipe_of(self.table, cell))
        home = self.work.joinpath(*home_of(self.table, cell.condition))
        return home / f"{seed}-{recipe_digest(recipe)}"

    def _training(self, cell: TableCell) -> Path:
        return self.folder(cell) / "run"

    def _weights(self, cell: TableCell, plan: EvaluationPlan) -> Path:
        training = self._training(cell)
        if plan.weights == "best":
            return training / "best"
        step = plan.step if plan.step is not None else recipe_of(self.table, cell).training.steps
        return training / "checkpoints" / f"step-{step:06d}" / plan.weights

    def _lora(self, cell: TableCell, plan: EvaluationPlan) -> list[str]:
        """The words that name the weights; none where the best are those before the first step."""
        if cell.seed is None:
            return []
        if plan.weights == "best" and TrainingFolder(self._training(cell)).best_step() == 0:
            return []
        return ["--lora", str(self._weights(cell, plan))]

    def _keep_training(self, cell: TableCell, seconds: float) -> None:
        del seconds  # of the last attempt alone; the steps have their own
        recipe = recipe_of(self.table, cell)
        folder, plain = self._training(cell), to_plain(recipe)
        steps = read_steps(folder)
        guard = guard_record(read_points(folder), stops=recipe.training.guards.stop_when_hacked)
        stopped = guard is not None and guard["stopped_at"] is not None
        if len(steps) < recipe.training.steps and not stopped:
            raise AlphaBenchError(
                f"the training ended after {len(steps)} of {recipe.training.steps} steps",
                hint="give the same command again: it continues",
            )
        identity = json.loads((folder / "identity.json").read_text(encoding="utf-8"))
        spent = [one.seconds.get("cpu", math.nan) for one in steps]
        spent += [one.seconds.get("cpu", math.nan) for one in read_points(folder)]
        about = {
            "condition": cell.condition,
            "seed": cell.seed,
            "recipe_digest": recipe_digest(plain),
            "versions": dict(package_versions(_PACKAGES)),
            "policy": identity["policy"],
            "rewards": identity["rewards"],
            "processor_seconds": round(math.fsum(spent), 1),
            "best_step": TrainingFolder(folder).best_step(),
            **({} if guard is None else {"guard": guard}),
        }
        kept = KeptTraining(recipe=plain, about=about, steps=[_numbers(step) for step in steps])
        self.evidence.save_training(cell, kept)

    def _stopped_by_guard(self, cell: TableCell) -> bool:
        """Whether its guard saw reward hacking and was to stop it: an end like any other."""
        if not recipe_of(self.table, cell).training.guards.stop_when_hacked:
            return False
        guard = guard_record(read_points(self._training(cell)), stops=True)
        return guard is not None and guard["stopped_at"] is not None

    def _keep_evaluation(self, cell: TableCell, name: str, out: Path, seconds: float) -> None:
        run = StoredRun.open(out)
        (evaluation,) = run.evaluations()
        benchmark = open_benchmark(
            run.manifest.benchmark, protocol=run.protocol(evaluation), data=self.data
        )
        _require_mean(benchmark)
        samples = run.samples(benchmark.samples())
        verdicts = run.expected_verdicts(benchmark, samples, evaluation)
        found = run.manifest.circumstances
        initial = run.manifest.pixels.get("checkpoint.refine.initial", "")
        self._refuse_other_initial(cell, name, initial)
        kept = KeptEvaluation(
            plan=evaluations_of(self.table, cell)[name],
            initial_images=initial,
            images=images_generated(run),
            judged=judged_samples(run, samples),
            benchmark=run.manifest.benchmark,
            data_digest=benchmark.card.data_digest,
            evaluator=run.evaluation(evaluation).identity,
            versions={"python": found["python"], **found["packages"], "git": str(found["git"])},
            processor_seconds=seconds,
            samples=[(sample.id, sample.group) for sample in samples],
            scores=_scores([sample.id for sample in samples], verdicts),
            measures={"brightness": _brightness(run, samples)},
        )
        self.evidence.save_evaluation(cell, name, kept)

    def _refuse_other_initial(self, cell: TableCell, name: str, initial: str) -> None:
        """All conditions and seeds refine the same images, or are not compared."""
        for other in table_cells(self.table):
            if other == cell or name not in evaluations_of(self.table, other):
                continue
            kept = self.evidence.evaluation(other, name)
            if kept is None or self.evaluation_state(other, name) != "kept":
                continue
            if kept.initial_images != initial:
                raise AlphaBenchError(
                    f"{cell.name} refined other images than {other.name}: {initial[:12]}, not "
                    f"{kept.initial_images[:12]}",
                    hint="the images of the untrained model changed: give them the same versions",
                )


def _require_mean(benchmark: Benchmark) -> None:
    if basis_of(benchmark).gather is not None:
        raise AlphaBenchError(
            f"the score of {benchmark.card.name!r} is no mean over its verdicts",
            hint="evaluate on a benchmark such as geneval:mini",
        )


def _scores(samples: Sequence[str], verdicts: Sequence[Verdict]) -> list[list[Score]]:
    rows: dict[str, list[Score]] = {sample: [] for sample in samples}
    for verdict in verdicts:
        score: Score = verdict.status if verdict.value is None else verdict.value
        rows[sample_of(verdict)].append(score)
    return list(rows.values())


def _brightness(run: StoredRun, samples: Sequence[Sample]) -> list[float | None]:
    """The mean over the images of each sample."""
    found: dict[str, list[float]] = {sample.id: [] for sample in samples}
    for image in run.generated_images(samples):
        found[image.request.sample.id].append(brightness_of(image.path))
    return [math.fsum(values) / len(values) if values else None for values in found.values()]


def guard_record(points: Sequence[CurvePoint], *, stops: bool) -> dict[str, Any] | None:
    """What the guard against reward hacking saw; None for a training without validations.

    Args:
        points: all, in the order of measuring.
        stops: whether it was to stop the training, which then ended at its first alarm.
    """
    if not points:
        return None
    alarms = [one for one in points if one.below_best is not None]
    return {
        "stopped_at": alarms[-1].step if stops and alarms else None,
        "alarms": [
            {"step": one.step, "curve": f"{one.name} ({one.view})", "fall": one.below_best[:3]}
            for one in alarms
            if one.below_best is not None
        ],
        "points": [[one.step, one.name, one.view, one.value] for one in points],
    }


def _numbers(step: MetricsLine) -> dict[str, float]:
    seconds = {f"seconds/{name}": value for name, value in step.seconds.items()}
    values = {
        name: value
        for name, value in {**step.values, **seconds}.items()
        if not name.startswith(_NOT_KEPT) and math.isfinite(value)
    }
    return {"step": float(step.step + 1), **values}


def recipe_digest(recipe: Mapping[str, Any]) -> str:
    """Of a recipe without what may differ between the seeds of a condition."""
    training = {k: v for k, v in recipe["training"].items() if k not in ("seed", "logging")}
    plain = {**{k: v for k, v in recipe.items() if k != "about"}, "training": training}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]


def _evaluation_name(cell: TableCell, name: str) -> str:
    return f"{cell.name}: {name}"


def _definition(plan: EvaluationPlan) -> str:
    """A digest of what decides the scores of a plan."""
    decisive = {key: value for key, value in asdict(plan).items() if key != "conditions"}
    if not plan.initial:
        del decisive["initial"]  # plans that were kept earlier have no such key
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:8]
