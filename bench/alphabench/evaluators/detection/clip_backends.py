"""CLIP from open_clip or from transformers, behind one small surface.

Promises embeddings of pixels and sentences; knows no colour and no class. OpenAI's ViT-L/14 is the
same network from both libraries (`quick_gelu` included); a test holds them together.

Shapes: N crops, T sentences, D embedding, S side of the input.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from alphabench.core.errors import AlphaBenchError
from alphabench.device_transfer import sent
from alphabench.weights.find import (
    LOADING_ERRORS,
    WeightsFolder,
    find_weights,
    load_complete,
)

_OPENAI_TRANSFORMERS: Final = "openai/clip-vit-large-patch14"
_OPENAI_OPEN_CLIP: Final = "timm/vit_large_patch14_clip_224.openai"
OPENAI_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD: Final = (0.26862954, 0.26130258, 0.27577711)
_OPEN_CLIP_CONFIG: Final = "open_clip_config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """What CLIP's preprocessing needs to know."""

    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Backend(Protocol):
    """A loaded CLIP."""

    @property
    def framing(self) -> Framing: ...

    def encode_images(self, pixels_N3SS: Tensor) -> Tensor:
        """Embeddings (N, D), not normalised."""
        ...

    def encode_texts(self, sentences: Sequence[str]) -> Tensor:
        """Embeddings (T, D), not normalised."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSource:
    """Found weights and the library that will load them."""

    weights: WeightsFolder
    library: str
    """`open_clip 3.3.0` or `transformers 5.23.0`."""
    force_quick_gelu: bool = False
    """OpenAI trained with QuickGELU; what else the files say does not matter then."""

    @property
    def identity(self) -> str:
        return self.weights.identity

    def load(self, *, dtype: torch.dtype, device: str) -> Backend:
        """The network.

        Raises:
            AlphaBenchError: the files are no CLIP of this library.
        """
        folder = self.weights.folder
        try:
            if self.library.startswith("transformers"):
                return TransformersClip(folder, dtype=dtype, device=device)
            return OpenClip(
                folder, dtype=dtype, device=device, force_quick_gelu=self.force_quick_gelu
            )
        except LOADING_ERRORS as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise AlphaBenchError(
                f"{self.identity!r} cannot be loaded as a CLIP by {self.library}: {reason[0]}",
                hint="give clip=FOLDER with a CLIP in the layout of transformers or open_clip",
            ) from error


def find_clip(source: str) -> ClipSource:
    """Where a CLIP is, and which library reads it.

    Args:
        source: `openai` takes OpenAI's ViT-L/14 through open_clip where that is installed, else
            through transformers. A hub id or folder is read by open_clip if it has an
            `open_clip_config.json`, else by transformers.

    Raises:
        AlphaBenchError: no weights, or open_clip is needed and not installed.
    """
    has_open_clip = importlib.util.find_spec("open_clip") is not None
    openai_in_open_clip = source == "openai" and has_open_clip
    if openai_in_open_clip:
        weights = find_weights(
            _OPENAI_OPEN_CLIP, option="clip", kind="CLIP", pattern="open_clip_model.safetensors"
        )
    else:
        hub_id = _OPENAI_TRANSFORMERS if source == "openai" else source
        weights = find_weights(hub_id, option="clip", kind="CLIP")
    if not (weights.folder / _OPEN_CLIP_CONFIG).is_file():
        return ClipSource(weights=weights, library=f"transformers {version('transformers')}")
    if not has_open_clip:
        raise AlphaBenchError(
            f"{source!r} is in open_clip's layout, and open_clip is not installed",
            hint="install the extra `openclip`, or give clip=FOLDER in transformers' layout",
        )
    return ClipSource(
        weights=weights,
        library=f"open_clip {version('open_clip_torch')}",
        force_quick_gelu=openai_in_open_clip,
    )


class TransformersClip:
    """A CLIPModel and its tokenizer.

    Args:
        folder: config.json, model.safetensors, tokenizer files, optional preprocessor_config.json.
        dtype: of the network.
        device: of torch.
        tokenizer_folder: of tokenizer files that are apart from the model.
        network: of this dtype, where its weights were read elsewhere.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dtype: torch.dtype,
        device: str,
        tokenizer_folder: Path | None = None,
        network: Any = None,
    ) -> None:
        import transformers

        if network is None:
            network = load_complete(transformers.CLIPModel, folder, dtype=dtype)
        self._network: Any = network.to(device).eval()
        self._tokenize: Any = transformers.CLIPTokenizer.from_pretrained(tokenizer_folder or folder)
        self._context = int(network.config.text_config.max_position_embeddings)
        self._dtype, self._device = dtype, device
        self.framing = _framing(folder, side=int(network.config.vision_config.image_size))

    @property
    def logit_scale(self) -> float:
        """The trained factor of cosines, after its exponential."""
        return float(self._network.logit_scale.detach().float().exp())

    def encode_images(self, pixels_N3SS: Tensor) -> Tensor:
        pixels_N3SS = sent(pixels_N3SS, self._device, self._dtype)
        pooled_NV = self._network.vision_model(pixel_values=pixels_N3SS).pooler_output
        embedded_ND: Tensor = self._network.visual_projection(pooled_NV)
        return embedded_ND

    def encode_texts(self, sentences: Sequence[str]) -> Tensor:
        tokens = self._tokenize(
            list(sentences),
            padding="max_length",
            max_length=self._context,
            truncation=True,
            return_tensors="pt",
        )
        tokens_TL = sent(tokens["input_ids"], self._device)
        pooled_TV = self._network.text_model(input_ids=tokens_TL).pooler_output
        embedded_TD: Tensor = self._network.text_projection(pooled_TV)
        return embedded_TD


class OpenClip:
    """A CLIP of open_clip and its tokenizer.

    Args:
        folder: open_clip_config.json and open_clip_model.safetensors.
        dtype: of the network.
        device: of torch.
        force_quick_gelu: whatever the configuration says.
    """

    def __init__(
        self, folder: Path, *, dtype: torch.dtype, device: str, force_quick_gelu: bool = False
    ) -> None:
        import open_clip

        name = f"local-dir:{folder}"
        network = open_clip.create_model(
            name,
            precision=_PRECISION[dtype],
            device=device,
            require_pretrained=True,
            force_quick_gelu=force_quick_gelu,
        )
        self._network: Any = network.eval()
        self._tokenize: Any = open_clip.get_tokenizer(name)
        self._dtype, self._device = dtype, device
        preprocess = open_clip.get_model_preprocess_cfg(network)
        side = preprocess["size"]
        self.framing = Framing(
            side=side if isinstance(side, int) else side[0],
            mean=tuple(preprocess["mean"]),
            std=tuple(preprocess["std"]),
        )

    def encode_images(self, pixels_N3SS: Tensor) -> Tensor:
        embedded_ND: Tensor = self._network.encode_image(
            sent(pixels_N3SS, self._device, self._dtype)
        )
        return embedded_ND

    def encode_texts(self, sentences: Sequence[str]) -> Tensor:
        tokens_TL = sent(self._tokenize(list(sentences)), self._device)
        embedded_TD: Tensor = self._network.encode_text(tokens_TL)
        return embedded_TD


_PRECISION: Final = {
    torch.float32: "fp32",
    torch.float16: "pure_fp16",
    torch.bfloat16: "pure_bf16",
}


def _framing(folder: Path, *, side: int) -> Framing:
    """From preprocessor_config.json where there is one, else OpenAI's constants."""
    path = folder / "preprocessor_config.json"
    content = json.loads(path.read_text()) if path.is_file() else {}
    return Framing(
        side=side,
        mean=tuple(content.get("image_mean", OPENAI_MEAN)),
        std=tuple(content.get("image_std", OPENAI_STD)),
    )
