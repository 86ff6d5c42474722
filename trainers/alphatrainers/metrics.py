"""Numbers of a training: JSON lines always, TensorBoard and W&B if the settings say so.

A line holds `step`, `values` that a resumed run repeats exactly, and `seconds` and `memory`, which
nothing repeats; `reporting.metric_names` says what the names mean. What was not measured is absent,
not 0. Knows no policy.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphatrainers.checkpoint import append_line
from alphatrainers.reporting.metric_names import METRICS_VERSION
from alphatrainers.settings import LoggingSettings
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


class MetricsSink(Protocol):
    """Takes numbers and images, by the number of training steps done."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    def write_image(self, step: int, name: str, image: Image.Image) -> None: ...

    def close(self) -> None: ...


class MetricsLog:
    """Writes every line to the file, then to the sinks; without a file to nothing."""

    def __init__(self, path: Path | None, sinks: Iterable[MetricsSink] = ()) -> None:
        self._path, self._sinks = path, list(sinks)

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
        for sink in self._sinks:
            sink.write(step + 1, {**finite, **named})

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
        for sink in self._sinks:
            sink.write(step, values)
            if panel is not None:
                sink.write_image(step, "panel", panel)

    def close(self) -> None:
        """Closes the sinks."""
        for sink in self._sinks:
            sink.close()


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


def open_sinks(settings: LoggingSettings, folder: Path, *, run: str) -> list[MetricsSink]:
    """TensorBoard if it is installed and wanted, W&B if wanted.

    Raises:
        AlphaBenchError: if W&B is wanted and not installed.
    """
    sinks: list[MetricsSink] = []
    if settings.tensorboard and importlib.util.find_spec("tensorboard") is not None:
        sinks.append(_TensorBoard(folder / "tensorboard"))
    if settings.wandb is not None:
        if importlib.util.find_spec("wandb") is None:
            raise AlphaBenchError(
                "wandb is not installed", hint="pip install wandb, or logging.wandb=null"
            )
        sinks.append(_WandB(settings.wandb, folder, run))
    return sinks


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def write_image(self, step: int, name: str, image: Image.Image) -> None:
        pixels = np.asarray(image.convert("RGB"))
        self._writer.add_image(name, pixels, step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _WandB:
    def __init__(self, project: str, folder: Path, run: str) -> None:
        self._wandb: Any = __import__("wandb")
        self._run = self._wandb.init(project=project, name=run, dir=str(folder), resume="allow")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def write_image(self, step: int, name: str, image: Image.Image) -> None:
        self._run.log({name: self._wandb.Image(image)}, step=step)

    def close(self) -> None:
        self._run.finish()
