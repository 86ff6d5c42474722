"""AlphaBench: a benchmark harness for image generation models.

>>> from alphabench import evaluate
>>> outcome = evaluate("geneval:mini", "scene:?error=0.2")
>>> outcome.report.headline.value, outcome.folder.root

The public names are imported when they are first used, so that a sub-package can be imported
without the others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alphabench.benchmarks import open_benchmark
    from alphabench.checkpoints import open_checkpoint
    from alphabench.core.errors import AlphaBenchError
    from alphabench.evaluation import evaluate, load_run
    from alphabench.interfaces import Benchmark, Evaluator, Generator
    from alphabench.judges import open_judge
    from alphabench.questions import Judge
    from alphabench.runs.run import Outcome, Work
    from alphabench.runs.store import RunFolder
    from alphabench.types import (
        Card,
        Estimate,
        GeneratedImage,
        ImageRequest,
        NotGenerated,
        Report,
        Sample,
        Verdict,
    )

__all__ = [
    "AlphaBenchError",
    "Benchmark",
    "Card",
    "Estimate",
    "Evaluator",
    "GeneratedImage",
    "Generator",
    "ImageRequest",
    "Judge",
    "NotGenerated",
    "Outcome",
    "Report",
    "RunFolder",
    "Sample",
    "Verdict",
    "Work",
    "evaluate",
    "load_run",
    "open_benchmark",
    "open_checkpoint",
    "open_judge",
]
_MODULE_OF = {
    "AlphaBenchError": "core.errors",
    "Benchmark": "interfaces",
    "Card": "types",
    "Estimate": "types",
    "Evaluator": "interfaces",
    "GeneratedImage": "types",
    "Generator": "interfaces",
    "ImageRequest": "types",
    "Judge": "questions",
    "NotGenerated": "types",
    "Outcome": "runs.run",
    "Report": "types",
    "RunFolder": "runs.store",
    "Sample": "types",
    "Verdict": "types",
    "Work": "runs.run",
    "evaluate": "evaluation",
    "load_run": "evaluation",
    "open_benchmark": "benchmarks",
    "open_checkpoint": "checkpoints",
    "open_judge": "judges",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
