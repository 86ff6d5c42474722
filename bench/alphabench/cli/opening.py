"""From what was typed to the objects of the library; reads two variables of the environment.

ALPHABENCH_CACHE    where official data and judges' answers are kept (default: the user's cache)
ALPHABENCH_MIRROR   where official data is fetched from instead of its source

Keys of remote services are read by `credentials`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from alphabench.errors import AlphaBenchError

if TYPE_CHECKING:
    from alphabench.judges.question import Judge
    from alphabench.plan import Checkpoint
    from alphabench.run import Work
    from alphabench.types import Benchmark, Evaluator, ProtocolName
    from alphabench.upstream import UpstreamData


def cache_dir() -> Path:
    """Where data and answers are kept."""
    from alphabench.upstream import default_cache_dir

    chosen = os.environ.get("ALPHABENCH_CACHE")
    return Path(chosen) if chosen else default_cache_dir()


def answers_dir() -> Path:
    """Where judges' answers are kept."""
    return cache_dir() / "answers"


def mirror() -> str | None:
    """Where official data is fetched from, if not from its source."""
    return os.environ.get("ALPHABENCH_MIRROR")


def upstream_data() -> UpstreamData:
    """Official data in the user's cache."""
    from alphabench.upstream import UpstreamData

    return UpstreamData(cache_dir=cache_dir())


def benchmark(name: str, protocol: ProtocolName, prompts: Path | None = None) -> Benchmark:
    """A benchmark by name; a file of prompts stands in the place of its split."""
    from alphabench.benchmarks import open_benchmark

    if prompts is None:
        return open_benchmark(name, protocol=protocol, data=upstream_data())
    if ":" in name:
        raise AlphaBenchError(
            f"{name!r} names a split and --prompts another", hint="give one of the two"
        )
    return open_benchmark(name, split=str(prompts), protocol=protocol, data=upstream_data())


def checkpoint(
    spec: str,
    settings: list[str] | None,
    *,
    layout: str | None = None,
    lora: str | None = None,
    think: bool = False,
) -> Checkpoint:
    """A checkpoint with the options of all places."""
    from alphabench.options import pairs
    from alphabench.plan import checkpoint as by_spec

    given = [*(settings or []), *([f"layout={layout}"] if layout else [])]
    if think:
        given.append("think=true")
    return by_spec(spec, options=pairs(given), lora=lora)


def refined(
    checkpoint: Checkpoint,
    refine: str,
    *,
    own: Judge | None,
    theirs: Callable[..., Evaluator],
) -> Checkpoint:
    """The checkpoint with refinement behind it.

    Args:
        checkpoint: that draws.
        refine: `always`, `self` or `oracle`, with `:ROUNDS` behind it.
        own: the judge of `self`; None is the checkpoint itself.
        theirs: opens the benchmark's evaluator, for `oracle`.
    """
    from alphabench import registry
    from alphabench.checkpoints import refining

    how = refining.read_refinement(refine)
    examiner = None
    if how.mode == "self":
        examiner = refining.examined_by(own, registry.load("examiner", "dvreward"))
    elif own is not None:
        raise AlphaBenchError(
            f"--refine-judge has nothing to say with --refine {how.mode}",
            hint="use --refine self, or leave the judge out",
        )
    elif how.mode == "oracle":
        examiner = refining.examined_by_benchmark(theirs)
    return refining.refined(checkpoint, how, examiner)


def judge(spec: str | None, *, budget: float | None, no_cache: bool, device: str) -> Judge | None:
    """The judge that was named, if any."""
    if spec is None:
        return None
    from alphabench.judges import open_judge

    options = {} if budget is None else {"budget_usd": str(budget)}
    kept = None if no_cache else answers_dir()
    return open_judge(spec, options=options, cache_dir=kept, device=device)


def evaluator(spec: str | None, default: str, wording: str | None) -> str:
    """The evaluator's spec with the wording that was asked for."""
    chosen = spec or default
    if wording is None:
        return chosen
    return f"{chosen}{'&' if '?' in chosen else '?'}wording={wording}"


@contextlib.contextmanager
def work(devices: str | None, workers: int) -> Iterator[Work]:
    """Devices and progress for a piece of work; what it shows goes to standard error."""
    from rich.console import Console

    from alphabench.progress import Bars, Lines
    from alphabench.run import Work
    from alphabench.workers import choose_devices

    console = Console(stderr=True)
    chosen = choose_devices(devices, workers=workers)
    if not console.is_terminal:
        yield Work(devices=chosen, progress=Lines(lambda text: typer.echo(text, err=True)))
        return
    with Bars(console) as bars:
        yield Work(devices=chosen, progress=bars)
