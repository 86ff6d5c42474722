"""Numbers of a training: JSON lines always, experiment trackers if the settings say so.

A line holds `step`, `values` that a resumed run repeats exactly, and `seconds` and `memory`, which
nothing repeats; `reporting.metric_names` says what the names mean. What was not measured is absent,
not 0. Knows no policy.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from PIL import Image

from alphatrainers.checkpoint import append_line
from alphatrainers.reporting.metric_names import METRICS_VERSION
from alphatrainers.trackers import MetricsSink
from alphatrainers.validation_curve import MeasuredPoint


class Sums:
    """Means of many small parts: name to (sum, how many)."""

    def __init__(self) -> None:
        self.parts: dict[str, tuple[float, float]] = {}

    def add(self, parts: Mapping[str, tuple[float, float]]) -> None:
        """Adds to what is there."""
        for name, (total, number) in parts.items():
            before = self.parts.get(name, (0.0, 0.0))
            self.parts[name] = (before[0] + total, before[1] + number)

    def means(self) -> dict[str, float]:
        """Names with nothing to average are absent."""
        return {name: total / n for name, (total, n) in sorted(self.parts.items()) if n}


def joined_sums(many: Iterable[Sums]) -> Sums:
    """The sums of all processes."""
    total = Sums()
    for one in many:
        total.add(one.parts)
    return total


class MetricsLog:
    """Writes every line to the file, then to the sinks; without a file to nothing.

    The file is the record. A sink that fails is reported once and left alone from then on.
    """

    def __init__(
        self,
        path: Path | None,
        sinks: Iterable[MetricsSink] = (),
        *,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._path, self._sinks, self._report = path, list(sinks), report

    def write(
        self,
        step: int,
        values: Mapping[str, float],
        *,
        seconds: Mapping[str, float],
        memory: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """One training step; values that are not finite are left out."""
        finite = {name: v for name, v in sorted(values.items()) if math.isfinite(v)}
        others = {"seconds": dict(seconds), "memory": dict(memory)}
        if self._path is not None:
            line = {"step": step, "version": METRICS_VERSION, "values": finite}
            append_line(self._path, {**line, **others})
        named = {f"{kind}/{k}": v for kind, part in others.items() for k, v in part.items()}
        self._send(lambda sink: sink.write(step + 1, {**finite, **named}))

    def write_validation(
        self, step: int, points: Iterable[MeasuredPoint], panel: Image.Image | None
    ) -> None:
        """Measured validations and their panel, to the sinks; `validation_curve` writes the file.

        Args:
            step: training steps done.
            points: what was measured; a gap is left out.
            panel: the images beside them, if there is one.
        """
        values: dict[str, float] = {}
        for one in points:
            if one.point is None:
                continue
            name = f"validation/{one.name}/{one.view}"
            values |= {f"{name}/score": one.point.value, f"{name}/low": one.point.low}
            values[f"{name}/high"] = one.point.high
            if one.rise is not None:
                values[f"{name}/difference"] = one.rise.value
        self._send(lambda sink: sink.write(step, values))
        if panel is not None:
            self._send(lambda sink: sink.write_image(step, "panel", panel))

    def close(self) -> None:
        """Closes the sinks."""
        self._send(lambda sink: sink.close())
        self._sinks = []

    def _send(self, work: Callable[[MetricsSink], None]) -> None:
        """To each sink; a service that is away must not end a training of days."""
        for sink in list(self._sinks):
            try:
                work(sink)
            except Exception as error:  # noqa: BLE001  a boundary to other services
                self._sinks.remove(sink)
                self._report(
                    f"{type(sink).__name__.strip('_')} gets nothing more from this training: "
                    f"{type(error).__name__}: {error}; metrics.jsonl goes on"
                )


def peak_memory() -> dict[str, float]:
    """`gpu_peak_gib` and `process_peak_gib` of this process so far; absent where unknown."""
    found = {}
    if torch.cuda.is_available() and (most := torch.cuda.max_memory_allocated()):
        found["gpu_peak_gib"] = most / 2**30
    if importlib.util.find_spec("resource") is not None:
        import resource

        # Kilobytes on Linux, bytes on macOS (getrusage(2) of each).
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["process_peak_gib"] = peak * unit / 2**30
    return found
