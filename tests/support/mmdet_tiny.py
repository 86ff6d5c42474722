"""A checkpoint as mmdet saves it, with a tiny network whose numbers follow from its tensors' names.

`tools/reference/mmdet_reference.py store` wrote what mmdet found with it: 2.28.2 in the package,
for its self-test, and 3.3.0 beside this module.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from alphabench.evaluators.detection.coco import COCO_NAMES
from alphabench.evaluators.detection.mask2former import mask2former_probe as build_probe
from alphabench.evaluators.detection.mask2former.mask2former_probe import (
    SCALE,
    read_stored,
    tensors_of,
)

__all__ = ["SCALE", "save_checkpoint", "stored", "tensors"]

PLACES = {
    2: Path(build_probe.__file__).with_name(build_probe.FILE),
    3: Path(__file__).with_name("mmdet_tiny_3.npz"),
}


def stored(release: int) -> dict[str, Any]:
    """What that release of mmdet has in its tiny network, and what it finds with it."""
    return read_stored(PLACES[release].read_bytes())


def tensors(release: int) -> OrderedDict[str, torch.Tensor]:
    """The network's tensors under that release's names."""
    return tensors_of(stored(release))


def save_checkpoint(
    path: Path, release: int, *, changed: dict[str, torch.Tensor | None] | None = None
) -> Path:
    """The file, with some tensors replaced, added, or (None) left out."""
    state = tensors(release)
    for name, tensor in (changed or {}).items():
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    meta: dict[str, Any] = {"CLASSES": COCO_NAMES, "mmdet_version": "2.28.2", "epoch": 50}
    if release == 3:
        meta = {"dataset_meta": {"CLASSES": COCO_NAMES}, "seed": 0}
    torch.save({"meta": meta, "state_dict": state}, path)
    return path
