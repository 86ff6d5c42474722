"""A network of a few numbers that shows whether this build computes Mask2Former as mmdet does.

Has every kind of layer of the real one, and runs all steps: conversion of the weights, input,
network, masks, boxes. The weights follow from their names (`mmdet_frozen`); `official_probe.npz`
holds what mmdet 2.28.2 found with them (`tools/reference/mmdet_reference.py store` wrote it).

It is made for what a wrong kernel or a wrong release does. A processor that rounds otherwise
passes: products of numbers cut to TF32's ten bits left 99% of the objects within the bounds, and
wrong operators at most 26%.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.detections.matching import pair_up
from alphabench.detections.objects import DetectedObject
from alphabench.evaluators.detection.coco import COCO_NAMES, GENEVAL_NAMES
from alphabench.evaluators.detection.mmdet import frozen
from alphabench.evaluators.detection.mmdet.preprocessing import Scale

Stored = Mapping[str, NDArray[Any]]
"""Names and shapes of the tensors, and what mmdet found in each image."""
Find = Callable[[Path, Sequence[Image.Image]], Sequence[Sequence[DetectedObject]]]
"""Objects of each image, by the network in a checkpoint of mmdet 2.x, with inputs of `SCALE`."""

FILE: Final = "official_probe.npz"
SCALE: Final = Scale(long_side=frozen.SCALE[0], short_side=frozen.SCALE[1])
SHARE: Final = 0.8
"""Of mmdet's objects that must be found again. Not all: the network's masks inside its attention
are all or nothing, which makes much of little."""
PROBED: Final = ("float64", "float32", "float16")
"""Precisions in which a sound build finds that share: all, all and 96% of the objects. bfloat16
finds 24%, no more than wrong operators do, so that nothing could be told from it."""
SCORE_GAP: Final = 0.003
MASK_IOU: Final = 0.95


def check_mask2former_build(find: Find, *, device: str) -> None:
    """Find again what mmdet found.

    Args:
        find: the way of the build in question.
        device: of torch, for the error.

    Raises:
        AlphaBenchError: too little of it is found.
    """
    stored = read_stored(resources.files(__package__).joinpath(FILE).read_bytes())
    images = [Image.fromarray(frozen.frozen_image(at)) for at in range(len(frozen.SIZES))]
    with tempfile.TemporaryDirectory(prefix="alphabench-probe-") as folder:
        weights = Path(folder) / "probe.pth"
        torch.save({"meta": {"CLASSES": COCO_NAMES}, "state_dict": tensors_of(stored)}, weights)
        found = find(weights, images)
    wanted = [objects_of(stored, at) for at in range(len(images))]
    n_met = sum(_n_met(ours, theirs) for ours, theirs in zip(found, wanted, strict=True))
    n_wanted = sum(map(len, wanted))
    if n_met < SHARE * n_wanted:
        raise AlphaBenchError(
            f"the self-test failed: this build finds {n_met} of {n_wanted} objects that mmdet "
            f"finds with a small network, on {device!r}",
            hint="this build must not score: use another build of torch or transformers, or "
            "another device: --devices cpu",
        )


def read_stored(content: bytes) -> dict[str, NDArray[Any]]:
    """What `tools/reference/mmdet_reference.py store` wrote."""
    import io

    with np.load(io.BytesIO(content)) as arrays:
        return dict(arrays)


def tensors_of(stored: Stored) -> OrderedDict[str, torch.Tensor]:
    """The small network's tensors, under the names of the release that stored them."""
    found: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name, text in zip(stored["names"].tolist(), stored["shapes"].tolist(), strict=True):
        if name.endswith("relative_position_index"):
            found[name] = torch.from_numpy(stored["position_index"])
            continue
        shape = tuple(map(int, text.split()))
        named = frozen.name_of_3(name)
        found[name] = torch.from_numpy(frozen.random_tensor(named, shape))
    return found


def objects_of(stored: Stored, index: int) -> list[DetectedObject]:
    """What mmdet found in an image."""
    height, width = frozen.SIZES[index]
    masks = np.unpackbits(stored[f"masks{index}"], axis=1, count=height * width).astype(bool)
    rows = zip(
        stored[f"labels{index}"].tolist(),
        stored[f"scores{index}"].tolist(),
        stored[f"boxes{index}"].tolist(),
        masks.reshape(-1, height, width),
        strict=True,
    )
    return [
        DetectedObject(
            category=GENEVAL_NAMES[label],
            score=score,
            box=(box[0], box[1], box[2], box[3]),
            mask=mask_HW,
        )
        for label, score, box, mask_HW in rows
    ]


def _n_met(ours: Sequence[DetectedObject], theirs: Sequence[DetectedObject]) -> int:
    """How many of theirs are there."""
    wanted = {id(one) for one in theirs}
    pairs, _ = pair_up(ours, theirs)
    return sum(id(other) in wanted and _is_met(one, other) for one, other in pairs)


def _is_met(one: DetectedObject, other: DetectedObject) -> bool:
    assert one.mask is not None
    assert other.mask is not None
    shared = np.count_nonzero(one.mask & other.mask)
    covered = np.count_nonzero(one.mask | other.mask)
    return abs(one.score - other.score) <= SCORE_GAP and bool(shared >= MASK_IOU * covered)
