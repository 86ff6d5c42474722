"""A run reads the samples of its benchmark once and hands them on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from alphabench import evaluate, open_benchmark
from alphabench.interfaces import Benchmark
from alphabench.judges.scripted import ScriptedJudge
from alphabench.questions import Judge
from alphabench.types import Sample


@dataclass
class CountedReads:
    """A benchmark that counts how often its samples are read."""

    benchmark: Benchmark
    n_reads: int = field(default=0, init=False)

    def samples(self) -> Sequence[Sample]:
        self.n_reads += 1
        return self.benchmark.samples()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.benchmark, name)


def n_reads(name: str, out: Path, judge: Judge | None, *, limit: int) -> int:
    benchmark: Any = CountedReads(open_benchmark(name))
    evaluate(benchmark, "scene:", judge=judge, limit=limit, out=out)
    reads: int = benchmark.n_reads
    return reads


@pytest.mark.parametrize(
    ("name", "judge"), [("geneval:mini", None), ("tiif:mini", ScriptedJudge("yes"))]
)
def test_samples_are_read_once_in_a_run_and_in_one_that_continues_it(
    name: str, judge: Judge | None, tmp_path: Path
) -> None:
    assert n_reads(name, tmp_path / "run", judge, limit=3) == 1
    assert n_reads(name, tmp_path / "run", judge, limit=3) == 1, "a finished run"
    assert n_reads(name, tmp_path / "run", judge, limit=6) == 1, "a run with a wider limit"
