"""Published sampling settings of each family of diffusion models: one table, with sources.

The defaults of diffusers' pipelines are those of release 0.42.

A result depends on steps, guidance and size as much as on weights, so each family's published
settings are the defaults, and all of them enter the checkpoint's identity. Knows no model library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

DtypeName = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinePreset:
    """The published sampling settings of one family; None leaves a value to the pipeline."""

    family: str
    pipeline_class: str
    """As model_index.json names it."""
    source: str
    """Where steps, guidance, size and dtype are published."""
    steps: int | None
    guidance: float | None
    guidance_name: str = "guidance_scale"
    """The argument of the pipeline's call that takes `guidance`."""
    width: int | None
    height: int | None
    dtype: DtypeName
    negative_prompt: str | None = None
    negative_prompt_in_card: bool = False
    """The published one is its authors' text: it is read from their model card."""
    takes_negative_prompt: bool = True
    """False where the family samples without an unconditional branch and would ignore one."""
    max_sequence_length: int | None = None
    """Prompt tokens; None where the pipeline takes no such argument."""
    name_has: tuple[str, ...] = ()
    """Parts that the hub or folder name must contain, where the weights look alike."""
    config: tuple[tuple[str, str, object], ...] = ()
    """(component, key, value) that the component's config.json must contain."""


PRESETS: Final[tuple[PipelinePreset, ...]] = (
    PipelinePreset(
        family="sdxl-turbo", pipeline_class="StableDiffusionXLPipeline", name_has=("turbo",),
        steps=1, guidance=0.0, width=512, height=512, dtype="float16",
        takes_negative_prompt=False, source="diffusers' SDXL Turbo page",
    ),
    PipelinePreset(
        family="sdxl", pipeline_class="StableDiffusionXLPipeline",
        steps=50, guidance=5.0, width=1024, height=1024, dtype="float16",
        source="defaults of diffusers' pipeline; the model card sets only the dtype",
    ),
    PipelinePreset(
        family="sd-turbo", pipeline_class="StableDiffusionPipeline", name_has=("turbo",),
        steps=1, guidance=0.0, width=512, height=512, dtype="float16",
        takes_negative_prompt=False,
        source="model card stabilityai/sd-turbo, as copied on public pages",
    ),
    PipelinePreset(
        family="sd2", pipeline_class="StableDiffusionPipeline",
        config=(("unet", "cross_attention_dim", 1024),),
        steps=50, guidance=7.5, width=None, height=None, dtype="float16",
        source="defaults of diffusers' pipeline; size from the UNet (512 base, 768 otherwise)",
    ),
    PipelinePreset(
        # GenEval's generation script uses guidance 9.0 for these; its paper's rows need that.
        family="sd15", pipeline_class="StableDiffusionPipeline",
        steps=50, guidance=7.5, width=512, height=512, dtype="float16",
        source="defaults of diffusers' pipeline, as in the model card's example",
    ),
    PipelinePreset(
        family="sd35-large-turbo", pipeline_class="StableDiffusion3Pipeline",
        name_has=("turbo",), config=(("transformer", "qk_norm", "rms_norm"),),
        steps=4, guidance=0.0, width=1024, height=1024, dtype="bfloat16",
        takes_negative_prompt=False, max_sequence_length=256,
        source="demo space of stabilityai/stable-diffusion-3.5-large-turbo; "
        "sequence length: default of diffusers' pipeline",
    ),
    PipelinePreset(
        family="sd35-medium", pipeline_class="StableDiffusion3Pipeline",
        config=(("transformer", "qk_norm", "rms_norm"), ("transformer", "num_layers", 24)),
        steps=40, guidance=4.5, width=1024, height=1024, dtype="bfloat16",
        max_sequence_length=256,
        source="model card stabilityai/stable-diffusion-3.5-medium, as copied on public pages; "
        "sequence length: default of diffusers' pipeline",
    ),
    PipelinePreset(
        family="sd35-large", pipeline_class="StableDiffusion3Pipeline",
        config=(("transformer", "qk_norm", "rms_norm"),),
        steps=28, guidance=3.5, width=1024, height=1024, dtype="bfloat16",
        max_sequence_length=256,
        source="model card stabilityai/stable-diffusion-3.5-large, as copied in public code; "
        "sequence length: default of diffusers' pipeline",
    ),
    PipelinePreset(
        family="sd3", pipeline_class="StableDiffusion3Pipeline",
        steps=28, guidance=7.0, width=1024, height=1024, dtype="float16",
        max_sequence_length=256,
        source="defaults of diffusers' pipeline, as in its documentation's example",
    ),
    PipelinePreset(
        family="flux-schnell", pipeline_class="FluxPipeline",
        config=(("transformer", "guidance_embeds", False),),
        steps=4, guidance=0.0, width=1024, height=1024, dtype="bfloat16",
        takes_negative_prompt=False, max_sequence_length=256,
        source="diffusers' Flux page; size: default of diffusers' pipeline",
    ),
    PipelinePreset(
        family="flux-dev", pipeline_class="FluxPipeline",
        steps=50, guidance=3.5, width=1024, height=1024, dtype="bfloat16",
        takes_negative_prompt=False, max_sequence_length=512,
        source="diffusers' Flux page; size: default of diffusers' pipeline",
    ),
    PipelinePreset(
        family="sana-512", pipeline_class="SanaPipeline",
        config=(("transformer", "sample_size", 16),),
        steps=20, guidance=4.5, width=512, height=512, dtype="bfloat16",
        max_sequence_length=300, source="as sana; size from the weights",
    ),
    PipelinePreset(
        family="sana", pipeline_class="SanaPipeline",
        steps=20, guidance=4.5, width=1024, height=1024, dtype="bfloat16",
        max_sequence_length=300,
        source="defaults of diffusers' pipeline; dtype: of the BF16 checkpoints. The others are "
        "published in float16 with parts of them in bfloat16, which is not done here",
    ),
    PipelinePreset(
        family="qwen-image-2512", pipeline_class="QwenImagePipeline", name_has=("2512",),
        steps=50, guidance=4.0, guidance_name="true_cfg_scale", width=1328, height=1328,
        dtype="bfloat16", negative_prompt_in_card=True, max_sequence_length=512,
        source="README of QwenLM/Qwen-Image, on Qwen-Image-2512 (square size)",
    ),
    PipelinePreset(
        # The README also appends words to each prompt; a benchmark's prompts stay as they are.
        family="qwen-image", pipeline_class="QwenImagePipeline",
        steps=50, guidance=4.0, guidance_name="true_cfg_scale", width=1328, height=1328,
        dtype="bfloat16", negative_prompt=" ", max_sequence_length=512,
        source="README of QwenLM/Qwen-Image (square size)",
    ),
    PipelinePreset(
        # Without a negative prompt the pipeline samples unguided, whatever the scale.
        family="qwen-image-edit", pipeline_class="QwenImageEditPipeline",
        steps=50, guidance=4.0, guidance_name="true_cfg_scale", width=None, height=None,
        dtype="bfloat16", negative_prompt=" ", max_sequence_length=512,
        source="README of QwenLM/Qwen-Image, on Qwen-Image-Edit; size from the source image",
    ),
    PipelinePreset(
        family="qwen-image-edit-plus", pipeline_class="QwenImageEditPlusPipeline",
        steps=40, guidance=4.0, guidance_name="true_cfg_scale", width=None, height=None,
        dtype="bfloat16", negative_prompt=" ", max_sequence_length=512,
        source="README of QwenLM/Qwen-Image, on Qwen-Image-Edit-2509 and -2511; size from the "
        "source image",
    ),
    PipelinePreset(
        family="flux-kontext", pipeline_class="FluxKontextPipeline",
        steps=28, guidance=2.5, width=None, height=None, dtype="bfloat16",
        takes_negative_prompt=False, max_sequence_length=512,
        source="example of diffusers' pipeline; steps: its default; size from the source image",
    ),
    PipelinePreset(
        family="instruct-pix2pix", pipeline_class="StableDiffusionInstructPix2PixPipeline",
        steps=100, guidance=7.5, width=None, height=None, dtype="float16",
        source="defaults of diffusers' pipeline, its image guidance of 1.5 among them; size from "
        "the source image",
    ),
    PipelinePreset(
        # The README writes nine steps for eight evaluations of the network, as older releases of
        # diffusers needed; in 0.42 each step is one evaluation.
        family="z-image-turbo", pipeline_class="ZImagePipeline", name_has=("turbo",),
        steps=8, guidance=0.0, width=1024, height=1024, dtype="bfloat16",
        takes_negative_prompt=False, max_sequence_length=512,
        source="README of Tongyi-MAI/Z-Image (8 evaluations), example of diffusers' pipeline",
    ),
    PipelinePreset(
        family="z-image", pipeline_class="ZImagePipeline",
        steps=50, guidance=4.0, width=1024, height=1024, dtype="bfloat16",
        max_sequence_length=512,
        source="README of Tongyi-MAI/Z-Image; the square size is ours, inside its range",
    ),
)  # fmt: skip
"""The first row that fits is taken, so a narrower row stands before a wider one."""


def preset_families() -> list[str]:
    """The families that a user can name."""
    return [preset.family for preset in PRESETS]


def preset_named(family: str) -> PipelinePreset | None:
    """The row of that name."""
    return next((preset for preset in PRESETS if preset.family == family), None)


def choose_preset(
    pipeline_class: str, name: str, read_config: Callable[[str], Mapping[str, Any]]
) -> PipelinePreset:
    """The row that fits, or one that leaves everything but the dtype to the pipeline.

    Args:
        pipeline_class: from model_index.json.
        name: hub id or folder name.
        read_config: component -> its config.json, called only where a row needs it.
    """
    lowered = name.casefold()
    for preset in PRESETS:
        if (
            preset.pipeline_class == pipeline_class
            and all(part in lowered for part in preset.name_has)
            and all(read_config(part).get(key) == value for part, key, value in preset.config)
        ):
            return preset
    return PipelinePreset(
        family="other", pipeline_class=pipeline_class, steps=None, guidance=None, width=None,
        height=None, dtype="bfloat16", source="none published; the pipeline's defaults",
    )  # fmt: skip


def negative_prompt_in(card: str) -> str | None:
    """The negative prompt that the first example in a model card assigns; None where none does."""
    match = re.search(r"""^\s*negative_prompt\s*=\s*(["'])(.{1,2000}?)\1""", card, re.MULTILINE)
    return match[2] if match else None
