"""AlphaBench: a benchmark harness for image generation models.

>>> from alphabench import evaluate
>>> result = evaluate("geneval:mini", "scene:?error=0.2")
>>> result.score, result.folder
>>> result.to_pandas("verdicts")

The public names are imported when they are first used, so that a sub-package can be imported
without the others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alphabench.analysis import compare, leaderboard, load_run
    from alphabench.benchmarks import open_benchmark
    from alphabench.checkpoints import open_checkpoint
    from alphabench.core.errors import AlphaBenchError
    from alphabench.evaluation import evaluate
    from alphabench.interfaces import Benchmark, Evaluator, Generator
    from alphabench.judges import open_judge
    from alphabench.questions import Judge
    from alphabench.reports.comparison import RunComparison
    from alphabench.reports.leaderboard import Leaderboard
    from alphabench.results.run_result import RunResult
    from alphabench.results.training_result import TrainingResult
    from alphabench.training import train
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
    "Leaderboard",
    "NotGenerated",
    "Report",
    "RunComparison",
    "RunResult",
    "Sample",
    "TrainingResult",
    "Verdict",
    "compare",
    "evaluate",
    "leaderboard",
    "load_run",
    "open_benchmark",
    "open_checkpoint",
    "open_judge",
    "train",
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
    "Leaderboard": "reports.leaderboard",
    "NotGenerated": "types",
    "Report": "types",
    "RunComparison": "reports.comparison",
    "RunResult": "results.run_result",
    "Sample": "types",
    "TrainingResult": "results.training_result",
    "Verdict": "types",
    "compare": "analysis",
    "evaluate": "evaluation",
    "leaderboard": "analysis",
    "load_run": "analysis",
    "open_benchmark": "benchmarks",
    "open_checkpoint": "checkpoints",
    "open_judge": "judges",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
