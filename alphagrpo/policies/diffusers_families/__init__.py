"""The families of diffusers pipelines that can be trained, one adapter each: a table, no code.

An adapter is a `family_protocol.DiffusersFamily`. It knows one pipeline class; the policy knows
none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FAMILIES: Final[Mapping[str, str]] = {
    "StableDiffusion3Pipeline": "stable_diffusion_3:STABLE_DIFFUSION_3",
    "FluxPipeline": "flux:FLUX",
    "FluxKontextPipeline": "flux:FLUX_KONTEXT",
    "QwenImagePipeline": "qwen_image:QWEN_IMAGE",
    "QwenImageEditPipeline": "qwen_image_edit:QWEN_IMAGE_EDIT",
    "QwenImageEditPlusPipeline": "qwen_image_edit:QWEN_IMAGE_EDIT_PLUS",
    "ZImagePipeline": "z_image:Z_IMAGE",
    "Flux2KleinPipeline": "flux2_klein:FLUX2_KLEIN",
}
"""Class of the pipeline, as model_index.json names it -> module of this package and its adapter."""
