"""The nano detector's network: from a 128-pixel image to dense maps at a quarter of its side.

Small enough for a processor (under two million parameters), trained on rendered scenes alone by
`tools/nano_detector/train.py`; what it can and cannot do stands in `detector.md`. Knows no scene,
no benchmark and no threshold; `decoding.py` turns its maps into objects.

Shapes: B images, S canonical side (128 pixels), H W cells of the maps (S/4), C categories plus
background (index 0), K colours, N a convolution's output channels, M its input channels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torch.nn import functional

from alphabench.core.errors import AlphaBenchError

SIDE: Final = 128
"""Pixels on a side of what the network sees."""
STRIDE: Final = 4
"""Pixels on a side of one cell of the maps."""
CELLS: Final = SIDE // STRIDE
BOX_UNIT: Final = 8.0
"""Cells that a box output of 1.0 stands for: keeps the output near unit size."""
GREY: Final = 128
WEIGHTS: Final = "detector.safetensors"
FORMAT: Final = "alphabench-nano-detector-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorConfig:
    """All that decides the network's shape and the meaning of its outputs."""

    categories: tuple[str, ...]
    """In the order of the category map's channels after background."""
    colours: tuple[str, ...]
    """In the order of the colour map's channels."""
    widths: tuple[int, int, int, int, int] = (24, 48, 80, 144, 64)
    """Channels at 1/2, 1/4, 1/8 and 1/16 of the side, and of the layer under the heads."""
    depths: tuple[int, int, int] = (1, 2, 2)
    """Residual blocks at 1/4, 1/8 and 1/16."""

    @property
    def outputs(self) -> tuple[int, int, int, int, int]:
        """Channels of the five maps, in the order of `Maps`."""
        return 1, len(self.categories) + 1, len(self.colours), 2, 4

    def to_json(self) -> str:
        return json.dumps(
            {
                "categories": self.categories,
                "colours": self.colours,
                "widths": self.widths,
                "depths": self.depths,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> DetectorConfig:
        fields = {name: tuple(value) for name, value in json.loads(text).items()}
        return cls(**fields)


class Maps(NamedTuple):
    """What the network says of each cell; all float32 and unsquashed."""

    centre_B1HW: Tensor
    """Logit: an object's box has its centre here."""
    category_BCHW: Tensor
    """Logits over background and categories."""
    colour_BKHW: Tensor
    """Logits over colours; meaningful on objects only."""
    offset_B2HW: Tensor
    """From the cell to its object's centre, x and y, in cells."""
    box_B4HW: Tensor
    """Distances to the object's left, top, right and bottom edge, in `BOX_UNIT` cells."""


class ConvNormAct(nn.Module):
    """Convolution, batch norm while training (folded away in shipped weights), ReLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, norm: bool, act: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=not norm)
        self.norm = nn.BatchNorm2d(outputs) if norm else nn.Identity()
        self.act = act

    def forward(self, x_BMHW: Tensor) -> Tensor:
        y_BNHW = self.norm(self.conv(x_BMHW))
        return functional.relu(y_BNHW) if self.act else y_BNHW


class Residual(nn.Module):
    """Two convolutions round which the input also flows unchanged."""

    def __init__(self, width: int, *, norm: bool):
        super().__init__()
        self.first = ConvNormAct(width, width, norm=norm)
        self.second = ConvNormAct(width, width, norm=norm, act=False)

    def forward(self, x_BNHW: Tensor) -> Tensor:
        return functional.relu(x_BNHW + self.second(self.first(x_BNHW)))


class DetectorNet(nn.Module):
    """A residual encoder to 1/16 of the side and a light decoder back to 1/4."""

    def __init__(self, design: DetectorConfig, *, norm: bool = False):
        super().__init__()
        self.design = design
        half, quarter, eighth, sixteenth, top = design.widths

        def stage(inputs: int, width: int, depth: int) -> nn.Sequential:
            blocks = [Residual(width, norm=norm) for _ in range(depth)]
            return nn.Sequential(ConvNormAct(inputs, width, stride=2, norm=norm), *blocks)

        self.stem = ConvNormAct(3, half, stride=2, norm=norm)
        self.stage_4 = stage(half, quarter, design.depths[0])
        self.stage_8 = stage(quarter, eighth, design.depths[1])
        self.stage_16 = stage(eighth, sixteenth, design.depths[2])
        self.down_16 = nn.Conv2d(sixteenth, eighth, 1)
        self.merge_8 = ConvNormAct(eighth, eighth, norm=norm)
        self.down_8 = nn.Conv2d(eighth, top, 1)
        self.side_4 = nn.Conv2d(quarter, top, 1)
        self.merge_4 = ConvNormAct(top, top, norm=norm)
        self.heads = nn.Conv2d(top, sum(design.outputs), 1)

    def forward(self, pixels_B3SS: Tensor) -> Maps:
        """Maps of `B` canonical images, values in [-1, 1]."""
        quarter_BNHW = self.stage_4(self.stem(pixels_B3SS))
        eighth = self.stage_8(quarter_BNHW)
        eighth = self.merge_8(eighth + _doubled(self.down_16(self.stage_16(eighth))))
        top_BNHW = self.merge_4(self.side_4(quarter_BNHW) + _doubled(self.down_8(eighth)))
        return Maps(*self.heads(top_BNHW).float().split(self.design.outputs, dim=1))


def _doubled(x_BNHW: Tensor) -> Tensor:
    return functional.interpolate(x_BNHW, scale_factor=2.0, mode="nearest")


def folded(net: DetectorNet) -> dict[str, Tensor]:
    """The weights of the same function without batch norm (in evaluation mode), float32.

    A norm's scale g/sqrt(v + eps) goes into the convolution, its shift into the bias.
    """
    state: dict[str, Tensor] = {}
    for name, module in net.named_modules():
        if isinstance(module, ConvNormAct) and isinstance(module.norm, nn.BatchNorm2d):
            norm = module.norm
            mean_N, variance_N = norm.running_mean, norm.running_var
            assert mean_N is not None
            assert variance_N is not None
            scale_N = norm.weight / torch.sqrt(variance_N + norm.eps)
            weight_NM33 = module.conv.weight * scale_N[:, None, None, None]
            state[f"{name}.conv.weight"] = weight_NM33.detach().float()
            state[f"{name}.conv.bias"] = (norm.bias - mean_N * scale_N).detach().float()
    for name, tensor in net.state_dict().items():
        if ".norm." not in name and name not in state:
            state[name] = tensor.detach().float()
    return state


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where an image lies on the canonical square: at its top left corner, scaled."""

    width: int
    """Of the image, in its own pixels."""
    height: int
    scale: float
    """Canonical pixels per pixel of the image."""


def canonical_square(image: Image.Image) -> tuple[NDArray[np.uint8], Placement]:
    """The image as the network sees it: (S, S, 3), aspect kept, the rest of the square grey."""
    rgb = image.convert("RGB")
    scale = SIDE / max(rgb.size)
    placement = Placement(width=rgb.width, height=rgb.height, scale=scale)
    size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
    if rgb.size != size:
        rgb = rgb.resize(size, Image.Resampling.BILINEAR, reducing_gap=None)
    square_SS3 = np.full((SIDE, SIDE, 3), GREY, dtype=np.uint8)
    square_SS3[: size[1], : size[0]] = np.asarray(rgb)
    return square_SS3, placement


def squares_to_pixels(squares_BSS3: NDArray[np.uint8]) -> Tensor:
    """uint8 images -> float32 in [-1, 1], channels first (stored channels last)."""
    return torch.from_numpy(squares_BSS3).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def weights_bytes() -> bytes:
    """The packaged weights file.

    Raises:
        AlphaBenchError: this installation lacks it.
    """
    file = resources.files("alphabench.nano") / WEIGHTS
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise AlphaBenchError(
            f"the nano detector's weights {WEIGHTS!r} are missing from this installation",
            hint="install alphabench again, or train them: python -m tools.nano_detector.train",
        ) from error


def metadata(file: bytes) -> Mapping[str, str]:
    """The text entries of a weights file's header.

    Raises:
        AlphaBenchError: the file is not one of ours.
    """
    length = int.from_bytes(file[:8], "little")
    try:
        entries: dict[str, str] = json.loads(file[8 : 8 + length]).get("__metadata__", {})
    except ValueError:
        entries = {}
    if entries.get("format") != FORMAT:
        raise AlphaBenchError(
            f"the weights are not of the format {FORMAT!r}",
            hint="install alphabench again, or train them: python -m tools.nano_detector.train",
        )
    return entries


def load_net(file: bytes) -> DetectorNet:
    """The network of a weights file, float32, in evaluation mode."""
    net = DetectorNet(DetectorConfig.from_json(metadata(file)["design"]))
    state = {name: tensor.float() for name, tensor in load_tensors(file).items()}
    net.load_state_dict(state)
    return channels_last(net.eval().requires_grad_(False))


def channels_last(net: DetectorNet) -> DetectorNet:
    """The same network with its weights laid out as its inputs are, which is faster on a CPU."""
    for parameter in net.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return net
