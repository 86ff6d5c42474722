"""FLUX.2-klein, base and distilled (`Flux2KleinPipeline` of diffusers 0.42), from text alone.

The network itself rounds the noise level to its precision, in training as in sampling. Latents
are in the 2 x 2 patches in which the pipeline samples its noise.

Shapes: as in `family_protocol`; a latent is (C, Y, X), channels and patches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from alphagrpo.policies.diffusers_families.family_protocol import (
    Condition,
    DiffusersFamily,
    GuidanceForm,
    NetworkInput,
    classifier_free,
    scheduled,
)

if TYPE_CHECKING:
    from PIL.Image import Image


class Flux2Klein:
    """See `DiffusersFamily`."""

    edits: bool = False
    longest: int = 512
    blocks: Sequence[str] = ("transformer_blocks", "single_transformer_blocks")
    experts: Mapping[str, str] = {
        "gen": r"transformer_blocks\.\d+\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
        r"|single_transformer_blocks\.\d+\.attn\.(to_qkv_mlp_proj|to_out)"
    }
    """Every projection of the attention; single blocks fuse theirs with the MLP's."""

    guided = staticmethod(classifier_free)

    def guidance_form(self, pipeline: Any) -> GuidanceForm:
        return "none" if pipeline.config.is_distilled else "branches"

    def encode(
        self, pipeline: Any, prompt: str, source: Image | None, *, longest: int
    ) -> Condition:
        del source
        tokens_1TD, _ = pipeline.encode_prompt(
            prompt=prompt, device=pipeline.transformer.device, max_sequence_length=longest
        )
        return Condition(tokens_1TD[0])

    def latent_shape(self, pipeline: Any, width: int, height: int) -> tuple[int, ...]:
        side = 2 * pipeline.vae_scale_factor
        return (pipeline.transformer.config.in_channels, height // side, width // side)

    def noise_levels(
        self, pipeline: Any, n_steps: int, width: int, height: int
    ) -> tuple[float, ...]:
        from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

        _, rows, columns = self.latent_shape(pipeline, width, height)
        mu = compute_empirical_mu(image_seq_len=rows * columns, num_steps=n_steps)
        return scheduled(pipeline.scheduler, n_steps, even=True, mu=mu)

    def velocity(self, pipeline: Any, at: NetworkInput) -> Tensor:
        transformer = pipeline.transformer
        tokens_BTD = torch.stack([row.tokens_TD for row in at.rows])
        predicted_BTD: Tensor = transformer(
            hidden_states=at.x_BX.flatten(2).transpose(1, 2).to(transformer.dtype),
            timestep=at.sigma_B,
            guidance=None,
            encoder_hidden_states=tokens_BTD,
            txt_ids=_places(1, 1, tokens_BTD.shape[1]).to(at.x_BX.device),
            img_ids=_places(at.x_BX.shape[-2], at.x_BX.shape[-1], 1).to(at.x_BX.device),
            return_dict=False,
        )[0]
        return predicted_BTD.float().transpose(1, 2).reshape(at.x_BX.shape)

    def decode(self, pipeline: Any, latents_BX: Tensor) -> Tensor:
        vae = pipeline.vae
        mean_C = vae.bn.running_mean.float()
        std_C = (vae.bn.running_var.float() + vae.config.batch_norm_eps).sqrt()
        scaled = latents_BX.to(mean_C) * std_C[:, None, None] + mean_C[:, None, None]
        pixels: Tensor = vae.decode(_unpatched(scaled).to(vae.dtype), return_dict=False)[0]
        return pixels


def _unpatched(x_BCYX: Tensor) -> Tensor:
    """Each channel's 2 x 2 patches as cells."""
    return torch.nn.functional.pixel_shuffle(x_BCYX, 2)


def _places(rows: int, columns: int, length: int) -> Tensor:
    """Image, row, column and number of each token; (T, 4)."""
    return torch.cartesian_prod(
        torch.arange(1), torch.arange(rows), torch.arange(columns), torch.arange(length)
    )


FLUX2_KLEIN: Final[DiffusersFamily] = Flux2Klein()
