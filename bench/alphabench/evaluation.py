"""Evaluation from Python: what `alphabench run` does, as a function. Imports no model library."""

from __future__ import annotations

from pathlib import Path

from alphabench.benchmarks import open_benchmark
from alphabench.checkpoints.python_object import checked_generator
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Benchmark, Generator
from alphabench.judges import open_judge
from alphabench.judges.python_judge import checked_judge
from alphabench.questions import Judge
from alphabench.runs.plan import (
    CheckpointFactory,
    checkpoint_factory,
    choose_samples,
    open_evaluation,
    plan_run,
)
from alphabench.runs.run import Outcome, Work, execute_plan
from alphabench.runs.store import RunFolder
from alphabench.upstream import default_cache_dir


def evaluate(
    benchmark: str | Benchmark,
    source: str | Path | Generator,
    *,
    evaluator: str | None = None,
    judge: str | Judge | None = None,
    limit: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    work: Work | None = None,
) -> Outcome:
    """Generate, score and report, as `alphabench run` does; resumes an existing run folder.

    Args:
        benchmark: a name, or a benchmark object.
        source: the checkpoint as `--ckpt` takes it, or your own generator (one device only).
        evaluator: `name?key=value&...`; None takes the default for benchmark and checkpoint.
        judge: for benchmarks that need one: as `--judge` takes it, with answers cached as the
            command line does; or your own object; see `open_judge`.
        limit: the number of samples, from all groups in proportion; the report is then partial.
        seed: of the run; each image's seed follows from it.
        out: the run folder; None names one below `runs`.
        work: devices and progress; None is this process, silently.

    Raises:
        AlphaBenchError: for errors that the caller can fix.
    """
    choose_samples((), limit, seed=seed)  # refuses a limit that chooses nothing
    bench = open_benchmark(benchmark) if isinstance(benchmark, str) else benchmark
    if not callable(getattr(bench, "samples", None)):
        raise AlphaBenchError(
            f"a {type(bench).__name__} is no benchmark",
            hint="give a name such as 'geneval:mini', or what open_benchmark returns",
        )
    work = work or Work()
    device = work.devices[0]
    chosen_judge = _judge(judge, device=device)
    if isinstance(source, str | Path):
        chosen = checkpoint_factory(str(source))
    else:
        chosen = _given(checked_generator(source, "the source"))
    where = None if out is None else Path(out)
    plan = plan_run(bench, chosen, out=where, limit=limit, seed=seed, device=device)
    evaluation = open_evaluation(
        bench, evaluator or plan.evaluator, judge=chosen_judge, device=device
    )
    return execute_plan(plan, evaluation, work)


def load_run(root: Path | str) -> RunFolder:
    """An existing run folder: its images, verdicts and reports.

    Raises:
        AlphaBenchError: there is none at `root`.
    """
    return RunFolder.open(Path(root))


def _judge(judge: str | Judge | None, *, device: str) -> Judge | None:
    if judge is None:
        return None
    if isinstance(judge, str):
        return open_judge(judge, cache_dir=default_cache_dir() / "answers", device=device)
    return checked_judge(judge, "the judge")


def _given(generator: Generator) -> CheckpointFactory:
    def the_one(*, device: str) -> Generator:  # noqa: ARG001 - it is where its owner put it
        return generator

    return CheckpointFactory(
        name=generator.identity.get("name", type(generator).__name__), open=the_one
    )
