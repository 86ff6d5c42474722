"""What exists, by name: literal tables of `module:object`, and entry points of other packages.

Naming a thing imports nothing; opening it imports its module alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Final, Literal

from alphabench.errors import unknown_name

Kind = Literal["benchmark", "checkpoint", "evaluator", "format"]

BENCHMARKS: Final = {
    "geneval": "alphabench.benchmarks.geneval:open_geneval",
}
SPLITS: Final[Mapping[str, tuple[str, ...]]] = {
    "geneval": ("", "long", "mini"),
}
"""For listing; what a name means is the benchmark's own affair."""
CHECKPOINTS: Final = {
    "diffusers": "alphabench.checkpoints.diffusers:open_diffusers",
    "http": "alphabench.checkpoints.http:open_http",
    "images": "alphabench.checkpoints.folder:open_folder",
    "python": "alphabench.checkpoints.python:open_python",
    "scene": "alphabench.checkpoints.scene:open_scene",
}
EVALUATORS: Final = {
    "mask2former": "alphabench.evaluators.detection.mask2former:open_mask2former",
    "mmdet": "alphabench.evaluators.detection.mmdet:open_mmdet",
    "nano": "alphabench.evaluators.detection.nano:open_nano",
}
FORMATS: Final = {
    "geneval": "alphabench.benchmarks.geneval_files:OFFICIAL",
}
_TABLES: Final[Mapping[Kind, Mapping[str, str]]] = {
    "benchmark": BENCHMARKS,
    "checkpoint": CHECKPOINTS,
    "evaluator": EVALUATORS,
    "format": FORMATS,
}


def known(kind: Kind) -> dict[str, str]:
    """Name -> `module:object`; entry points of the group `alphabench.<kind>s` add to the table."""
    outside = {point.name: point.value for point in entry_points(group=f"alphabench.{kind}s")}
    return {**outside, **_TABLES[kind]}


def load(kind: Kind, name: str) -> Any:
    """The object behind a name.

    Raises:
        AlphaBenchError: no such name; the error names the nearest.
    """
    table = known(kind)
    if name not in table:
        raise unknown_name(kind, name, table)
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
