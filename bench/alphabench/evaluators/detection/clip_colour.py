"""Names the colour of an object by CLIP, as GenEval does.

The object is cut out by its mask on a grey canvas, cropped to its box and compared with ten
colours, each the mean of three sentences about its class. Expects images that are upright already
(EXIF orientation applied), with masks of their size. Knows neither detector nor prompt; the
networks are in `clip_backends`. The official script encodes crops under autocast (half precision on
a GPU); here `dtype` says what is computed, float32 by default.

Shapes: N crops, K colours, T sentences, D embedding, S side of CLIP's input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor
from torch.nn import functional

from alphabench.detections.objects import COLOURS, DetectedObject
from alphabench.device_transfer import fetched
from alphabench.evaluators.detection.clip_backends import Backend, ClipSource, Framing, find_clip
from alphabench.evaluators.detection.detector import ColourQuery

if TYPE_CHECKING:
    from PIL.Image import Image

CANVAS: Final = (0x99, 0x99, 0x99)
"""What surrounds a cut-out object: the official script's default, #999."""

_CROPS_AT_ONCE: Final = 32
"""Crops in one pass; changes no colour. The official script takes 16."""

_TEMPLATES: Final = (
    "a photo of a {colour} {category}",
    "a photo of a {colour}-colored {category}",
    "a photo of a {colour} object",
)
"""djghosh13/geneval, evaluate_images.py, color_classification: facts of the protocol."""


class ClipColourReader:
    """Reads one of ten colours for each object. Picklable until the first `read`.

    Args:
        clip: `openai`, a hub id or a folder (see `clip_backends.find_clip`).
        dtype: name of a torch dtype.
        device: of torch.
    """

    def __init__(self, clip: str, *, dtype: str, device: str) -> None:
        self._clip = clip
        self._dtype = dtype
        self._device = device
        self._classifiers: dict[str, Tensor] = {}

    @property
    def identity(self) -> Mapping[str, str]:
        """Finds the weights, which may download them; loads nothing."""
        return {
            "model": f"clip {self._source.identity}",
            "library": f"{self._source.library}, torch {torch.__version__}",
            "dtype": self._dtype,
        }

    def read(self, queries: Sequence[ColourQuery]) -> list[str]:
        """The nearest colour for each query.

        Raises:
            ValueError: a mask of another size than its image, or a box without a pixel.
            RuntimeError: what CLIP computes is no number.
        """
        pixels = (
            crop_pixels(cut_out(query.image, query.found), framing=self._backend.framing)
            for query in queries
        )
        classifiers = [self._classifier(query.found.category) for query in queries]
        nearest: list[str] = []
        batch: list[Tensor] = []
        for position, pixels_3SS in enumerate(pixels, start=1):
            batch.append(pixels_3SS)
            if len(batch) == _CROPS_AT_ONCE or position == len(queries):
                here = classifiers[len(nearest) : position]
                nearest += self._nearest(torch.stack(batch), torch.stack(here))
                batch.clear()
        return nearest

    @torch.inference_mode()
    def _nearest(self, pixels_N3SS: Tensor, classifier_NKD: Tensor) -> list[str]:
        image_ND = self._backend.encode_images(pixels_N3SS)
        logits_NK = colour_logits(image_ND, classifier_NKD)
        (logits_NK,) = fetched([logits_NK])
        if not logits_NK.isfinite().all():
            raise RuntimeError("CLIP's similarities are not finite")
        return [COLOURS[index] for index in logits_NK.argmax(dim=1).tolist()]

    @torch.inference_mode()
    def _classifier(self, category: str) -> Tensor:
        if category not in self._classifiers:
            sentences = colour_sentences(category)
            text_TD = self._backend.encode_texts(sentences)
            self._classifiers[category] = class_embeddings(text_TD, n_classes=len(COLOURS))
        return self._classifiers[category]

    @cached_property
    def _source(self) -> ClipSource:
        return find_clip(self._clip)

    @cached_property
    def _backend(self) -> Backend:
        return self._source.load(dtype=getattr(torch, self._dtype), device=self._device)


def colour_sentences(category: str) -> list[str]:
    """Three sentences for each of the ten colours, colour after colour."""
    return [
        template.format(colour=colour, category=category)
        for colour in COLOURS
        for template in _TEMPLATES
    ]


def class_embeddings(text_TD: Tensor, *, n_classes: int) -> Tensor:
    """One unit vector (K, D) per class from its sentences' embeddings, class after class.

    Each sentence is normalised, the sentences of a class are averaged, the mean is normalised
    (zero_shot_classifier of LAION-AI/CLIP_benchmark). Float32.
    """
    unit_TD = functional.normalize(text_TD.float(), dim=-1)
    sentence_KTD = unit_TD.reshape(n_classes, -1, text_TD.shape[-1])
    return functional.normalize(sentence_KTD.mean(dim=1), dim=-1)


def colour_logits(image_ND: Tensor, classifier_NKD: Tensor) -> Tensor:
    """100 x cosine of each crop with each colour of its own class, (N, K) in float32."""
    unit_ND = functional.normalize(image_ND.float(), dim=-1)
    return 100.0 * torch.einsum("nd,nkd->nk", unit_ND, classifier_NKD)


def cut_out(image: Image, found: DetectedObject) -> Image:
    """The object on a grey canvas, cropped to its box (Pillow rounds the corners).

    Raises:
        ValueError: a mask of another size than the image, or a box that rounds to nothing.
    """
    whole = image.convert("RGB")
    if found.mask is not None:
        if found.mask.shape != (image.height, image.width):
            raise ValueError(f"a mask of {found.mask.shape} for an image of {image.size}")
        canvas = PillowImage.new("RGB", image.size, color=CANVAS)
        whole = PillowImage.composite(whole, canvas, PillowImage.fromarray(found.mask))
    crop = whole.crop(found.box)
    if 0 in crop.size:
        raise ValueError(f"the box {found.box} of a {found.category} has no pixel")
    return crop


def crop_pixels(crop: Image, *, framing: Framing) -> Tensor:
    """CLIP's preprocessing as (3, S, S) float32: short side to S, centre square, normalised.

    Equal to open_clip's evaluation transform (torchvision's Resize on a Pillow image, bicubic;
    CenterCrop; Normalize), without torchvision.
    """
    side = framing.side
    width, height = crop.size
    if width <= height:
        size = (side, int(side * height / width))
    else:
        size = (int(side * width / height), side)
    if size != crop.size:
        crop = crop.resize(size, PillowImage.Resampling.BICUBIC)
    left, top = round((size[0] - side) / 2.0), round((size[1] - side) / 2.0)
    square = crop.crop((left, top, left + side, top + side))
    pixels_3SS = torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255.0
    mean_3 = torch.tensor(framing.mean)[:, None, None]
    std_3 = torch.tensor(framing.std)[:, None, None]
    return (pixels_3SS - mean_3) / std_3
