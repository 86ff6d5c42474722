"""CLIPScore, PickScore, HPSv2.1 and LAION's aesthetic score: formulas on embeddings of a CLIP.

- CLIPScore (Hessel 2021, arXiv:2104.08718): 2.5 max(cos, 0); a prompt follows the words
  "A photo depicts".
- PickScore (Kirstain 2023, arXiv:2305.01569): exp(logit scale) cos.
- HPSv2.1 (Wu 2023, arXiv:2306.09341): cos. Images are fitted into the square, with black
  borders.
- Aesthetic (LAION-AI/aesthetic-predictor): a linear function of the image's unit embedding.

The others take the centre square, as their authors do. The networks are computed in `dtype`, where
the published scripts use half precision on a GPU. Texts are cut after 77 tokens.

Shapes: N images, D embedding, S side of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from alphabench.core import options as text_options
from alphabench.core.errors import AlphaBenchError
from alphabench.device_transfer import fetched
from alphabench.evaluators.detection.clip_backends import Framing, TransformersClip
from alphabench.evaluators.detection.clip_colour import crop_pixels
from alphabench.evaluators.metrics.image_metric import MetricEvaluator, MetricOptions
from alphabench.evaluators.metrics.metric_weights import (
    CLIP_H,
    CLIP_L,
    PICKSCORE,
    ClipWeights,
    OpenClipWeights,
    TensorFile,
    TransformersWeights,
    licences_of_sources,
    read_pickled_tensors,
)
from alphabench.upstream import UpstreamData, pin_of

if TYPE_CHECKING:
    from PIL.Image import Image

PIN: Final = "metrics"
"""The pinned data that has LAION's head."""
_HPS_REPOSITORY: Final = "xswu/HPSv2@697403c78157020a1ae59d23f111aa58ced35b0a"
_HPS_FILE: Final = "HPS_v2.1_compressed.pt"

Frame = Callable[..., Tensor]
"""An RGB image, and `framing=`, to pixels (3, S, S)."""
PairFormula = Callable[[Tensor, float], Tensor]
"""Cosines (N,) and the network's logit scale to values (N,), float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScoreOptions(MetricOptions):
    """What `clipscore?key=value` takes."""

    clip: str = CLIP_L
    """Hub id or folder of a CLIP; another one than ViT-L/14 is another metric."""
    prefix: str = "A photo depicts"
    """Before each prompt, as the authors have it; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PickScoreOptions(MetricOptions):
    """What `pickscore?key=value` takes."""

    clip: str = PICKSCORE
    """Hub id or folder; a folder has the tokenizer with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HpsOptions(MetricOptions):
    """What `hpsv2?key=value` takes."""

    weights: str = _HPS_REPOSITORY
    """A file of tensors under open_clip's names; unset: the published HPS_v2.1_compressed.pt."""
    clip: str = CLIP_H
    """Hub id or folder with the network's configuration and tokenizer."""
    allow_pickle: bool = False
    """Confirms that you trust the file, which is a pickle, unless it ends in .safetensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AestheticOptions(MetricOptions):
    """What `aesthetic?key=value` takes."""

    clip: str = CLIP_L
    """Hub id or folder of the CLIP that embeds the image."""
    head: str = ""
    """A safetensors file with `weight` (1, D) and `bias` (1); unset: LAION's, fetched."""


class LinearHead(NamedTuple):
    """A linear function of an embedding."""

    weight_1D: Tensor
    bias_1: Tensor


def clip_score(cosine_N: Tensor, logit_scale: float) -> Tensor:
    """2.5 max(cos, 0), 0 to 2.5 (Hessel 2021, equation 1)."""
    del logit_scale
    return 2.5 * cosine_N.clamp(min=0.0)


def pick_score(cosine_N: Tensor, logit_scale: float) -> Tensor:
    """The logit scale (100 as trained) times the cosine."""
    return logit_scale * cosine_N


def preference_score(cosine_N: Tensor, logit_scale: float) -> Tensor:
    """HPS: the cosine itself, -1 to 1."""
    del logit_scale
    return cosine_N


def cosines(image_ND: Tensor, text_ND: Tensor) -> Tensor:
    """Of each image with the text at the same position, (N,) in float32."""
    unit_image_ND = functional.normalize(image_ND.float(), dim=-1)
    return (unit_image_ND * functional.normalize(text_ND.float(), dim=-1)).sum(dim=-1)


def linear_scores(image_ND: Tensor, head: LinearHead) -> Tensor:
    """The head on unit embeddings, (N,) in float32."""
    unit_ND = functional.normalize(image_ND.float(), dim=-1)
    return functional.linear(unit_ND, head.weight_1D, head.bias_1)[:, 0]


def fitted_pixels(image: Image, *, framing: Framing) -> Tensor:
    """(3, S, S) float32: the long side to S, black borders, normalised.

    HPSv2's transform at inference: a tensor is resized (bicubic with antialiasing, as torchvision
    does since 0.17) and padded with zeros before it is normalised.
    """
    side = framing.side
    pixels_3HW = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255.0
    height, width = pixels_3HW.shape[1:]
    scale = side / max(height, width)
    size = (round(height * scale), round(width * scale))
    if size != (height, width):
        pixels_3HW = functional.interpolate(
            pixels_3HW[None], size=size, mode="bicubic", align_corners=False, antialias=True
        )[0]
    below, beside = side - size[0], side - size[1]
    borders = (beside // 2, beside - beside // 2, below // 2, below - below // 2)
    pixels_3SS = functional.pad(pixels_3HW, borders)
    mean_3, std_3 = (torch.tensor(one)[:, None, None] for one in (framing.mean, framing.std))
    return (pixels_3SS - mean_3) / std_3


@dataclass(frozen=True, kw_only=True)
class ClipMetric:
    """A formula on the cosine of an image and its prompt; see `image_metric.ImageMetric`."""

    name: str
    weights: ClipWeights
    formula: PairFormula
    dtype: str
    device: str
    frame: Frame = crop_pixels
    prefix: str = ""
    reads_prompt: bool = True

    @property
    def identity(self) -> Mapping[str, str]:
        prefix = {"prefix": self.prefix} if self.prefix else {}
        return {**_common_identity(self.name, self.weights, self.dtype), **prefix}

    @property
    def licences(self) -> Mapping[str, str]:
        return self.weights.licences

    @torch.inference_mode()
    def measure(self, images: Sequence[Image], prompts: Sequence[str]) -> list[float]:
        """See `ImageMetric.measure`."""
        clip = self._clip
        pixels_N3SS = torch.stack([self.frame(one, framing=clip.framing) for one in images])
        texts = [f"{self.prefix} {prompt}" if self.prefix else prompt for prompt in prompts]
        cosine_N = cosines(clip.encode_images(pixels_N3SS), clip.encode_texts(texts))
        return _on_host(self.formula(cosine_N, clip.logit_scale))

    @cached_property
    def _clip(self) -> TransformersClip:
        return self.weights.load(dtype=getattr(torch, self.dtype), device=self.device)


@dataclass(frozen=True, kw_only=True)
class AestheticMetric:
    """A linear head on the image's embedding; the prompt has no effect."""

    name: str
    weights: ClipWeights
    head: str
    """A file of the user; empty takes the fetched one."""
    data: UpstreamData
    dtype: str
    device: str
    reads_prompt: bool = False

    @property
    def identity(self) -> Mapping[str, str]:
        source, _ = self._head_file
        return {**_common_identity(self.name, self.weights, self.dtype), "head": source}

    @property
    def licences(self) -> Mapping[str, str]:
        pin = pin_of(PIN)
        own = {} if self.head else licences_of_sources(f"{pin.repository}@{pin.commit}")
        return {**self.weights.licences, **own}

    @torch.inference_mode()
    def measure(self, images: Sequence[Image], prompts: Sequence[str]) -> list[float]:
        """See `ImageMetric.measure`."""
        del prompts
        clip = self._clip
        pixels_N3SS = torch.stack([crop_pixels(one, framing=clip.framing) for one in images])
        return _on_host(linear_scores(clip.encode_images(pixels_N3SS), self._linear))

    @cached_property
    def _clip(self) -> TransformersClip:
        return self.weights.load(dtype=getattr(torch, self.dtype), device=self.device)

    @cached_property
    def _head_file(self) -> tuple[str, Callable[[], dict[str, Tensor]]]:
        """What it is, and a function that reads it."""
        if self.head:
            file = TensorFile(source=self.head, name="", allow_pickle=False)
            return file.found.identity, file.read
        pin = pin_of(PIN)
        (pinned,) = pin.files
        content = self.data.read(PIN, pinned.path)  # has the pinned digest
        source = f"{pin.repository}@{pin.commit}/{pinned.path}"
        return source, partial(read_pickled_tensors, content, name=pinned.path)

    @cached_property
    def _linear(self) -> LinearHead:
        source, read = self._head_file
        tensors = read()
        width = int(self._clip.encode_images(_blank(self._clip.framing)).shape[-1])
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if shapes != {"weight": (1, width), "bias": (1,)}:
            raise AlphaBenchError(
                f"the head {source!r} does not fit: it has {shapes}, and the embedding {width} "
                "numbers",
                hint="give head=FILE and clip=FOLDER that belong together",
            )
        weight_1D, bias_1 = (tensors[one].float().to(self.device) for one in ("weight", "bias"))
        return LinearHead(weight_1D, bias_1)


def open_clip_score(
    values: Mapping[str, str], *, device: str, data: UpstreamData, highest: float
) -> MetricEvaluator:
    """CLIPScore; see `metric_table.open_metric` for the arguments, as for the other three."""
    del data
    chosen = text_options.fill(ClipScoreOptions, values, owner="clipscore")
    metric = ClipMetric(
        name="clipscore 2.5 max(cos, 0)",
        weights=TransformersWeights(model=chosen.clip, option="clip"),
        formula=clip_score,
        dtype=chosen.dtype,
        device=device,
        prefix=chosen.prefix.strip(),
    )
    return MetricEvaluator(metric=metric, options=chosen, highest=highest)


def open_pick_score(
    values: Mapping[str, str], *, device: str, data: UpstreamData, highest: float
) -> MetricEvaluator:
    """PickScore."""
    del data
    chosen = text_options.fill(PickScoreOptions, values, owner="pickscore")
    metric = ClipMetric(
        name="pickscore exp(logit scale) cos",
        weights=TransformersWeights(model=chosen.clip, option="clip", tokenizer=CLIP_H),
        formula=pick_score,
        dtype=chosen.dtype,
        device=device,
    )
    return MetricEvaluator(metric=metric, options=chosen, highest=highest)


def open_hps(
    values: Mapping[str, str], *, device: str, data: UpstreamData, highest: float
) -> MetricEvaluator:
    """HPSv2.1."""
    del data
    chosen = text_options.fill(HpsOptions, values, owner="hpsv2")
    file = TensorFile(source=chosen.weights, name=_HPS_FILE, allow_pickle=chosen.allow_pickle)
    metric = ClipMetric(
        name="hpsv2 cos",
        weights=OpenClipWeights(file=file, network=chosen.clip),
        formula=preference_score,
        dtype=chosen.dtype,
        device=device,
        frame=fitted_pixels,
    )
    return MetricEvaluator(metric=metric, options=chosen, highest=highest)


def open_aesthetic(
    values: Mapping[str, str], *, device: str, data: UpstreamData, highest: float
) -> MetricEvaluator:
    """LAION's aesthetic score."""
    chosen = text_options.fill(AestheticOptions, values, owner="aesthetic")
    metric = AestheticMetric(
        name="aesthetic linear",
        weights=TransformersWeights(model=chosen.clip, option="clip"),
        head=chosen.head,
        data=data,
        dtype=chosen.dtype,
        device=device,
    )
    return MetricEvaluator(metric=metric, options=chosen, highest=highest)


def _common_identity(name: str, weights: ClipWeights, dtype: str) -> dict[str, str]:
    return {
        "metric": name,
        **weights.identity,
        "library": f"transformers {version('transformers')}, torch {torch.__version__}",
        "dtype": dtype,
    }


def _blank(framing: Framing) -> Tensor:
    return torch.zeros(1, 3, framing.side, framing.side)


def _on_host(values_N: Tensor) -> list[float]:
    (values_N,) = fetched([values_N])
    numbers: list[float] = values_N.tolist()
    return numbers
