"""What both ways to a Mask2Former have in common: options, identity, objects from outputs.

Knows neither weights nor preprocessing, in which `mask2former` and `official` differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, Literal

import torch

from alphabench.detections.objects import DetectedObject, Thresholds
from alphabench.evaluators.detection.mask2former.postprocessing import Instances

LIMIT: Final = 100
"""(query, class) pairs an image: max_per_image of mmdet's configuration."""

UNUSED: Final = (".swin.layernorm.",)
"""The last norm of Swin, which a backbone does not pass; checkpoints on the hub are without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedOptions:
    """Options of both, beside where their weights come from."""

    clip: str = "openai"
    """Colour reader: `openai` (ViT-L/14 of OpenAI), a hub id or a folder."""
    dtype: Literal["float64", "float32", "float16", "bfloat16"] = "float32"
    """Precision of both models; the official script computes the detector in float32."""
    min_score: float = 0.05
    """Class probability below which a candidate is not followed up; at most 0.3."""
    self_test: bool = True
    """Run the self-test on bundled photographs before scoring."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_score <= Thresholds().score:
            raise ValueError(f"min_score={self.min_score} is outside 0 to {Thresholds().score}")

    @property
    def identity(self) -> Mapping[str, str]:
        """What decides a result besides weights and preprocessing."""
        return {
            "library": f"transformers {version('transformers')}, torch {torch.__version__}",
            "dtype": self.dtype,
            "min_score": repr(self.min_score),
            "self_test": "on" if self.self_test else "off",
        }


def as_objects(found: Instances, *, categories: Sequence[str]) -> list[tuple[int, DetectedObject]]:
    """(position in the batch, object) for each instance that has a mask at all."""
    rows = zip(
        found.image_N.tolist(),
        found.label_N.tolist(),
        found.score_N.tolist(),
        found.box_N4.tolist(),
        found.mask_NHW.numpy(),
        strict=True,
    )
    return [
        (
            image,
            DetectedObject(
                category=categories[label],
                score=score,
                box=(box[0], box[1], box[2], box[3]),
                mask=mask_HW,
            ),
        )
        for image, label, score, box, mask_HW in rows
        if box[2] > box[0]
    ]
