"""The FLUX autoencoder, from diffusers, under the names of `ae.safetensors`; latents as tokens.

Images are float tensors in [-1, 1]. Samples no noise: the caller passes it
to `encode`, or takes the mean.

Shapes: B images of one size; Y X pixels; Z latent channels; y x latent cells; T tokens of one
image, row after row; C features of a token (row in patch, column in patch, channel).
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from alphabench.device_transfer import sent
from alphabench.models.bagel.config import AutoencoderConfig

_NAMES: Final = (
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.group_norm\.", ".mid.attn_1.norm."),
    (r"\.mid_block\.attentions\.0\.to_([qkv])\.", r".mid.attn_1.\1."),
    (r"\.mid_block\.attentions\.0\.to_out\.0\.", ".mid.attn_1.proj_out."),
    (r"\.down_blocks\.(\d+)\.resnets\.", r".down.\1.block."),
    (r"\.down_blocks\.(\d+)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.up_blocks\.(\d+)\.resnets\.", r".up.\1.block."),
    (r"\.up_blocks\.(\d+)\.upsamplers\.0\.", r".up.\1.upsample."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
)
"""Names in diffusers -> names in the file; levels of the decoder are counted from the other end."""


class Moments(NamedTuple):
    """The encoder's distribution over each latent cell, [B, Z, y, x] each."""

    mean: Tensor
    log_variance: Tensor


class Autoencoder:
    """Images to scaled latents and back."""

    def __init__(self, config: AutoencoderConfig) -> None:
        levels = len(config.widths)
        self.config = config
        build: Any = AutoencoderKL
        self.network: Any = build(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=config.widths,
            layers_per_block=config.num_res_blocks,
            latent_channels=config.z_channels,
            norm_num_groups=config.norm_groups,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ).eval()

    def moments(self, images_B3YX: Tensor) -> Moments:
        """Mean and log-variance; sides are multiples of the downsampling factor."""
        weight = self.network.encoder.conv_in.weight
        out = self.network.encoder(sent(images_B3YX, weight.device, weight.dtype))
        return Moments(*out.chunk(2, dim=1))

    def encode(self, images_B3YX: Tensor, noise_BZyx: Tensor | None = None) -> Tensor:
        """Scaled latents: a sample made with `noise_BZyx` (standard normal), or the mean."""
        mean_BZyx, log_variance_BZyx = self.moments(images_B3YX)
        if noise_BZyx is not None:
            noise_BZyx = sent(noise_BZyx, mean_BZyx.device, mean_BZyx.dtype)
            mean_BZyx = mean_BZyx + torch.exp(log_variance_BZyx / 2) * noise_BZyx
        return self.config.scale_factor * (mean_BZyx - self.config.shift_factor)

    def decode(self, latents_BZyx: Tensor) -> Tensor:
        """Images around [-1, 1], not clamped."""
        weight = self.network.decoder.conv_in.weight
        raw_BZyx = latents_BZyx.to(weight) / self.config.scale_factor + self.config.shift_factor
        return torch.as_tensor(self.network.decoder(raw_BZyx))

    def stored_name(self, name: str) -> str:
        """What `ae.safetensors` calls the parameter that diffusers calls `name`."""
        for pattern, stored in _NAMES:
            name = re.sub(pattern, stored, name)
        top = len(self.config.widths) - 1
        return re.sub(r"\.up\.(\d+)\.", lambda level: f".up.{top - int(level[1])}.", name)


def to_tokens(latent_Zyx: Tensor, patch: int) -> Tensor:
    """One image's latents as tokens [T, C]."""
    channels, height, width = latent_Zyx.shape
    cut = latent_Zyx.reshape(channels, height // patch, patch, width // patch, patch)
    return cut.permute(1, 3, 2, 4, 0).reshape(-1, patch * patch * channels)


def to_latent(tokens_TC: Tensor, patch: int, *, rows: int, columns: int) -> Tensor:
    """Tokens of one image of `rows` x `columns` tokens as latents [Z, y, x]."""
    cut = tokens_TC.reshape(rows, columns, patch, patch, -1).permute(4, 0, 2, 1, 3)
    return cut.reshape(-1, rows * patch, columns * patch)


def grid_indices(rows: int, columns: int, side: int) -> Tensor:
    """Row * side + column of each token of a grid, row after row (long)."""
    return (torch.arange(rows)[:, None] * side + torch.arange(columns)).flatten()
