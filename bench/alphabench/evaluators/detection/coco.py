"""The 80 classes of COCO instance segmentation, and the words GenEval has for them.

Knows no model. Label index = position in `COCO_NAMES`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from alphabench.core.errors import AlphaBenchError

COCO_NAMES: Final = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""The annotation file's own names, in the order of its contiguous labels."""

_GENEVAL_WORDS: Final[Mapping[str, str]] = {
    "mouse": "computer mouse",
    "remote": "tv remote",
    "keyboard": "computer keyboard",
}
"""Where GenEval's object_names.txt (djghosh13/geneval) differs from COCO."""

_OTHER_SPELLINGS: Final[Mapping[str, str]] = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
    "computer mouse": "mouse",
    "tv remote": "remote",
    "computer keyboard": "keyboard",
}
"""Spellings found in the label tables of published COCO checkpoints."""

GENEVAL_NAMES: Final = tuple(_GENEVAL_WORDS.get(name, name) for name in COCO_NAMES)
"""The 80 classes as GenEval spells them, in COCO's order."""


def geneval_names(labels: Sequence[str], *, source: str) -> tuple[str, ...]:
    """GenEval's word for each label of a checkpoint, in the checkpoint's order.

    Args:
        labels: a checkpoint's label names by index.
        source: the checkpoint, for the error.

    Raises:
        AlphaBenchError: the labels are not the 80 COCO classes, each once.
    """
    plain = [label.casefold().replace("_", " ") for label in labels]  # mmdet: traffic_light
    coco = [_OTHER_SPELLINGS.get(label, label) for label in plain]
    if sorted(coco) != sorted(COCO_NAMES):
        strange = [
            label for label, name in zip(labels, coco, strict=True) if name not in COCO_NAMES
        ]
        first = f", among them {strange[0]!r}" if strange else ""
        raise AlphaBenchError(
            f"{source!r} knows {len(labels)} classes{first}; it is no COCO instance checkpoint",
            hint="choose one trained on the 80 classes of COCO instances, such as "
            "facebook/mask2former-swin-small-coco-instance for the evaluator mask2former",
        )
    return tuple(_GENEVAL_WORDS.get(name, name) for name in coco)
