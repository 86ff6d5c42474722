"""ImageReward (Xu 2023, arXiv:2304.05977): a text encoder that looks at the image, and a head.

The image goes through BLIP's vision tower, the prompt (35 tokens) through its text encoder with
cross attention to all image tokens; a chain of linear layers without activations turns the first
text token into a number, which is standardised: (x - 0.16717363) / 1.03333950
(THUDM/ImageReward, ImageReward.py, `score`). Widths and depths are read from the tensors; heads
have 64 numbers each, as in BLIP.

Shapes: N images, S side of the input, L tokens, P image tokens, W width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from alphabench.core import options as text_options
from alphabench.core.errors import AlphaBenchError
from alphabench.device_transfer import fetched, sent
from alphabench.evaluators.detection.clip_backends import OPENAI_MEAN, OPENAI_STD, Framing
from alphabench.evaluators.detection.clip_colour import crop_pixels
from alphabench.evaluators.metrics.image_metric import MetricEvaluator, MetricOptions
from alphabench.evaluators.metrics.metric_weights import TensorFile, licences_of_sources
from alphabench.upstream import UpstreamData
from alphabench.weights.find import LOADING_ERRORS, WeightsFolder, find_descriptions
from alphabench.weights.strict_loading import unexpected_tensors, unused_error

if TYPE_CHECKING:
    from PIL.Image import Image

MEAN: Final = 0.16717362830052426
SPREAD: Final = 1.0333394966054072
"""Of raw values; both from ImageReward.py."""
_TOKENS: Final = 35
_HEAD_WIDTH: Final = 64
_REPOSITORY: Final = "zai-org/ImageReward@5736be03b2652728fb87788c9797b0570450ab72"
_FILE: Final = "ImageReward.pt"
_TOKENIZER: Final = "google-bert/bert-base-uncased@86b5e0934494bd15c9632b12f734a8a67f723594"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRewardOptions(MetricOptions):
    """What `imagereward?key=value` takes."""

    weights: str = _REPOSITORY
    """A file of tensors under the authors' names; unset: the published ImageReward.pt."""
    tokenizer: str = _TOKENIZER
    """Hub id or folder of BERT's uncased tokenizer."""
    allow_pickle: bool = False
    """Confirms that you trust the file, which is a pickle, unless it ends in .safetensors."""


class _Loaded(NamedTuple):
    vision: Any
    text: Any
    tokenize: Any
    head: tuple[tuple[Tensor, Tensor], ...]
    """Weight and bias of each linear layer, in float32."""
    framing: Framing


@dataclass(frozen=True, kw_only=True)
class ImageRewardMetric:
    """See `image_metric.ImageMetric`."""

    file: TensorFile
    tokenizer: str
    dtype: str
    device: str
    reads_prompt: bool = True

    @property
    def identity(self) -> Mapping[str, str]:
        return {
            "metric": "imagereward (x - 0.16717363) / 1.03333950",
            "weights": self.file.found.identity,
            "tokenizer": self._tokenizer.identity,
            "library": f"transformers {version('transformers')}, torch {torch.__version__}",
            "dtype": self.dtype,
        }

    @property
    def licences(self) -> Mapping[str, str]:
        return {**licences_of_sources(self.file.source), **licences_of_sources(self.tokenizer)}

    @torch.inference_mode()
    def measure(self, images: Sequence[Image], prompts: Sequence[str]) -> list[float]:
        """See `ImageMetric.measure`."""
        model = self._model
        pixels_N3SS = torch.stack([crop_pixels(one, framing=model.framing) for one in images])
        pixels_N3SS = sent(pixels_N3SS, self.device, getattr(torch, self.dtype))
        seen_NPW = model.vision(pixel_values=pixels_N3SS).last_hidden_state
        tokens = model.tokenize(
            list(prompts),
            padding="max_length",
            max_length=_TOKENS,
            truncation=True,
            return_tensors="pt",
        )
        read_NLW = model.text(
            input_ids=sent(tokens["input_ids"], self.device),
            attention_mask=sent(tokens["attention_mask"], self.device),
            encoder_hidden_states=seen_NPW,
        ).last_hidden_state
        (values_N,) = fetched([standardised(read_NLW[:, 0], model.head)])
        numbers: list[float] = values_N.tolist()
        return numbers

    @cached_property
    def _tokenizer(self) -> WeightsFolder:
        return find_descriptions(self.tokenizer, option="tokenizer", kind="tokenizer")

    @cached_property
    def _model(self) -> _Loaded:
        import transformers

        name = self.file.found.identity
        try:
            parts = _parts(self.file.read())
            vision, framing = _vision_tower(parts.vision, name=name)
            text = _text_encoder(parts.text, name=name)
            tokenize = transformers.BertTokenizer.from_pretrained(self._tokenizer.folder)
        except LOADING_ERRORS as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise AlphaBenchError(
                f"{name!r} cannot be loaded as ImageReward: {reason}",
                hint="give weights=FILE with the tensors of ImageReward.pt",
            ) from error
        dtype = getattr(torch, self.dtype)
        vision, text = (part.to(self.device, dtype).eval() for part in (vision, text))
        head = tuple(
            (weight.float().to(self.device), bias.float().to(self.device))
            for weight, bias in parts.head
        )
        return _Loaded(vision, text, tokenize, head, framing)


def open_image_reward(
    values: Mapping[str, str], *, device: str, data: UpstreamData, highest: float
) -> MetricEvaluator:
    """ImageReward; see `metric_table.open_metric` for the arguments."""
    del data
    chosen = text_options.fill(ImageRewardOptions, values, owner="imagereward")
    metric = ImageRewardMetric(
        file=TensorFile(source=chosen.weights, name=_FILE, allow_pickle=chosen.allow_pickle),
        tokenizer=chosen.tokenizer,
        dtype=chosen.dtype,
        device=device,
    )
    return MetricEvaluator(metric=metric, options=chosen, highest=highest)


def standardised(first_NW: Tensor, head: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The head on the first text token, standardised; (N,) in float32."""
    x = first_NW.float()
    for weight, bias in head:
        x = functional.linear(x, weight, bias)
    return (x[:, 0] - MEAN) / SPREAD


class _Parts(NamedTuple):
    vision: dict[str, Tensor]
    text: dict[str, Tensor]
    head: list[tuple[Tensor, Tensor]]


_VISION: Final = "blip.visual_encoder."
_TEXT: Final = "blip.text_encoder."
_UNUSED: Final = ("blip.vision_proj.", "blip.text_proj.")
"""Projections of BLIP's contrastive loss."""
_VISION_NAMES: Final = (
    (r"cls_token", r"embeddings.class_embedding"),
    (r"pos_embed", r"embeddings.position_embedding"),
    (r"patch_embed\.proj\.(.*)", r"embeddings.patch_embedding.\1"),
    (r"norm\.(.*)", r"post_layernorm.\1"),
    (r"blocks\.(\d+)\.norm(\d)\.(.*)", r"encoder.layers.\1.layer_norm\2.\3"),
    (r"blocks\.(\d+)\.attn\.qkv\.(.*)", r"encoder.layers.\1.self_attn.qkv.\2"),
    (r"blocks\.(\d+)\.attn\.proj\.(.*)", r"encoder.layers.\1.self_attn.projection.\2"),
    (r"blocks\.(\d+)\.mlp\.(.*)", r"encoder.layers.\1.mlp.\2"),
)


def _parts(tensors: Mapping[str, Tensor]) -> _Parts:
    """The towers' tensors under transformers' names, and the layers of the head in order."""
    vision: dict[str, Tensor] = {}
    text: dict[str, Tensor] = {}
    layers: dict[int, dict[str, Tensor]] = {}
    for theirs, tensor in tensors.items():
        if theirs.startswith(_VISION):
            vision[_vision_name(theirs.removeprefix(_VISION))] = tensor
        elif theirs.startswith(_TEXT):
            text[theirs.removeprefix(_TEXT)] = tensor
        elif match := re.fullmatch(r"mlp\.layers\.(\d+)\.(weight|bias)", theirs):
            layers.setdefault(int(match[1]), {})[match[2]] = tensor
        elif not theirs.startswith(_UNUSED):
            raise ValueError(f"it has a tensor {theirs!r}, which ImageReward has not")
    head = [(layers[index]["weight"], layers[index]["bias"]) for index in sorted(layers)]
    if not head or head[-1][0].shape[0] != 1:
        raise ValueError("it has no head that ends in one number")
    return _Parts(vision, text, head)


def _vision_name(theirs: str) -> str:
    for pattern, ours in _VISION_NAMES:
        if match := re.fullmatch(pattern, theirs):
            return match.expand(ours)
    return theirs


def _vision_tower(tensors: Mapping[str, Tensor], *, name: str) -> tuple[Any, Framing]:
    import transformers

    kernel = tensors["embeddings.patch_embedding.weight"]
    width, patch = kernel.shape[0], kernel.shape[-1]
    n_patches = tensors["embeddings.position_embedding"].shape[1] - 1
    side = round(n_patches**0.5) * patch
    config = transformers.BlipVisionConfig(
        hidden_size=width,
        intermediate_size=tensors["encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=_depth(tensors, "encoder.layers"),
        num_attention_heads=width // _HEAD_WIDTH,
        image_size=side,
        patch_size=patch,
        layer_norm_eps=1e-6,
    )
    tower = _filled(transformers.BlipVisionModel(config), tensors, name=name)
    return tower, Framing(side=side, mean=OPENAI_MEAN, std=OPENAI_STD)


def _text_encoder(tensors: Mapping[str, Tensor], *, name: str) -> Any:
    import transformers
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    n_words, width = tensors["embeddings.word_embeddings.weight"].shape
    config = transformers.BlipTextConfig(
        vocab_size=n_words,
        hidden_size=width,
        encoder_hidden_size=tensors["encoder.layer.0.crossattention.self.key.weight"].shape[1],
        intermediate_size=tensors["encoder.layer.0.intermediate.dense.weight"].shape[0],
        num_hidden_layers=_depth(tensors, "encoder.layer"),
        num_attention_heads=width // _HEAD_WIDTH,
        max_position_embeddings=tensors["embeddings.position_embeddings.weight"].shape[0],
        layer_norm_eps=1e-12,
        bos_token_id=None,
        sep_token_id=None,
        eos_token_id=None,
        is_decoder=True,  # or it has no cross attention; its mask is causal only when called so
    )
    return _filled(BlipTextModel(config, add_pooling_layer=False), tensors, name=name)


def _depth(tensors: Mapping[str, Tensor], layers: str) -> int:
    found = {m[1] for one in tensors if (m := re.match(rf"{re.escape(layers)}\.(\d+)\.", one))}
    return len(found)


def _filled(network: Any, tensors: Mapping[str, Tensor], *, name: str) -> Any:
    missing, unused = network.load_state_dict(tensors, strict=False)
    if missing:
        raise ValueError(f"{len(missing)} weights are missing, such as {missing[0]!r}")
    if unused := unexpected_tensors(unused):
        raise unused_error(name, unused)
    return network
