"""The embedded judge: a vision-language model of 3 million parameters for the synthetic world.

Runs in this process by transformers, without torchvision: its processor is here. `vllm serve` takes
the same folder. Its answers say nothing about photographs; see `nano/judge/README.md`.

Shapes: P patches of all images, F values of a patch, D features.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import fill
from alphabench.device_transfer import fetched, sent
from alphabench.judges.transformers import TransformersJudge, TransformersOptions

_KIND: Final = "nano"
_IMAGE_PAD: Final = "<|image_pad|>"
_MAX_IMAGES: Final = 2
"""It was trained with one and with two images per question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NanoJudgeOptions:
    """What `nano?key=value` takes."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision; the weights are stored in bfloat16."""
    batch_size: int = 32
    """Questions that are computed together, at most."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError("batch_size is 1 or more")


class NanoJudge(TransformersJudge):
    """Encodes an image that several questions of a batch share only once."""

    @cached_property
    def _loaded(self) -> Any:
        loaded = super()._loaded
        inner = loaded.network.model
        inner.visual = DeduplicatedVision(inner.visual)
        return loaded


class DeduplicatedVision(nn.Module):
    """A vision tower of transformers that encodes each distinct image of a call once.

    Same result as the tower, up to rounding.
    """

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower
        self.dtype: torch.dtype = tower.dtype
        self.spatial_merge_size: int = tower.spatial_merge_size

    def forward(self, hidden_states: Tensor, grid_thw: Tensor, **settings: Any) -> Any:
        """As the tower's; the argument names are those of its caller."""
        content_PF, grids = fetched([hidden_states, grid_thw])
        patches = grids.prod(-1).tolist()
        shown = torch.split(hidden_states, patches)
        first: dict[tuple[object, ...], int] = {}
        index_of = [
            first.setdefault(_key(one, grid), len(first))
            for one, grid in zip(torch.split(content_PF, patches), grids.tolist(), strict=True)
        ]
        if len(first) == len(index_of):
            return self._encoded(hidden_states, grids, settings)
        positions = [index_of.index(number) for number in range(len(first))]
        distinct_PF = torch.cat([shown[position] for position in positions])
        encoded = self._encoded(distinct_PF, grids[positions], settings)
        counts = [patches[position] for position in positions]
        merged = [count // self.spatial_merge_size**2 for count in counts]
        encoded.last_hidden_state = _repeated_rows(encoded.last_hidden_state, counts, index_of)
        encoded.pooler_output = _repeated_rows(encoded.pooler_output, merged, index_of)
        encoded.deepstack_features = [
            _repeated_rows(one, merged, index_of) for one in encoded.deepstack_features
        ]
        return encoded

    def _encoded(self, patches_PF: Tensor, grids: Tensor, settings: Mapping[str, Any]) -> Any:
        """What the tower gives.

        On a device it would fetch the images' lengths three times a layer, so it is given them on
        the host (flash attention, which this judge does not use, would want them on the device),
        with the patches' places in their images: whole numbers of the library's own functions.
        """
        device = patches_PF.device
        given: dict[str, Any] = {}
        if device.type != "cpu":
            sizes: Any = importlib.import_module("transformers.vision_utils")
            places_P2 = sizes.get_vision_position_ids(grids, self.spatial_merge_size)
            given["position_ids"] = sent(places_P2, device)
            given["cu_seqlens"] = sizes.get_vision_cu_seqlens(grids)
        return self.tower(patches_PF, grid_thw=sent(grids, device), **given, **settings)


def _key(patches_PF: Tensor, grid: Sequence[int]) -> tuple[object, ...]:
    content = patches_PF.detach().contiguous().view(torch.uint8).numpy().tobytes()
    return (*grid, content)


def _repeated_rows(x_PD: Tensor, counts: Sequence[int], index_of: Sequence[int]) -> Tensor:
    parts = torch.split(x_PD, list(counts))
    return torch.cat([parts[number] for number in index_of])


def open_nano_judge(location: str, *, options: Mapping[str, str], device: str) -> NanoJudge:
    """`nano`; nothing is loaded yet.

    Raises:
        AlphaBenchError: a location, or options that do not fit.
    """
    chosen = fill(NanoJudgeOptions, options, owner=_KIND)
    if location:
        raise AlphaBenchError(
            f"the judge nano takes no location, but got {location!r}",
            hint="write --judge nano, or transformers:FOLDER for another model",
        )
    settings = TransformersOptions(
        dtype=chosen.dtype, batch_size=chosen.batch_size, images_per_question=_MAX_IMAGES
    )
    return NanoJudge(
        str(weights_folder()), settings, device=device, kind=_KIND, processor=NanoProcessor.load
    )


def weights_folder() -> Path:
    """The model as transformers and vLLM load it: `vllm serve FOLDER`.

    Raises:
        AlphaBenchError: the installation lacks it.
    """
    folder = Path(str(resources.files("alphabench.nano") / "judge"))
    if not (folder / "model.safetensors").is_file():
        raise AlphaBenchError(
            "the nano judge's weights are not installed",
            hint="install alphabench from a wheel or a complete checkout",
        )
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class NanoImageProcessor:
    """How images become patches; the fields of `preprocessor_config.json`."""

    patch_size: int
    merge_size: int
    temporal_patch_size: int
    min_pixels: int
    max_pixels: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    @classmethod
    def load(cls, folder: Path) -> NanoImageProcessor:
        values = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        return cls(
            patch_size=values["patch_size"],
            merge_size=values["merge_size"],
            temporal_patch_size=values["temporal_patch_size"],
            min_pixels=values["size"]["shortest_edge"],
            max_pixels=values["size"]["longest_edge"],
            mean=tuple(values["image_mean"]),
            deviation=tuple(values["image_std"]),
        )

    def resized_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after resizing: whole tokens, the number of pixels within bounds.

        Source: `smart_resize` of Qwen2-VL's image processor, whose numbers these are.
        """
        unit = self.patch_size * self.merge_size
        sides = [round(side / unit) * unit for side in (width, height)]
        if sides[0] * sides[1] > self.max_pixels:
            shrink = math.sqrt(width * height / self.max_pixels)
            sides = [max(1, math.floor(s / shrink / unit)) * unit for s in (width, height)]
        elif sides[0] * sides[1] < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (width * height))
            sides = [math.ceil(side * grow / unit) * unit for side in (width, height)]
        return sides[0], sides[1]

    def patches(self, image: Image.Image) -> tuple[NDArray[np.float32], tuple[int, int, int]]:
        """[P, F] with the patches of a token together, and the grid: 1, rows, columns."""
        width, height = self.resized_size(*image.size)
        resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        levels = np.asarray(resized, dtype=np.float32) / np.float32(255)
        mean, deviation = (np.asarray(v, np.float32) for v in (self.mean, self.deviation))
        values = (levels - mean) / deviation
        patch, merge = self.patch_size, self.merge_size
        rows, columns = height // patch, width // patch
        split = values.reshape(rows // merge, merge, patch, columns // merge, merge, patch, 3)
        ordered = split.transpose(0, 3, 1, 4, 6, 2, 5)[..., None, :, :]
        times = (*ordered.shape[:-3], self.temporal_patch_size, patch, patch)
        flat = np.broadcast_to(ordered, times).reshape(rows * columns, -1)
        return np.ascontiguousarray(flat, dtype=np.float32), (1, rows, columns)


class NanoProcessor:
    """What a judge of transformers needs of a processor.

    Args:
        tokenizer: of the folder, with the chat template.
        image_processor: of the folder.
    """

    def __init__(self, tokenizer: Any, image_processor: NanoImageProcessor) -> None:
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.chat_template = tokenizer.chat_template

    @classmethod
    def load(cls, folder: Path) -> NanoProcessor:
        """From a folder that `vllm serve` takes as well."""
        library: Any = importlib.import_module("transformers")
        return cls(library.AutoTokenizer.from_pretrained(folder), NanoImageProcessor.load(folder))

    def apply_chat_template(self, messages: Sequence[Any], **settings: Any) -> Any:
        """The messages as one text, with one token for each image."""
        return self.tokenizer.apply_chat_template(messages, **settings)

    def __call__(
        self,
        *,
        text: Sequence[str],
        images: Sequence[Sequence[Image.Image]] | None = None,
        **settings: Any,
    ) -> Any:
        """The network's inputs; the token of an image is repeated once per patch token."""
        library: Any = importlib.import_module("transformers")
        made: dict[tuple[object, ...], tuple[NDArray[np.float32], tuple[int, int, int]]] = {}
        encoded = []
        for one in (image for group in images or () for image in group):
            key = (one.mode, one.size, one.tobytes())
            if key not in made:
                made[key] = self.image_processor.patches(one)
            encoded.append(made[key])
        unit = self.image_processor.merge_size**2
        lengths = iter([math.prod(grid) // unit for _, grid in encoded])
        full = [_repeated(one, lengths) for one in text]
        inputs = dict(self.tokenizer(full, **settings))
        if encoded:
            image_token = self.tokenizer.convert_tokens_to_ids(_IMAGE_PAD)
            inputs["mm_token_type_ids"] = (inputs["input_ids"] == image_token).int()
            inputs["pixel_values"] = torch.from_numpy(np.concatenate([one for one, _ in encoded]))
            inputs["image_grid_thw"] = torch.tensor([grid for _, grid in encoded])
        return library.BatchFeature(inputs)


def _repeated(text: str, lengths: Any) -> str:
    first, *rest = text.split(_IMAGE_PAD)
    return first + "".join(_IMAGE_PAD * next(lengths) + piece for piece in rest)
