"""Evaluation from Python: what `alphabench run` does, as a function. Imports no model library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, get_args

from alphabench.checkpoints.python_object import generator_of
from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import option_text
from alphabench.interfaces import Benchmark, Generator
from alphabench.judges.python_judge import checked_judge
from alphabench.python_arguments import (
    device_list,
    dollars_or_none,
    one_of,
    option_mapping,
    path_or_none,
    text_or_none,
    truth,
    whole_number,
)
from alphabench.questions import Judge
from alphabench.results.run_result import RunResult
from alphabench.runs import factories
from alphabench.runs.plan import CheckpointFactory
from alphabench.runs.prepared_run import RunSettings, prepare_run
from alphabench.runs.progress import Progress
from alphabench.runs.run import Outcome
from alphabench.runs.stored_run import StoredRun
from alphabench.types import Card, ProtocolName

AnyPath = str | PathLike[str]
"""Text or a path."""


def evaluate(  # noqa: PLR0913 - an argument is an option of `alphabench run`
    benchmark: AnyPath | Benchmark,
    checkpoint: AnyPath | Generator | Callable[..., Any],
    *,
    judge: str | Judge | None = None,
    evaluator: str | None = None,
    protocol: ProtocolName | None = None,
    wording: Literal["official", "own"] | None = None,
    prompts: AnyPath | None = None,
    lora: AnyPath | None = None,
    think: bool = False,
    options: Mapping[str, Any] | None = None,
    layout: str | None = None,
    refine: str | None = None,
    refine_judge: str | Judge | None = None,
    refine_from: str | None = None,
    limit: int | None = None,
    shard: str | None = None,
    seed: int = 0,
    out: AnyPath | None = None,
    name: str | None = None,
    devices: str | int | Sequence[str | int] | None = None,
    workers: int | None = None,
    engine: factories.EngineName = "local",
    ray_address: str | None = None,
    budget: float | None = None,
    cache: bool = True,
    progress: bool | Progress | None = None,
) -> RunResult:
    """Generate images, score them and report, as `alphabench run` does.

    The same call continues a run that was interrupted, and a finished run is only read.

    Args:
        benchmark: a name such as `geneval` or `tiif:testmini`; `file:NAME.yaml`, or the file as a
            path; `python:module:factory`, or a benchmark object.
        checkpoint: whatever `--ckpt` takes, as text or path; a loaded diffusers pipeline; a
            function of a prompt, or of a prompt and a seed, that returns an image; or an object
            with `identity`, `batch_size` and `generate`.
        judge: for benchmarks that need one: whatever `--judge` takes, or a judge object.
        evaluator: `name?key=value&...`; None takes the default for benchmark and checkpoint.
        protocol: `official` (the default) or `strict`; a benchmark object has its own.
        wording: prompt templates of the judge, `official` or `own`.
        prompts: a file with your own prompts, for benchmarks that take one.
        lora: a LoRA adapter: file, folder or hub id.
        think: generate with chain of thought.
        options: of the checkpoint, as `--set` has them: `{"steps": 28}`. For a function they are
            further arguments, for a loaded pipeline its sampling options.
        layout: of a folder of images, `images:DIR`.
        refine: refine images: `always`, `self`, `resample` or `oracle`, optionally followed by
            `:ROUNDS`.
        refine_judge: the judge for `refine="self"` and `"resample"`; None is the checkpoint itself.
            With `"always"` its scores before and after are noted with each image.
        refine_from: a run folder whose images are refined, or `swapped:` and that folder; None
            refines images of the checkpoint.
        limit: the number of samples, from all groups in proportion; the report is then partial.
        shard: only a part of the samples, such as `3/8`, in a folder of its own that stands
            beside the run's and ends with `.shard-3-of-8`; see `alphabench.analysis.merge_runs`.
        seed: of the run; each image's seed follows from it.
        out: the run folder; None names one below `runs`.
        name: what tables call the run instead of its checkpoint; also names its folder without
            `out`.
        devices: `cpu`, GPU numbers, or a list of them with one process each; None takes the first
            GPU, or the CPU. Objects and functions stay where they are.
        workers: processes on one device; with Ray, how many GPUs of the cluster are used, None
            for all.
        engine: `local` is this machine; `ray` is a Ray cluster that is running, with one process
            on each GPU.
        ray_address: of its head, `host:port`; None is the cluster that this machine belongs to.
        budget: stop before the judge costs more than this many US dollars.
        cache: read and write the cache of the judge's answers, below `ALPHABENCH_CACHE`.
        progress: None shows progress on a terminal and in a notebook; False shows nothing, True
            also prints lines elsewhere. An object with `begin`, `advance`, `note` and `end`
            receives the progress.

    Returns:
        Score, report, verdicts and images; see `RunResult`.

    Raises:
        AlphaBenchError: for errors that the caller can fix.
    """
    settings = RunSettings(
        judge=_judge(judge, "judge"),
        evaluator=text_or_none("evaluator", evaluator),
        wording=wording if wording is None else _wording(wording),
        refine=text_or_none("refine", refine),
        refine_judge=_judge(refine_judge, "refine_judge"),
        refine_from=text_or_none("refine_from", refine_from),
        limit=None if limit is None else whole_number("limit", limit, least=1),
        seed=whole_number("seed", seed, least=0),
        shard=factories.open_shard(text_or_none("shard", shard)),
        out=path_or_none("out", out),
        label=text_or_none("name", name),
        budget=dollars_or_none("budget", budget),
        no_cache=not truth("cache", cache),
    )
    bench = _benchmark(benchmark, protocol, path_or_none("prompts", prompts))
    how = {"layout": text_or_none("layout", layout), "lora": text_or_none("lora", lora)}
    chosen = _checkpoint(checkpoint, option_mapping(options), think=truth("think", think), **how)
    one_of("engine", engine, get_args(factories.EngineName))
    with factories.execution_options(
        device_list(devices),
        None if workers is None else whole_number("workers", workers, least=1),
        engine=engine,
        ray_address=text_or_none("ray_address", ray_address),
        progress=progress,
    ) as work:
        if (len(work.devices) > 1 or work.engine) and not isinstance(checkpoint, str | PathLike):
            raise AlphaBenchError(
                "an object or function generates in this process, so it takes one device and one "
                "worker",
                hint="leave out devices, workers and engine, or name it: 'python:module:factory'",
            )
        run = prepare_run(bench, chosen, settings, device=work.devices[0])
        return result_of(run.execute(work))


def result_of(outcome: Outcome) -> RunResult:
    """The result of a run that was just scored."""

    def open_benchmark(_protocol: ProtocolName, /) -> Benchmark:
        return outcome.benchmark

    stored = StoredRun.of(outcome.folder, verify_images=True)
    return RunResult(stored, open_benchmark, outcome.evaluation)


def _benchmark(given: Any, protocol: ProtocolName | None, prompts: Path | None) -> Benchmark:
    if protocol is not None:
        one_of("protocol", protocol, get_args(ProtocolName))
    if isinstance(given, PathLike):
        given = f"file:{fspath(given)}"
    if isinstance(given, str):
        return factories.open_named_benchmark(given, protocol or "official", prompts)
    card = getattr(given, "card", None)
    if isinstance(given, type) or not isinstance(card, Card):
        kind = given.__name__ if isinstance(given, type) else type(given).__name__
        raise AlphaBenchError(
            f"{kind} is no benchmark, and no object with a card",
            hint="give a name such as 'geneval:mini', what open_benchmark returns, or an object",
        )
    if prompts is not None or protocol not in (None, card.protocol):
        raise AlphaBenchError(
            "a benchmark object has its own prompts and its own protocol",
            hint="leave out prompts and protocol, or give the benchmark's name",
        )
    benchmark: Benchmark = given
    return benchmark


def _checkpoint(
    given: Any, options: dict[str, Any], *, layout: str | None, lora: str | None, think: bool
) -> CheckpointFactory:
    if isinstance(given, str | PathLike):
        settings = [f"{key}={option_text(value)}" for key, value in options.items()]
        return factories.open_checkpoint_factory(
            str(given), settings, layout=layout, lora=lora, think=think
        )
    for name, value in (("lora", lora), ("layout", layout), ("think", think or None)):
        if value is not None:
            raise AlphaBenchError(
                f"{name} is for a checkpoint that is named, and a {type(given).__name__} is given",
                hint=f"leave out {name}, or do the same to the object before",
            )
    generator = generator_of(given, "the checkpoint", options=options)

    def the_one(*, device: str) -> Generator:  # noqa: ARG001 - it is where its owner put it
        return generator

    name = generator.identity.get("name", type(generator).__name__)
    return CheckpointFactory(name=name, open=the_one)


def _judge(given: Any, name: str) -> str | Judge | None:
    return given if given is None or isinstance(given, str) else checked_judge(given, f"the {name}")


def _wording(given: Any) -> Literal["official", "own"]:
    one_of("wording", given, ("official", "own"))
    chosen: Literal["official", "own"] = given
    return chosen
