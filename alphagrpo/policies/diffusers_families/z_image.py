"""Z-Image and Z-Image-Turbo (`ZImagePipeline` of diffusers 0.42).

The network's time runs from noise to image, and so does the velocity that it predicts. Guidance
w of the pipeline's call is a scale of w + 1 here.

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
    even_levels,
    plain_shape,
    two_branches,
    unscaled,
)

if TYPE_CHECKING:
    from PIL.Image import Image


class ZImage:
    """See `DiffusersFamily`."""

    edits: bool = False
    longest: int = 512
    blocks: Sequence[str] = ("noise_refiner", "context_refiner", "layers")
    experts: Mapping[str, str] = {
        "gen": r"(layers|noise_refiner|context_refiner)\.\d+\.attention\.(to_[qkv]|to_out\.0)"
    }
    """Every projection of the attention."""

    guidance_form = staticmethod(two_branches)
    latent_shape = staticmethod(plain_shape)
    noise_levels = staticmethod(even_levels)
    guided = staticmethod(classifier_free)
    decode = staticmethod(unscaled)

    def encode(
        self, pipeline: Any, prompt: str, source: Image | None, *, longest: int
    ) -> Condition:
        del source
        (tokens_TD,), _ = pipeline.encode_prompt(
            prompt=[prompt],
            device=pipeline.transformer.device,
            do_classifier_free_guidance=False,
            max_sequence_length=longest,
        )
        return Condition(tokens_TD)

    def velocity(self, pipeline: Any, at: NetworkInput) -> Tensor:
        transformer = pipeline.transformer
        predicted = transformer(
            list(at.x_BX.to(transformer.dtype).unsqueeze(2)),
            1.0 - at.sigma_B,
            [row.tokens_TD for row in at.rows],
            return_dict=False,
        )[0]
        return -torch.stack([one.float() for one in predicted]).squeeze(2)


Z_IMAGE: Final[DiffusersFamily] = ZImage()
