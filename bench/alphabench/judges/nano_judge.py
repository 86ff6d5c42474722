"""The embedded judge: a vision-language model of 3 million parameters that knows the drawn world.

Runs in this process by transformers, without torchvision: its processor is here. The same folder is
what `vllm serve` takes. Its answers say nothing about photographs; see `nano/judge/README.md`.

Shapes: P patches of all pictures, F numbers of a patch.
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
from alphabench.judges.transformers import TransformersJudge, TransformersOptions

_KIND: Final = "nano"
_PICTURE: Final = "<|image_pad|>"
_MOST_PICTURES: Final = 2
"""It was trained on one picture a question, and on two."""


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
    """As its base; pictures that several questions of a batch show are looked at once."""

    @cached_property
    def _loaded(self) -> Any:
        loaded = super()._loaded
        inner = loaded.network.model
        inner.visual = DeduplicatedVision(inner.visual)
        return loaded


class DeduplicatedVision(nn.Module):
    """A vision tower of transformers that computes each distinct picture of a call once.

    Says what the tower says, up to rounding.
    """

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower
        self.dtype: torch.dtype = tower.dtype
        self.spatial_merge_size: int = tower.spatial_merge_size

    def forward(self, hidden_states: Tensor, grid_thw: Tensor, **settings: Any) -> Any:
        """As the tower's; names are those its caller uses."""
        patches = grid_thw.prod(-1).tolist()
        shown = torch.split(hidden_states, patches)
        first: dict[tuple[object, ...], int] = {}
        which = [
            first.setdefault(_key(one, grid), len(first))
            for one, grid in zip(shown, grid_thw.tolist(), strict=True)
        ]
        if len(first) == len(which):
            return self.tower(hidden_states, grid_thw=grid_thw, **settings)
        places = [which.index(number) for number in range(len(first))]
        distinct_PF = torch.cat([shown[place] for place in places])
        seen = self.tower(distinct_PF, grid_thw=grid_thw[places], **settings)
        counts = [patches[place] for place in places]
        merged = [count // self.spatial_merge_size**2 for count in counts]
        seen.last_hidden_state = _repeated_rows(seen.last_hidden_state, counts, which)
        seen.pooler_output = _repeated_rows(seen.pooler_output, merged, which)
        seen.deepstack_features = [
            _repeated_rows(one, merged, which) for one in seen.deepstack_features
        ]
        return seen


def _key(patches_PF: Tensor, grid: Sequence[int]) -> tuple[object, ...]:
    content = patches_PF.detach().contiguous().view(torch.uint8).cpu().numpy().tobytes()
    return (*grid, content)


def _repeated_rows(x_PD: Tensor, counts: Sequence[int], which: Sequence[int]) -> Tensor:
    parts = torch.split(x_PD, list(counts))
    return torch.cat([parts[number] for number in which])


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
        dtype=chosen.dtype, batch_size=chosen.batch_size, images_per_question=_MOST_PICTURES
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
    """How pictures become patches; the fields of `preprocessor_config.json`."""

    patch_size: int
    merge_size: int
    temporal_patch_size: int
    least_pixels: int
    most_pixels: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    @classmethod
    def load(cls, folder: Path) -> NanoImageProcessor:
        values = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        return cls(
            patch_size=values["patch_size"],
            merge_size=values["merge_size"],
            temporal_patch_size=values["temporal_patch_size"],
            least_pixels=values["size"]["shortest_edge"],
            most_pixels=values["size"]["longest_edge"],
            mean=tuple(values["image_mean"]),
            deviation=tuple(values["image_std"]),
        )

    def seen_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after resizing: whole tokens, the number of pixels within bounds.

        Source: `smart_resize` of Qwen2-VL's image processor, whose numbers these are.
        """
        unit = self.patch_size * self.merge_size
        sides = [round(side / unit) * unit for side in (width, height)]
        if sides[0] * sides[1] > self.most_pixels:
            shrink = math.sqrt(width * height / self.most_pixels)
            sides = [max(1, math.floor(s / shrink / unit)) * unit for s in (width, height)]
        elif sides[0] * sides[1] < self.least_pixels:
            grow = math.sqrt(self.least_pixels / (width * height))
            sides = [math.ceil(side * grow / unit) * unit for side in (width, height)]
        return sides[0], sides[1]

    def patches(self, image: Image.Image) -> tuple[NDArray[np.float32], tuple[int, int, int]]:
        """[P, F] with the patches of a token together, and the grid: 1, rows, columns."""
        width, height = self.seen_size(*image.size)
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
        seeing: of the folder.
    """

    def __init__(self, tokenizer: Any, seeing: NanoImageProcessor) -> None:
        self.tokenizer = tokenizer
        self.image_processor = seeing
        self.chat_template = tokenizer.chat_template

    @classmethod
    def load(cls, folder: Path) -> NanoProcessor:
        """From a folder that `vllm serve` takes as well."""
        library: Any = importlib.import_module("transformers")
        return cls(library.AutoTokenizer.from_pretrained(folder), NanoImageProcessor.load(folder))

    def apply_chat_template(self, messages: Sequence[Any], **settings: Any) -> Any:
        """The messages as one text, each picture as one token."""
        return self.tokenizer.apply_chat_template(messages, **settings)

    def __call__(
        self,
        *,
        text: Sequence[str],
        images: Sequence[Sequence[Image.Image]] | None = None,
        **settings: Any,
    ) -> Any:
        """The network's inputs; a picture's token is repeated as often as it has tokens."""
        library: Any = importlib.import_module("transformers")
        made: dict[tuple[object, ...], tuple[NDArray[np.float32], tuple[int, int, int]]] = {}
        seen = []
        for one in (picture for shown in images or () for picture in shown):
            key = (one.mode, one.size, one.tobytes())
            if key not in made:
                made[key] = self.image_processor.patches(one)
            seen.append(made[key])
        unit = self.image_processor.merge_size**2
        lengths = iter([math.prod(grid) // unit for _, grid in seen])
        full = [_repeated(one, lengths) for one in text]
        inputs = dict(self.tokenizer(full, **settings))
        if seen:
            picture = self.tokenizer.convert_tokens_to_ids(_PICTURE)
            inputs["mm_token_type_ids"] = (inputs["input_ids"] == picture).int()
            inputs["pixel_values"] = torch.from_numpy(np.concatenate([one for one, _ in seen]))
            inputs["image_grid_thw"] = torch.tensor([grid for _, grid in seen])
        return library.BatchFeature(inputs)


def _repeated(text: str, lengths: Any) -> str:
    first, *rest = text.split(_PICTURE)
    return first + "".join(_PICTURE * next(lengths) + piece for piece in rest)
