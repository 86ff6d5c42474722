"""What a shell completes: names of benchmarks, checkpoints, evaluators and judges.

Reads tables of names only and imports no model library, so that the Tab key answers at once.
Files and folders are left to the shell.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from alphabench import registry

CHECKPOINT_STARTS: Final = ("nano", "scene:", "images:", "python:", "http://", "https://")
JUDGE_STARTS: Final = (
    "nano",
    "scripted:",
    "transformers:",
    "vllm:",
    "python:",
    "http://",
    "https://",
)


def complete_benchmark(incomplete: str) -> list[str]:
    """Benchmarks with their listed versions and splits."""
    names = registry.benchmark_names()
    listed = (name for one in names for name in (one, *registry.benchmark_entry(one).listed))
    return _starting((*dict.fromkeys(listed), "file:", "python:"), incomplete)


def complete_shown(incomplete: str) -> list[str]:
    """What `alphabench show` takes by name: benchmarks, and what other packages list."""
    others = (
        name
        for kind in sorted(registry.known("listing"))
        for name in registry.load("listing", kind).names()
    )
    return [*complete_benchmark(incomplete), *_starting(others, incomplete)]


def complete_checkpoint(incomplete: str) -> list[str]:
    """The forms of `--ckpt`."""
    return _starting(CHECKPOINT_STARTS, incomplete)


def complete_evaluator(incomplete: str) -> list[str]:
    """Evaluators by name; benchmarks may have further ones."""
    return _starting(sorted({*registry.known("evaluator"), "judge"}), incomplete)


def complete_judge(incomplete: str) -> list[str]:
    """The forms of `--judge`."""
    return _starting(JUDGE_STARTS, incomplete)


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
