"""A checkpoint as mmdet saves it, with a tiny network whose numbers follow from its tensors' names.

`tools/mmdet_reference.py store` wrote the .npz files beside this module, with mmdet 2.28.2 and
3.3.0.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alphabench.evaluators.detection.coco import COCO_NAMES
from alphabench.evaluators.detection.mmdet_input import Scale
from tools.mmdet_reference import TINY_SCALE, name_of_3, random_tensor

SCALE = Scale(long_side=TINY_SCALE[0], short_side=TINY_SCALE[1])


def stored(release: int) -> dict[str, Any]:
    """What that release of mmdet has in its tiny network, and what it finds with it."""
    with np.load(Path(__file__).with_name(f"mmdet_tiny_{release}.npz")) as content:
        return dict(content)


def tensors(release: int) -> OrderedDict[str, torch.Tensor]:
    """The network's tensors under that release's names."""
    content = stored(release)
    found: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name, text in zip(content["names"].tolist(), content["shapes"].tolist(), strict=True):
        shape = tuple(map(int, text.split()))
        if name.endswith("relative_position_index"):
            found[name] = torch.from_numpy(content["position_index"])
        else:
            found[name] = torch.from_numpy(random_tensor(name_of_3(name), shape))
    return found


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
