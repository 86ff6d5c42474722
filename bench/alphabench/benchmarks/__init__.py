"""The rules of each benchmark, one folder each, and the grammar of their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from alphabench import registry
from alphabench.core.errors import AlphaBenchError

if TYPE_CHECKING:
    from alphabench.interfaces import Benchmark
    from alphabench.types import ProtocolName
    from alphabench.upstream import UpstreamData

_NAME = re.compile(r"(?P<name>[^@:]+)(@(?P<version>[^@:]+))?(:(?P<split>[^@:]+))?")


def open_benchmark(
    name: str,
    *,
    split: str | None = None,
    protocol: ProtocolName = "official",
    data: UpstreamData | None = None,
) -> Benchmark:
    """A benchmark by name.

    Args:
        name: `benchmark[@version][:split]`: `geneval`, `geneval:mini`, `geneval@af4902f:long`;
            `python:module:factory`, see `python_benchmark`; or `file:NAME.yaml`, see
            `file_benchmark`.
        split: instead of one in the name, for splits that are no word (a file of prompts).
        protocol: upstream's rules as its code has them, or repaired.
        data: where official data lies; None is the user's cache folder.

    Raises:
        AlphaBenchError: no such benchmark, version or split.
    """
    from alphabench.benchmarks.file_benchmark import FILE_PREFIX, open_file_benchmark
    from alphabench.benchmarks.python_benchmark import PREFIX, open_python_benchmark
    from alphabench.upstream import UpstreamData, default_cache_dir

    if name.startswith(PREFIX):
        return open_python_benchmark(name.removeprefix(PREFIX), protocol=protocol)
    if name.startswith(FILE_PREFIX):
        return open_file_benchmark(name.removeprefix(FILE_PREFIX), protocol=protocol)
    match = _NAME.fullmatch(name)
    if match is None:
        raise AlphaBenchError(
            f"{name!r} is not a benchmark's name", hint="write name[@version][:split]"
        )
    factory = registry.load_object(registry.benchmark_entry(match["name"]).factory)
    benchmark: Benchmark = factory(
        split or match["split"] or "",
        version=match["version"],
        protocol=protocol,
        data=data or UpstreamData(cache_dir=default_cache_dir()),
    )
    return benchmark


def open_portable_benchmark(text: str, *, protocol: ProtocolName, data: UpstreamData) -> Benchmark:
    """The benchmark that a run folder keeps a copy of; see `PortableBenchmark`.

    Args:
        text: the copy.
        protocol: to score by.
        data: where fetched files lie.

    Raises:
        AlphaBenchError: the copy is damaged, or the benchmark has no such protocol.
    """
    from alphabench.benchmarks.file_benchmark import open_kept_benchmark
    from alphabench.benchmarks.metrics.benchmark import metrics_from

    return metrics_from(text, protocol=protocol, data=data) or open_kept_benchmark(
        text, protocol=protocol
    )
