"""Qwen-Image (`QwenImagePipeline` of diffusers 0.42), and what `qwen_image_edit` shares with it.

Guidance pushes away from the negative prompt and then restores the length of each token's
velocity; the scale is `true_cfg_scale` of the pipeline's call.

Shapes: as in `family_protocol`; a latent is (C, Y, X), channels and cells, or one frame F of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from alphagrpo.policies.diffusers_families.family_protocol import (
    Condition,
    DiffusersFamily,
    GuidanceForm,
    NetworkInput,
    SourceViews,
    beside_sources,
    classifier_free,
    even_levels,
    packed,
    packed_shape,
    unpacked,
    with_source,
)

if TYPE_CHECKING:
    from PIL.Image import Image


class QwenImage:
    """See `DiffusersFamily`."""

    longest: int = 512
    blocks: Sequence[str] = ("transformer_blocks",)
    experts: Mapping[str, str] = {
        "gen": r"transformer_blocks\.\d+\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
    }
    """Every projection of the joint attention."""

    latent_shape = staticmethod(packed_shape)
    noise_levels = staticmethod(even_levels)

    def __init__(self, views: Callable[[Any, Image], SourceViews] | None = None) -> None:
        """`views` is called with pipeline and source image; None generates from text alone."""
        self.views = views
        self.edits = views is not None

    def guidance_form(self, pipeline: Any) -> GuidanceForm:
        return "embedded" if pipeline.transformer.config.guidance_embeds else "branches"

    def encode(
        self, pipeline: Any, prompt: str, source: Image | None, *, longest: int
    ) -> Condition:
        views = None if self.views is None or source is None else self.views(pipeline, source)
        device = pipeline.transformer.device
        tokens_1TD, mask_1T = pipeline.encode_prompt(
            prompt=prompt,
            device=device,
            max_sequence_length=longest,
            **({} if views is None else {"image": views.shown}),
        )
        text = Condition(tokens_1TD[0] if mask_1T is None else tokens_1TD[0][mask_1T[0].bool()])
        if views is None:
            return text
        pixels_1CFYX = views.pixels_1CYX.unsqueeze(2).to(device=device, dtype=tokens_1TD.dtype)
        latents_1CFYX = pipeline._encode_vae_image(image=pixels_1CFYX, generator=None)
        return with_source(text, latents_1CFYX.squeeze(2))

    def velocity(self, pipeline: Any, at: NetworkInput) -> Tensor:
        transformer = pipeline.transformer
        x_BTD, cells = packed(at.x_BX), (at.x_BX.shape[-2] // 2, at.x_BX.shape[-1] // 2)
        sources = [] if at.rows[0].source_TD is None else [(1, *at.rows[0].source_size)]
        tokens = [row.tokens_TD for row in at.rows]
        ones = [torch.ones(len(one), dtype=torch.long, device=one.device) for one in tokens]
        even = len({len(one) for one in tokens}) == 1
        embeds = transformer.config.guidance_embeds
        predicted_BTD = transformer(
            hidden_states=beside_sources(x_BTD, at.rows).to(transformer.dtype),
            timestep=at.sigma_B,
            guidance=torch.full_like(at.sigma_B, at.scale) if embeds else None,
            encoder_hidden_states=pad_sequence(tokens, batch_first=True),
            encoder_hidden_states_mask=None if even else pad_sequence(ones, batch_first=True),
            img_shapes=[[(1, *cells), *sources]] * len(at.rows),
            return_dict=False,
        )[0]
        return unpacked(predicted_BTD[:, : x_BTD.shape[1]].float(), *cells)

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
