"""What the factories of a training receive in addition to their settings. Opens nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from alphabench.runs.progress import Progress, Silent
from alphabench.upstream import UpstreamData
from alphatrainers.distributed import Processes


@dataclass(frozen=True, slots=True, kw_only=True)
class AssemblyContext:
    """Folders, data and device of a training."""

    folder: Path
    """The training's own."""
    data: UpstreamData
    """Official data of benchmarks on this machine."""
    device: str
    """`cpu`, `cuda` or `cuda:1`."""
    report: Callable[[str], None]
    """Receives one line of progress or warning."""
    processes: Processes = field(default_factory=Processes)
    """That train together; they share the work of validations."""
    validation_progress: Callable[[str], Progress] = lambda _: Silent()
    """Gives the progress display of a validation, by its name."""
