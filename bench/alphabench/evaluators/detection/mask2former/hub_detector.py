"""Mask2Former from transformers: GenEval's detector without mmdet, batched over images.

Knows the checkpoint's label table and how to turn outputs into objects; knows no prompt and no
threshold but the two it recommends. What is known to differ from the official mmdet path:

- Weights. The default is the checkpoint of the paper's authors; the official script loads one that
  OpenMMLab trained from the same recipe. Same architecture (Swin-S, COCO instances), other numbers.
  `mask2former:official` (see `official`) takes that one, and does all of this as mmdet does.
- Resizing. Both bring the short side to 800 and the long one to 1333 at most. mmdet keeps the
  proportions, pads to a multiple of 32 and interpolates by OpenCV without anti-aliasing; here the
  size is rounded up to a multiple of 32 and interpolated by Pillow, which smooths when it shrinks.
  A square image gets 800 x 800 without padding from both.
- Post-processing follows mmdet's rule (see `instances`), not transformers', which compares masks at
  384 x 384 and enlarges them by nearest neighbour.
- The image arrives decoded by Pillow; mmdet reads files by OpenCV. For PNG the pixels are equal.

`min_score` leaves out pairs that no threshold would keep. Images are batched only with images of
their own size: padding a smaller image changes its objects, as the model has no padding mask.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from alphabench.core import options as text_options
from alphabench.core.errors import AlphaBenchError
from alphabench.detections.objects import DetectedObject, Thresholds
from alphabench.device_transfer import sent
from alphabench.evaluators.detection.clip_colour import ClipColourReader
from alphabench.evaluators.detection.coco import geneval_names
from alphabench.evaluators.detection.detector import ColourReader, Detector
from alphabench.evaluators.detection.detector_self_test import run_detector_self_test
from alphabench.evaluators.detection.mask2former.common_options import (
    LIMIT,
    UNUSED,
    SharedOptions,
    as_objects,
)
from alphabench.evaluators.detection.mask2former.postprocessing import (
    best_candidates,
    instances,
    segments,
)
from alphabench.weights.find import (
    LOADING_ERRORS,
    WeightsFolder,
    find_weights,
    load_complete,
)

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask2FormerOptions(SharedOptions):
    """What `mask2former?key=value` takes, beside what `SharedOptions` holds."""

    detector: str = "facebook/mask2former-swin-small-coco-instance"
    """Hub id (`owner/name`, `owner/name@revision`) or folder of a COCO instance checkpoint."""


def open_mask2former(
    options: Mapping[str, str],
    *,
    device: str,
    cache_dir: Path | None = None,  # noqa: ARG001  (the hub's client has a cache of its own)
) -> tuple[Detector, ColourReader]:
    """The detector and the colour reader; nothing is loaded yet.

    Args:
        options: fields of `Mask2FormerOptions` as text.
        device: of torch: `cpu`, `cuda:1`.
        cache_dir: where `alphabench fetch` stores weights; not used.

    Raises:
        AlphaBenchError: an unknown option or a value that does not fit.
    """
    chosen = text_options.fill(Mask2FormerOptions, options, owner="mask2former")
    reader = ClipColourReader(chosen.clip, dtype=chosen.dtype, device=device)
    return Mask2FormerDetector(chosen, device=device), reader


class Mask2FormerDetector:
    """Finds the 80 COCO classes. Picklable until the first use of its weights.

    Args:
        options: see `Mask2FormerOptions`.
        device: of torch.
    """

    def __init__(self, options: Mask2FormerOptions, *, device: str) -> None:
        self.options = options
        self.device = device

    @property
    def identity(self) -> Mapping[str, str]:
        """Finds the weights, which may download them; loads nothing."""
        return {
            "model": f"mask2former {self._weights.identity}",
            **self.options.identity,
        }

    @property
    def thresholds(self) -> Thresholds:
        """GenEval's: 0.3, and 0.9 for counting."""
        return Thresholds()

    def self_test(self, colours: ColourReader) -> None:
        """See `self_test.run_self_test`; does nothing under `self_test=off`."""
        if self.options.self_test:
            run_detector_self_test(self, colours)

    def detect(self, images: Sequence[Image]) -> list[list[DetectedObject]]:
        """All objects of each RGB image whose class probability exceeds `min_score`.

        Sorted by class probability. Images of one size go through the network together; that
        changes results by rounding alone (scores by about 1e-6).
        """
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        for position, image in enumerate(images):
            by_size[image.size].append(position)
        found: list[list[DetectedObject]] = [[] for _ in images]
        for positions in by_size.values():
            for at, one in self._detect_equal([images[position] for position in positions]):
                found[positions[at]].append(one)
        return found

    @torch.inference_mode()
    def _detect_equal(self, images: Sequence[Image]) -> list[tuple[int, DetectedObject]]:
        """(position, object) for images of one size."""
        model = self._loaded
        inputs = model.processor(images=list(images), return_tensors="pt")
        pixels_BCHW = sent(inputs["pixel_values"], self.device, model.dtype)
        outputs = model.network(pixel_values=pixels_BCHW)
        width, height = images[0].size
        candidates = best_candidates(
            [outputs.class_queries_logits], limit=LIMIT, min_score=self.options.min_score
        )
        parts = segments(
            candidates[0],
            outputs.masks_queries_logits,
            input_size=(pixels_BCHW.shape[2], pixels_BCHW.shape[3]),
            image_size=(height, width),
        )
        (objects,) = instances(candidates, [parts])
        return as_objects(objects, categories=model.categories)

    @cached_property
    def _weights(self) -> WeightsFolder:
        return find_weights(self.options.detector, option="detector", kind="detector")

    @cached_property
    def _loaded(self) -> _Loaded:
        return _load(self._weights, self.options, device=self.device)


class _Loaded(NamedTuple):
    network: Any
    processor: Any
    dtype: torch.dtype
    categories: tuple[str, ...]
    """GenEval's names by label index."""


def _load(weights: WeightsFolder, options: Mask2FormerOptions, *, device: str) -> _Loaded:
    """The network and its image processor.

    Raises:
        AlphaBenchError: not a Mask2Former, not COCO instances, or weights that are incomplete.
    """
    import transformers

    # Pillow on every machine: the torchvision variant resizes differently. Before transformers 5
    # the Pillow variant has the plain name.
    name = "Mask2FormerImageProcessor"
    processor_class = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    dtype = getattr(torch, options.dtype)
    try:
        config = transformers.AutoConfig.from_pretrained(weights.folder)
        if config.model_type != "mask2former":
            raise ValueError(f"it is a {config.model_type}")
        labels = [config.id2label[index] for index in range(config.num_labels)]
        categories = geneval_names(labels, source=options.detector)
        network = load_complete(
            transformers.Mask2FormerForUniversalSegmentation,
            weights.folder,
            dtype=dtype,
            unused=UNUSED,
        )
        processor = processor_class.from_pretrained(weights.folder)
    except LOADING_ERRORS as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise AlphaBenchError(
            f"{options.detector!r} cannot be loaded as a Mask2Former: {reason[0]}",
            hint="give detector=FOLDER with config.json, preprocessor_config.json and "
            "model.safetensors of a COCO instance checkpoint",
        ) from error
    return _Loaded(network.to(device).eval(), processor, dtype, categories)
