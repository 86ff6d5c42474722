"""Turns what users name into objects: benchmark, checkpoint, judge, devices, progress display.

Both the command line and `alphabench.evaluate` open them here. Reads one environment variable:

ALPHABENCH_MIRROR   where official data is downloaded from instead of its source

ALPHABENCH_CACHE is read by `upstream`, API keys by `credentials`.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from alphabench.core.errors import AlphaBenchError, from_os_error

if TYPE_CHECKING:
    from alphabench.interfaces import Benchmark, Evaluator
    from alphabench.questions import Judge
    from alphabench.runs.plan import CheckpointFactory
    from alphabench.runs.progress import Progress
    from alphabench.runs.run import Work
    from alphabench.runs.sharding import RunShard
    from alphabench.runs.store import RunFolder
    from alphabench.types import ProtocolName
    from alphabench.upstream import UpstreamData


EngineName = Literal["local", "ray"]
"""What runs the workers: this machine's processes, or a Ray cluster."""
REWARDS: Final[Mapping[str, str]] = {"dvreward": "dvreward", "holistic": "dvreward"}
"""Reward of a judge -> the evaluator factory that opens it."""
_FREE: Final = ("nano", "python", "scripted", "transformers", "vllm")
"""Kinds of judge that run locally, or report no costs."""


def cache_dir() -> Path:
    """The folder for downloaded data and cached answers."""
    from alphabench.upstream import default_cache_dir

    return default_cache_dir()


def answers_dir() -> Path:
    """The folder for cached answers of judges."""
    return cache_dir() / "answers"


def mirror() -> str | None:
    """Where official data is downloaded from, if not from its source."""
    return os.environ.get("ALPHABENCH_MIRROR")


def upstream_data() -> UpstreamData:
    """Official data in the user's cache."""
    from alphabench.upstream import UpstreamData

    return UpstreamData(cache_dir=cache_dir())


def open_named_benchmark(
    name: str, protocol: ProtocolName, prompts: Path | None = None
) -> Benchmark:
    """A benchmark by name; a file of prompts replaces its split."""
    from alphabench.benchmarks import open_benchmark

    if prompts is None:
        return open_benchmark(name, protocol=protocol, data=upstream_data())
    from alphabench import registry

    base = name.partition(":")[0].partition("@")[0]
    if base in registry.BENCHMARKS and not registry.BENCHMARKS[base].takes_prompts:
        raise AlphaBenchError(
            f"{base} has its own prompts and does not take --prompts",
            hint="leave out --prompts, or take `dvreward` or `metrics`, which are about prompts of "
            "yours",
        )
    if ":" in name:
        raise AlphaBenchError(
            f"{name!r} names a split and --prompts another", hint="give one of the two"
        )
    return open_benchmark(name, split=str(prompts), protocol=protocol, data=upstream_data())


def benchmark_of_run(
    card_id: str,
    protocol: ProtocolName,
    given: str | Benchmark | None = None,
    *,
    folder: RunFolder,
) -> Benchmark:
    """The benchmark that a run is of.

    Args:
        card_id: as the run folder has it.
        protocol: to score by.
        given: `python:module:factory`, `file:NAME.yaml` or an object, where the user names one. A
            run folder never names code: it may come from someone else.
        folder: of the run, which may keep a copy of a benchmark that is data alone.

    Raises:
        AlphaBenchError: there is no such benchmark, or the given one is another.
    """
    from alphabench import registry
    from alphabench.runs.store import BENCHMARK_FILE

    if given is not None:
        bench = open_named_benchmark(given, protocol) if isinstance(given, str) else given
        if bench.card.id != card_id:
            raise AlphaBenchError(
                f"{given!r} is the benchmark {bench.card.id!r}, and the run is of {card_id!r}",
                hint="name the benchmark of the run",
            )
        return bench
    if (kept := folder.read_page(BENCHMARK_FILE)) is not None:
        from alphabench.benchmarks import open_portable_benchmark

        return open_portable_benchmark(kept, protocol=protocol, data=upstream_data())
    if card_id.partition(":")[0].partition("@")[0] not in registry.benchmark_names():
        raise AlphaBenchError(
            f"the run is of {card_id!r}, which no installed package registers",
            hint="name your own benchmark: --benchmark python:module:factory",
        )
    return open_named_benchmark(card_id, protocol)


def open_shard(text: str | None) -> RunShard | None:
    """The part of a run that an option names, as `3/8`; None for all of it."""
    from alphabench.runs.sharding import read_shard

    return None if text is None else read_shard(text)


def open_checkpoint_factory(
    spec: str,
    settings: list[str] | None,
    *,
    layout: str | None = None,
    lora: str | None = None,
    think: bool = False,
) -> CheckpointFactory:
    """A checkpoint with its settings from all options."""
    from alphabench.core.options import pairs
    from alphabench.runs.plan import checkpoint_factory as by_spec

    if layout is not None and not spec.startswith("images:"):
        raise AlphaBenchError(
            f"--layout is for a folder of images, and {spec!r} is none",
            hint="leave out --layout, or write --ckpt images:DIR",
        )
    given = [*(settings or []), *([f"layout={layout}"] if layout is not None else [])]
    if think:
        given.append("think=true")
    return by_spec(spec, options=pairs(given), lora=lora)


def open_refined(
    checkpoint: CheckpointFactory,
    refine: str,
    *,
    judge: Judge | None,
    moves_judge: bool = False,
    open_evaluator: Callable[..., Evaluator],
    initial: str | None = None,
) -> CheckpointFactory:
    """The checkpoint, followed by refinement of its images.

    Args:
        checkpoint: that generates the initial images.
        refine: `always`, `self`, `resample` or `oracle`, optionally followed by `:ROUNDS`.
        judge: for `self` and `resample`; None is the checkpoint itself. With `always` its scores
            are noted.
        moves_judge: see `plan.open_evaluation`.
        open_evaluator: opens the benchmark's evaluator, for `oracle`.
        initial: the run folder whose images are refined, or `swapped:` and that folder; None
            refines images of the checkpoint.
    """
    from alphabench import registry
    from alphabench.runs import refinement
    from alphabench.runs.initial_images import open_initial_images

    how = refinement.read_refinement(refine)
    if initial is not None:
        how = replace(how, initial=open_initial_images(initial))
    evaluator = None
    if how.mode in refinement.CHECKED_MODES or (how.mode == "always" and judge is not None):
        how = how if judge is None else replace(how, judge=refinement.judge_title(judge))
        evaluator = refinement.judge_evaluator_factory(
            judge, registry.load("evaluator_factory", "dvreward"), moves_judge=moves_judge
        )
    elif judge is not None:
        raise AlphaBenchError(
            f"--refine-judge has no effect with --refine {how.mode}",
            hint="use --refine self, resample or always, or leave the judge out",
        )
    elif how.mode == "oracle":
        evaluator = refinement.benchmark_evaluator_factory(open_evaluator)
    return refinement.refined_checkpoint(checkpoint, how, evaluator)


def open_named_judge(
    spec: str | None, *, budget: float | None, no_cache: bool, device: str
) -> Judge | None:
    """The judge by its spec, if one is given."""
    if spec is None:
        if budget is not None:
            raise AlphaBenchError(
                "--budget limits the cost of a judge, and no judge is named",
                hint="add --judge, or leave out --budget",
            )
        return None
    from alphabench.judges import open_judge

    if budget is not None:
        _check_budget(spec, budget)
    options = {} if budget is None else {"budget_usd": str(budget)}
    cache_dir = None if no_cache else answers_dir()
    return open_judge(spec, options=options, cache_dir=cache_dir, device=device)


def open_judge_reward(spec: str, judge: Judge) -> Evaluator:
    """A reward of a judge by name, with options where it takes them: `dvreward?aggregate=mean`.

    Raises:
        AlphaBenchError: an unknown name or option, or a judge that cannot do it.
    """
    from alphabench import registry
    from alphabench.core.errors import unknown_name

    name = spec.partition("?")[0]
    if name not in REWARDS:
        raise unknown_name("reward of a judge", name, REWARDS)
    evaluator: Evaluator = registry.load("evaluator_factory", REWARDS[name])(judge, spec)
    return evaluator


def _check_budget(spec: str, budget: float) -> None:
    from alphabench.judges import pick_judge_kind

    if not (math.isfinite(budget) and budget > 0):
        raise AlphaBenchError(f"--budget cannot be {budget}", hint="it takes US dollars above 0")
    name, _, options = spec.partition("?")
    kind, _ = pick_judge_kind(name)
    if kind in _FREE:
        raise AlphaBenchError(
            f"--budget has no effect: the judge {name!r} costs nothing",
            hint="leave out --budget",
        )
    if kind == "openai" and "price_" not in options:
        raise AlphaBenchError(
            f"--budget needs the prices of {name!r}",
            hint="add US dollars per million tokens to --judge: ?price_in=0.15&price_out=0.60",
        )


def evaluator_specs(spec: str | None, known: Sequence[str]) -> list[str | None]:
    """The evaluators that an option names, separated by commas; None is the default.

    Args:
        spec: `name?key=value&...`, or several of them.
        known: the benchmark's evaluators. Where a part names none of them, the comma belongs to a
            value, and all of it is one evaluator.

    Raises:
        AlphaBenchError: one is named twice.
    """
    parts = [part.strip() for part in (spec or "").split(",")]
    names = [part.partition("?")[0] for part in parts]
    if len(parts) < 2 or not set(names) <= set(known):
        return [spec]
    if len(set(parts)) < len(parts):
        raise AlphaBenchError(
            f"--evaluator {spec} names an evaluator twice", hint="name each of them once"
        )
    return list(parts)


def evaluator_spec(spec: str | None, default: str, wording: str | None) -> str:
    """The evaluator's spec with the chosen templates.

    Raises:
        AlphaBenchError: an empty spec, which would silently mean the default.
    """
    if spec is not None and not spec.partition("?")[0].strip():
        raise AlphaBenchError(
            "--evaluator is empty", hint="`alphabench list evaluators` shows the names"
        )
    chosen = spec or default
    if wording is None:
        return chosen
    return f"{chosen}{'&' if '?' in chosen else '?'}wording={wording}"


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written, before hours are spent on its content.

    Raises:
        AlphaBenchError: neither it nor, where it does not exist, the folder that would hold it.
    """
    existing = folder.absolute()
    try:
        while not existing.exists():
            existing = existing.parent
    except OSError as error:
        raise from_os_error(error) from error
    if not existing.is_dir():
        raise AlphaBenchError(
            f"{str(folder)!r} cannot be a folder: {str(existing)!r} is a file", hint="name another"
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise AlphaBenchError(
            f"{str(folder)!r} cannot be written: {str(existing)!r} is read-only for you",
            hint="name another folder with --out, or change its permissions",
        )


@contextlib.contextmanager
def execution_options(
    devices: str | None,
    workers: int | None,
    *,
    engine: EngineName = "local",
    ray_address: str | None = None,
    progress: bool | Progress | None = True,
) -> Iterator[Work]:
    """Workers and progress display.

    Args:
        devices: as `choose_devices` takes them; with Ray `cpu` or None.
        workers: processes on one device, None is one; with Ray all workers, None is one for each
            GPU of the cluster.
        engine: what runs the workers.
        ray_address: of the cluster, `host:port`; None is the one that this machine belongs to.
        progress: as `progress_display` takes it.

    Raises:
        AlphaBenchError: devices that are not there, or options that exclude each other.
    """
    from alphabench.runs.progress_display import progress_display
    from alphabench.runs.run import Work
    from alphabench.runs.workers import choose_devices

    if engine == "ray":
        from alphabench.runs.ray_engine import connected_engine

        with (
            connected_engine(
                ray_address or "auto", devices=devices, workers=workers, environment=os.environ
            ) as (cluster, inside),
            progress_display(progress) as display,
        ):
            yield Work(devices=inside, engine=cluster, progress=display)
        return
    if ray_address is not None:
        raise AlphaBenchError(
            "--ray-address names a Ray cluster, and this run does not use one",
            hint="add --engine ray, or leave the address out",
        )
    workers = 1 if workers is None else workers
    if workers > 1 and devices is not None and "," in devices:
        raise AlphaBenchError(
            f"--workers {workers} is for one device, and --devices {devices} names several, with "
            "one process on each",
            hint="leave one of them out",
        )
    chosen = choose_devices(devices, workers=workers)
    with progress_display(progress) as display:
        yield Work(devices=chosen, progress=display)
