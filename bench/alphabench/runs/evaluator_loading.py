"""Loads an evaluator and runs its self-test before the first image is generated.

Knows no benchmark's rules and no run folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from alphabench.interfaces import Generator, HasAddress
from alphabench.questions import remote_judge_of
from alphabench.runs.device_use import CPU, give_back_memory
from alphabench.runs.engines import Engine, RemoteEngine
from alphabench.runs.job_handlers import ScoredImage, open_scoring
from alphabench.runs.plan import Evaluation
from alphabench.runs.progress import Progress, while_busy
from alphabench.runs.workers import Opener, check_opener
from alphabench.types import GeneratedImage


class ExecutionPlace(Protocol):
    """The execution options that loading and generating need."""

    @property
    def devices(self) -> tuple[str, ...]: ...

    @property
    def engine(self) -> Engine | None: ...

    @property
    def progress(self) -> Progress: ...

    def phase(self, name: str) -> str: ...


def needs_device(generator: Generator, work: ExecutionPlace) -> bool:
    """Whether the generator's weights need the accelerator on which the evaluator was tested."""
    return work.devices[0] != CPU and not isinstance(generator, HasAddress)


def load_evaluator(
    evaluation: Evaluation, work: ExecutionPlace, *, keep: bool = True
) -> Opener[GeneratedImage, ScoredImage]:
    """Load the evaluator and run its self-test, before any image is generated.

    Args:
        evaluation: which evaluator.
        work: devices and progress.
        keep: stay loaded until images are scored; otherwise its memory goes to the generator, and
            it is loaded again. A remote judge needs none and stays.

    Raises:
        AlphaBenchError: it cannot be loaded or fails its self-test.
    """
    opener = partial(open_scoring, evaluation.open)
    judge = remote_judge_of(evaluation.open(device=work.devices[0]))
    what = f"loading {evaluation.name} for its self-test"
    if judge is not None:
        what = f"checking the judge {judge.address}"

    def state() -> str:
        silent = judge is not None and not judge.usage.replies
        return "no answer yet" if silent else ""

    with while_busy(work.progress, what, state):
        if isinstance(work.engine, RemoteEngine) and judge is None:
            check_opener(opener, work.devices[0], work.engine, note=work.progress.note)
            return opener
        # A remote judge is asked from here, where the workers' device may not exist.
        device = CPU if isinstance(work.engine, RemoteEngine) else work.devices[0]
        handler = opener(device)
    if work.engine is None and len(work.devices) == 1 and (keep or judge is not None):
        return partial(_opened, handler)
    del handler
    give_back_memory(device)
    return opener


def _opened(
    handler: Callable[[Sequence[GeneratedImage]], list[Any]], _device: str
) -> Callable[[Sequence[GeneratedImage]], list[Any]]:
    return handler
