"""GenEval's own detector without mmdet: OpenMMLab's weights, mmdet's processing of images, batched.

Promises what mmdet would have found: the weights that the official script loads, converted name by
name (`weight_conversion`), after mmdet's preprocessing (`preprocessing`) and post-processing
(`postprocessing`). Knows no prompt. `tools/reference/check_mask2former.py` holds it against mmdet
itself.

GenEval used mmdet 2.x; `pipeline=mmdet3` does what 3.x does, which differs in how an image is
resized and padded, not in the network or in the post-processing. Images go through the
network one at a time, as there: in a batch a processor rounds otherwise, and the network's masks
inside its attention, which are all or nothing, make much of little.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from alphabench.core import options as text_options
from alphabench.core.errors import AlphaBenchError
from alphabench.detections.objects import DetectedObject, Thresholds
from alphabench.device_transfer import sent
from alphabench.evaluators.detection.clip_colour import ClipColourReader
from alphabench.evaluators.detection.coco import COCO_NAMES, geneval_names
from alphabench.evaluators.detection.detector import ColourReader, Detector
from alphabench.evaluators.detection.detector_self_test import run_detector_self_test
from alphabench.evaluators.detection.mask2former.common_options import (
    LIMIT,
    UNUSED,
    SharedOptions,
    as_objects,
)
from alphabench.evaluators.detection.mask2former.mask2former_probe import (
    PROBED,
    check_mask2former_build,
)
from alphabench.evaluators.detection.mask2former.mask2former_probe import SCALE as PROBE_SCALE
from alphabench.evaluators.detection.mask2former.official_weights import find_official, named_as
from alphabench.evaluators.detection.mask2former.postprocessing import (
    best_candidates,
    instances,
    segments,
)
from alphabench.evaluators.detection.mmdet.preprocessing import Prepared, Release, Scale, prepare
from alphabench.evaluators.detection.mmdet.weight_conversion import (
    HEADS,
    Architecture,
    MmdetCheckpoint,
    architecture_of,
    convert,
    read_checkpoint,
)
from alphabench.weights.digest import digest_file

if TYPE_CHECKING:
    from PIL.Image import Image

NAME: Final = "mask2former:official"
_RELEASES: Final[Mapping[str, Release]] = {"mmdet2": "2", "mmdet3": "3"}
_QUEUED: Final = 8
"""Images whose outputs may wait on the device, to be fetched together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialOptions(SharedOptions):
    """What `mask2former:official?key=value` takes, beside what `SharedOptions` holds."""

    weights: Path | None = None
    """mmdet's .pth file; None takes the one that `alphabench fetch mask2former` brought."""
    pipeline: Literal["mmdet2", "mmdet3"] = "mmdet2"
    """Whose preprocessing: GenEval's published numbers come from mmdet 2.x."""
    at_once: int = 1
    """Images of one size in one pass. More may save time on a GPU, and moves scores by rounding:
    mostly by 1e-5, and by 0.004 in one of two images that were tried with random weights."""

    def __post_init__(self) -> None:
        SharedOptions.__post_init__(self)
        if self.at_once < 1:
            raise ValueError(f"at_once={self.at_once} is no number of images")


def open_official(
    options: Mapping[str, str], *, device: str, cache_dir: Path | None = None
) -> tuple[Detector, ColourReader]:
    """The detector and the colour reader; nothing is loaded yet.

    Args:
        options: fields of `OfficialOptions` as text.
        device: of torch: `cpu`, `cuda:1`.
        cache_dir: where fetched weights lie; None is the user's cache.

    Raises:
        AlphaBenchError: an unknown option or a value that does not fit.
    """
    chosen = text_options.fill(OfficialOptions, options, owner=NAME)
    reader = ClipColourReader(chosen.clip, dtype=chosen.dtype, device=device)
    return OfficialDetector(chosen, device=device, cache_dir=cache_dir), reader


class OfficialDetector:
    """Finds the 80 COCO classes as mmdet would. Picklable until the first use of its weights.

    Args:
        options: see `OfficialOptions`.
        device: of torch.
        cache_dir: where fetched weights lie; None is the user's cache.
        scale: size of resized images; another than mmdet's for small networks.
    """

    def __init__(
        self,
        options: OfficialOptions,
        *,
        device: str,
        cache_dir: Path | None = None,
        scale: Scale | None = None,
    ) -> None:
        self.options = options
        self.device = device
        self.cache_dir = cache_dir
        self.scale = scale or Scale()

    @property
    def identity(self) -> Mapping[str, str]:
        """Reads the weights' file, and loads nothing.

        Raises:
            AlphaBenchError: the file is not there, or is not what its name says.
        """
        return {
            "model": f"mask2former {self._digest}",
            "weights": named_as(self._digest),
            "pipeline": self.options.pipeline,
            "at_once": repr(self.options.at_once),
            **self.options.identity,
            "self_test": self._tested,
        }

    @property
    def thresholds(self) -> Thresholds:
        """GenEval's: 0.3, and 0.9 for counting."""
        return Thresholds()

    def self_test(self, colours: ColourReader) -> None:
        """See `official_probe.check_build`, then `self_test.run_self_test`.

        Does nothing under `self_test=off`.
        """
        if self.options.self_test:
            check_mask2former_build(self._find_with, device=self.device)
            run_detector_self_test(self, colours)

    def detect(self, images: Sequence[Image]) -> list[list[DetectedObject]]:
        """All objects of each RGB image whose class probability exceeds `min_score`.

        Sorted by class probability.
        """
        release = _RELEASES[self.options.pipeline]
        prepared = [
            prepare(np.asarray(image.convert("RGB")), release=release, scale=self.scale)
            for image in images
        ]
        by_size: dict[torch.Size, list[int]] = defaultdict(list)
        for position, one in enumerate(prepared):
            by_size[one.pixels_CPQ.shape].append(position)
        step = self.options.at_once
        groups = [of[at : at + step] for of in by_size.values() for at in range(0, len(of), step)]
        at_once = max(1, _QUEUED // step)
        found: dict[int, list[DetectedObject]] = {}
        for start in range(0, len(groups), at_once):
            together = groups[start : start + at_once]
            outputs = [
                output
                for positions in together
                for output in self._outputs([prepared[at] for at in positions])
            ]
            every = [position for positions in together for position in positions]
            sizes = [(images[at].height, images[at].width) for at in every]
            found |= zip(every, self._objects(outputs, sizes), strict=True)
        return [found[position] for position in range(len(images))]

    @property
    def _tested(self) -> str:
        """What the self-test covers."""
        if self.options.self_test and self.options.dtype not in PROBED:
            return "in float32 only"
        return self.options.identity["self_test"]

    def _find_with(self, weights: Path, images: Sequence[Image]) -> list[list[DetectedObject]]:
        """What a small network of mmdet 2.x finds on this device."""
        dtype = self.options.dtype if self.options.dtype in PROBED else "float32"
        options = OfficialOptions(weights=weights, min_score=0.0, dtype=dtype)
        return OfficialDetector(options, device=self.device, scale=PROBE_SCALE).detect(images)

    @torch.inference_mode()
    def _outputs(self, inputs: Sequence[Prepared]) -> list[_Output]:
        """What the network says of images of one size, in one pass; waits for nothing."""
        model = self._loaded
        pixels_BCPQ = torch.stack([one.pixels_CPQ for one in inputs])
        made = model.network(pixel_values=sent(pixels_BCPQ, self.device, model.dtype))
        return [
            _Output(
                class_logits_1QC1=made.class_queries_logits[at : at + 1],
                mask_logits_1Qhw=made.masks_queries_logits[at : at + 1],
                input_size=(pixels_BCPQ.shape[2], pixels_BCPQ.shape[3]),
                content_size=one.content,
            )
            for at, one in enumerate(inputs)
        ]

    @torch.inference_mode()
    def _objects(
        self, outputs: Sequence[_Output], sizes: Sequence[tuple[int, int]]
    ) -> list[list[DetectedObject]]:
        """Objects of each image; `sizes` are (height, width) of the images."""
        candidates = best_candidates(
            [output.class_logits_1QC1 for output in outputs],
            limit=LIMIT,
            min_score=self.options.min_score,
        )
        parts = [
            segments(
                these,
                output.mask_logits_1Qhw,
                input_size=output.input_size,
                content_size=output.content_size,
                image_size=size,
            )
            for these, output, size in zip(candidates, outputs, sizes, strict=True)
        ]
        categories = self._loaded.categories
        return [
            [found for _, found in as_objects(one, categories=categories)]
            for one in instances(candidates, parts)
        ]

    @cached_property
    def _weights(self) -> Path:
        return find_official(self.options.weights, cache_dir=self.cache_dir)

    @cached_property
    def _digest(self) -> str:
        return digest_file(self._weights)

    @cached_property
    def _loaded(self) -> _Loaded:
        return _load(self._weights, dtype=getattr(torch, self.options.dtype), device=self.device)


class _Output(NamedTuple):
    """Of the network, for one image."""

    class_logits_1QC1: Tensor
    mask_logits_1Qhw: Tensor
    input_size: tuple[int, int]
    content_size: tuple[int, int]


class _Loaded(NamedTuple):
    network: Any
    dtype: torch.dtype
    categories: tuple[str, ...]
    """GenEval's names by label index."""


def _load(path: Path, *, dtype: torch.dtype, device: str) -> _Loaded:
    """The network with the file's weights.

    Raises:
        AlphaBenchError: no checkpoint of a Mask2Former that mmdet trained on COCO instances.
    """
    checkpoint = read_checkpoint(path)
    sizes = architecture_of(checkpoint.tensors)
    # A file that names no classes has COCO's, in COCO's order, to mmdet too.
    labels = checkpoint.classes or COCO_NAMES
    categories = geneval_names(labels, source=path.name)
    if sizes.classes != len(categories):
        raise AlphaBenchError(
            f"{path.name!r} names {len(categories)} classes and scores {sizes.classes}",
            hint="take the file that OpenMMLab published",
        )
    network = build_mask2former(checkpoint, sizes, dtype=dtype)
    return _Loaded(network.to(device).eval(), dtype, categories)


def build_mask2former(
    checkpoint: MmdetCheckpoint, sizes: Architecture, *, dtype: torch.dtype
) -> Any:
    """A Mask2Former of transformers with the checkpoint's weights, and with no other.

    Raises:
        AlphaBenchError: a tensor is unknown, missing or of another shape.
    """
    import transformers

    config = _config(sizes)
    model_class: Any = transformers.Mask2FormerForUniversalSegmentation
    with torch.device("meta"):
        declared = model_class(config).state_dict()
    # Neither is computed with here: class weights of the loss, and a norm (see `UNUSED`).
    idle = {
        name: torch.ones_like(tensor, device="cpu")
        for name, tensor in declared.items()
        if name == "criterion.empty_weight" or any(part in name for part in UNUSED)
    }
    network, loading = model_class.from_pretrained(
        None,
        config=config,
        state_dict={**convert(checkpoint.tensors), **idle},
        dtype=dtype,
        output_loading_info=True,
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not loading[kind], (kind, loading[kind])
    return network


def _config(sizes: Architecture) -> Any:
    import transformers

    backbone_class: Any = transformers.SwinConfig
    config_class: Any = transformers.Mask2FormerConfig
    backbone = backbone_class(
        patch_size=sizes.patch,
        embed_dim=sizes.width,
        depths=list(sizes.depths),
        num_heads=list(sizes.heads),
        window_size=sizes.window,
        mlp_ratio=sizes.mlp_ratio,
        out_features=[f"stage{stage + 1}" for stage in range(len(sizes.depths))],
    )
    return config_class(
        backbone_config=backbone,
        num_labels=sizes.classes,
        feature_size=sizes.features,
        mask_feature_size=sizes.mask_features,
        hidden_dim=sizes.features,
        encoder_layers=sizes.encoder_layers,
        encoder_feedforward_dim=sizes.encoder_widening,
        decoder_layers=sizes.decoder_layers + 1,  # transformers counts the queries as one
        dim_feedforward=sizes.decoder_widening,
        num_attention_heads=HEADS,
        num_queries=sizes.queries,
    )
