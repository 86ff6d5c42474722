"""Qwen-Image (`QwenImagePipeline` of diffusers 0.42).

Guidance pushes away from the negative prompt and then restores the
length of each token's velocity; the scale is `true_cfg_scale` of the pipeline's call.

Shapes: as in `family_protocol`; a latent is (C, Y, X), channels and cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from alphagrpo.policies.diffusers_families.family_protocol import (
    Condition,
    DiffusersFamily,
    GuidanceForm,
    classifier_free,
    even_levels,
    packed,
    unpacked,
)

if TYPE_CHECKING:
    from PIL.Image import Image


class QwenImage:
    """See `DiffusersFamily`."""

    edits: bool = False
    longest: int = 512
    blocks: Sequence[str] = ("transformer_blocks",)
    experts: Mapping[str, str] = {
        "gen": r"transformer_blocks\.\d+\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
    }
    """Every projection of the joint attention."""

    def guidance_form(self, pipeline: Any) -> GuidanceForm:
        return "embedded" if pipeline.transformer.config.guidance_embeds else "branches"

    def encode(
        self, pipeline: Any, prompt: str, source: Image | None, *, longest: int
    ) -> Condition:
        del source
        tokens_1TD, mask_1T = pipeline.encode_prompt(
            prompt=prompt, device=pipeline.transformer.device, max_sequence_length=longest
        )
        return Condition(tokens_1TD[0] if mask_1T is None else tokens_1TD[0][mask_1T[0].bool()])

    def latent_shape(self, pipeline: Any, width: int, height: int) -> tuple[int, ...]:
        factor = pipeline.vae_scale_factor
        return (pipeline.transformer.config.in_channels // 4, height // factor, width // factor)

    def noise_levels(
        self, pipeline: Any, n_steps: int, width: int, height: int
    ) -> tuple[float, ...]:
        return even_levels(pipeline, n_steps, width, height)

    def velocity(
        self,
        pipeline: Any,
        x_BX: Tensor,
        sigma_B: Tensor,
        rows: Sequence[Condition],
        *,
        scale: float,
    ) -> Tensor:
        transformer = pipeline.transformer
        cells = (x_BX.shape[-2] // 2, x_BX.shape[-1] // 2)
        tokens = [row.tokens_TD for row in rows]
        ones = [torch.ones(len(one), dtype=torch.long, device=one.device) for one in tokens]
        even = len({len(one) for one in tokens}) == 1
        embeds = transformer.config.guidance_embeds
        predicted_BTD = transformer(
            hidden_states=packed(x_BX).to(transformer.dtype),
            timestep=sigma_B,
            guidance=torch.full_like(sigma_B, scale) if embeds else None,
            encoder_hidden_states=pad_sequence(tokens, batch_first=True),
            encoder_hidden_states_mask=None if even else pad_sequence(ones, batch_first=True),
            img_shapes=[[(1, *cells)]] * len(rows),
            return_dict=False,
        )[0]
        return unpacked(predicted_BTD.float(), *cells)

    def guided(self, full_BX: Tensor, free_BX: Tensor, scale: float) -> Tensor:
        full_BTD, pushed_BTD = packed(full_BX), packed(classifier_free(full_BX, free_BX, scale))
        length_BT1 = torch.linalg.vector_norm(full_BTD, dim=-1, keepdim=True)
        guided_BTD = pushed_BTD * (
            length_BT1 / torch.linalg.vector_norm(pushed_BTD, dim=-1, keepdim=True)
        )
        return unpacked(guided_BTD, full_BX.shape[-2] // 2, full_BX.shape[-1] // 2)

    def decode(self, pipeline: Any, latents_BX: Tensor) -> Tensor:
        vae = pipeline.vae
        mean_C, std_C = torch.tensor(vae.config.latents_mean), torch.tensor(vae.config.latents_std)
        scaled = latents_BX.to(std_C) * std_C[:, None, None] + mean_C[:, None, None]
        scaled = scaled.unsqueeze(2).to(device=vae.device, dtype=vae.dtype)
        pixels: Tensor = vae.decode(scaled, return_dict=False)[0][:, :, 0]
        return pixels


QWEN_IMAGE: Final[DiffusersFamily] = QwenImage()
