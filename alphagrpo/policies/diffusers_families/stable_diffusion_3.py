"""SD3 and SD3.5, medium and large (`StableDiffusion3Pipeline` of diffusers 0.42).

Shapes: as in `family_protocol`; a latent is (C, Y, X), channels and cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from alphagrpo.policies.diffusers_families.family_protocol import (
    Condition,
    DiffusersFamily,
    NetworkInput,
    classifier_free,
    plain_shape,
    scheduled,
    size_shift,
    two_branches,
    unscaled,
)

if TYPE_CHECKING:
    from PIL.Image import Image

_TIMESTEPS: Final = 1000.0


class StableDiffusion3:
    """See `DiffusersFamily`."""

    edits: bool = False
    longest: int = 256
    blocks: Sequence[str] = ("transformer_blocks",)
    experts: Mapping[str, str] = {
        "gen": r"transformer_blocks\.\d+\.attn2?\."
        r"(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)",
    }
    """Flow-GRPO's targets: every projection of the joint attention."""

    guidance_form = staticmethod(two_branches)
    latent_shape = staticmethod(plain_shape)
    guided = staticmethod(classifier_free)
    decode = staticmethod(unscaled)

    def encode(
        self, pipeline: Any, prompt: str, source: Image | None, *, longest: int
    ) -> Condition:
        del source
        tokens_1TD, _, pooled_1D, _ = pipeline.encode_prompt(
            prompt=prompt,
            prompt_2=None,
            prompt_3=None,
            do_classifier_free_guidance=False,
            device=pipeline.transformer.device,
            max_sequence_length=longest,
        )
        return Condition(tokens_1TD[0], pooled_1D[0])

    def noise_levels(
        self, pipeline: Any, n_steps: int, width: int, height: int
    ) -> tuple[float, ...]:
        side = pipeline.vae_scale_factor * pipeline.transformer.config.patch_size
        mu = size_shift(pipeline.scheduler, (height // side) * (width // side), largest=1.16)
        return scheduled(pipeline.scheduler, n_steps, even=False, mu=mu)

    def velocity(self, pipeline: Any, at: NetworkInput) -> Tensor:
        transformer = pipeline.transformer
        predicted: Tensor = transformer(
            hidden_states=at.x_BX.to(transformer.dtype),
            # float32: in bfloat16, levels 1000 to 996 are one.
            timestep=at.sigma_B * _TIMESTEPS,
            encoder_hidden_states=torch.stack([row.tokens_TD for row in at.rows]),
            pooled_projections=torch.stack([row.pooled_D for row in at.rows]),  # type: ignore[misc]
            return_dict=False,
        )[0]
        return predicted.float()


STABLE_DIFFUSION_3: Final[DiffusersFamily] = StableDiffusion3()
