"""What exists, by name: literal tables of `module:object`, and entry points of other packages.

Naming a thing imports nothing; opening it imports its module alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Final, Literal

from alphabench.core.errors import unknown_name

Kind = Literal["benchmark", "checkpoint", "dataset", "evaluator", "examiner", "format", "judge"]

BENCHMARKS: Final = {
    "dpg": "alphabench.benchmarks.dpg.benchmark:open_dpg",
    "gedit": "alphabench.benchmarks.gedit.benchmark:open_gedit",
    "geneval": "alphabench.benchmarks.geneval.benchmark:open_geneval",
    "tiif": "alphabench.benchmarks.tiif.benchmark:open_tiif",
    "wise": "alphabench.benchmarks.wise.benchmark:open_wise",
}
LISTED: Final[Mapping[str, tuple[str, ...]]] = {
    "dpg": ("dpg", "dpg:mini"),
    "dvreward": ("dvreward", "dvreward:mini"),
    "gedit": ("gedit:en", "gedit:cn", "gedit:mini"),
    "geneval": ("geneval", "geneval:long", "geneval:mini"),
    "tiif": ("tiif:testmini", "tiif:test", "tiif:testmini-text", "tiif:test-text", "tiif:mini"),
    "wise": ("wise@verified", "wise@legacy", "wise:mini"),
}
"""Versions and splits, for `alphabench list`; what a name means is the benchmark's own affair."""
CHECKPOINTS: Final = {
    "bagel": "alphabench.checkpoints.bagel:open_bagel",
    "diffusers": "alphabench.checkpoints.diffusers:open_diffusers",
    "http": "alphabench.checkpoints.http:open_http",
    "images": "alphabench.checkpoints.folder:open_folder",
    "nano": "alphabench.checkpoints.bagel:open_nano",
    "janus": "alphabench.checkpoints.janus:open_janus",
    "python": "alphabench.checkpoints.python_object:open_python",
    "scene": "alphabench.checkpoints.scene:open_scene",
}
EVALUATORS: Final = {
    "mask2former": "alphabench.evaluators.detection.mask2former.hub_detector:open_mask2former",
    "mask2former:official": "alphabench.evaluators.detection.mask2former.official:open_official",
    "mmdet": "alphabench.evaluators.detection.mmdet.mmdet_detector:open_mmdet",
    "nano": "alphabench.evaluators.detection.nano_detector:open_nano",
}
FORMATS: Final = {
    "dpg": "alphabench.benchmarks.dpg.official_results:OFFICIAL",
    "gedit": "alphabench.benchmarks.gedit.official_files:OFFICIAL",
    "gedit:cn": "alphabench.benchmarks.gedit.official_files:OFFICIAL_CN",
    "geneval": "alphabench.benchmarks.geneval.official_files:OFFICIAL",
    "tiif": "alphabench.benchmarks.tiif.official_files:OFFICIAL",
    "wise": "alphabench.benchmarks.wise.official_files:OFFICIAL",
}
JUDGES: Final = {
    "nano": "alphabench.judges.nano_judge:open_nano",
    "openai": "alphabench.judges.openai.judge:open_openai",
    "python": "alphabench.judges.python_judge:open_python",
    "scripted": "alphabench.judges.scripted:open_scripted",
    "transformers": "alphabench.judges.transformers:open_transformers",
    "vllm": "alphabench.judges.vllm:open_vllm",
}
DATASETS: Final = {
    "gedit": "alphabench.benchmarks.gedit.dataset:DATASET",
    "mask2former": "alphabench.evaluators.detection.mask2former.official_weights:DATASET",
    "mplug": "alphabench.evaluators.mplug.released_files:DATASET",
}
"""Data that is no set of pinned files; see `Dataset`."""
EXAMINERS: Final[Mapping[str, str]] = {}
"""Evaluators for the samples of any benchmark, made from a judge; other packages bring them."""
_TABLES: Final[Mapping[Kind, Mapping[str, str]]] = {
    "benchmark": BENCHMARKS,
    "checkpoint": CHECKPOINTS,
    "dataset": DATASETS,
    "evaluator": EVALUATORS,
    "examiner": EXAMINERS,
    "format": FORMATS,
    "judge": JUDGES,
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
