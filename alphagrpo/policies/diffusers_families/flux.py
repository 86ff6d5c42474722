"""FLUX.1 dev and schnell (`FluxPipeline`), and Kontext, which edits (`FluxKontextPipeline`).

As diffusers 0.42 samples. The network itself rounds the noise level to its precision, in
training as in sampling. Dev and Kontext read the guidance scale; schnell has none.

Shapes: as in `family_protocol`; a latent is (C, Y, X), channels and cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from alphagrpo.policies.diffusers_families.family_protocol import (
    Condition,
    DiffusersFamily,
    GuidanceForm,
    NetworkInput,
    beside_sources,
    classifier_free,
    even_levels,
    packed,
    packed_shape,
    unpacked,
    unscaled,
    with_source,
)

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, kw_only=True)
class Flux:
    """See `DiffusersFamily`."""

    edits: bool
    longest: int = 512
    blocks: Sequence[str] = ("transformer_blocks", "single_transformer_blocks")
    experts: Mapping[str, str] = field(
        default_factory=lambda: {
            "gen": r"(single_)?transformer_blocks\.\d+\.attn\."
            r"(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
        }
    )
    """Every projection of the attention."""

    latent_shape = staticmethod(packed_shape)
    noise_levels = staticmethod(even_levels)
    guided = staticmethod(classifier_free)
    decode = staticmethod(unscaled)

    def guidance_form(self, pipeline: Any) -> GuidanceForm:
        return "embedded" if pipeline.transformer.config.guidance_embeds else "none"

    def encode(
        self, pipeline: Any, prompt: str, source: Image | None, *, longest: int
    ) -> Condition:
        device = pipeline.transformer.device
        tokens_1TD, pooled_1D, _ = pipeline.encode_prompt(
            prompt=prompt, prompt_2=None, device=device, max_sequence_length=longest
        )
        text = Condition(tokens_1TD[0], pooled_1D[0])
        if source is None:
            return text
        pixels = pipeline.image_processor.preprocess(source, source.height, source.width)
        pixels = pixels.to(device=device, dtype=tokens_1TD.dtype)
        return with_source(text, pipeline._encode_vae_image(image=pixels, generator=None))

    def velocity(self, pipeline: Any, at: NetworkInput) -> Tensor:
        transformer = pipeline.transformer
        x_BTD, cells = packed(at.x_BX), (at.x_BX.shape[-2] // 2, at.x_BX.shape[-1] // 2)
        places = torch.cat([_places(0, *cells), _places(1, *at.rows[0].source_size)])
        tokens_BTD = torch.stack([row.tokens_TD for row in at.rows])
        embeds = transformer.config.guidance_embeds
        predicted_BTD = transformer(
            hidden_states=beside_sources(x_BTD, at.rows).to(transformer.dtype),
            timestep=at.sigma_B,
            guidance=torch.full_like(at.sigma_B, at.scale) if embeds else None,
            pooled_projections=torch.stack([row.pooled_D for row in at.rows]),  # type: ignore[misc]
            encoder_hidden_states=tokens_BTD,
            txt_ids=torch.zeros(tokens_BTD.shape[1], 3, device=at.x_BX.device),
            img_ids=places.to(at.x_BX.device),
            return_dict=False,
        )[0]
        return unpacked(predicted_BTD[:, : x_BTD.shape[1]].float(), *cells)


def _places(image: int, rows: int, columns: int) -> Tensor:
    """Which image, row and column each token is of; (T, 3)."""
    return torch.cartesian_prod(
        torch.tensor([float(image)]), torch.arange(float(rows)), torch.arange(float(columns))
    )


FLUX: Final[DiffusersFamily] = Flux(edits=False)
FLUX_KONTEXT: Final[DiffusersFamily] = Flux(edits=True)
