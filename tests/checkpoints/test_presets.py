from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import pytest

from alphabench.checkpoints.presets import (
    PRESETS,
    choose_preset,
    negative_prompt_in,
    preset_families,
    preset_named,
)


def reader(configs: Mapping[str, Mapping[str, Any]]) -> Any:
    return lambda component: configs.get(component, {})


SD35 = {"transformer": {"qk_norm": "rms_norm", "num_layers": 38}}
SD35_MEDIUM = {"transformer": {"qk_norm": "rms_norm", "num_layers": 24}}


@pytest.mark.parametrize(
    ("pipeline_class", "name", "configs", "family"),
    [
        ("StableDiffusionPipeline", "stable-diffusion-v1-5", {}, "sd15"),
        ("StableDiffusionPipeline", "x", {"unet": {"cross_attention_dim": 1024}}, "sd2"),
        ("StableDiffusionPipeline", "stabilityai/sd-turbo", {}, "sd-turbo"),
        ("StableDiffusionXLPipeline", "stabilityai/stable-diffusion-xl-base-1.0", {}, "sdxl"),
        ("StableDiffusionXLPipeline", "stabilityai/sdxl-turbo", {}, "sdxl-turbo"),
        ("StableDiffusion3Pipeline", "x", {"transformer": {"num_layers": 24}}, "sd3"),
        ("StableDiffusion3Pipeline", "x", SD35, "sd35-large"),
        ("StableDiffusion3Pipeline", "x", SD35_MEDIUM, "sd35-medium"),
        ("StableDiffusion3Pipeline", "SD-3.5-Large-Turbo", SD35, "sd35-large-turbo"),
        ("FluxPipeline", "x", {"transformer": {"guidance_embeds": True}}, "flux-dev"),
        ("FluxPipeline", "x", {"transformer": {"guidance_embeds": False}}, "flux-schnell"),
        ("SanaPipeline", "x", {"transformer": {"sample_size": 32}}, "sana"),
        ("SanaPipeline", "x", {"transformer": {"sample_size": 16}}, "sana-512"),
        ("QwenImagePipeline", "Qwen/Qwen-Image", {}, "qwen-image"),
        ("QwenImagePipeline", "Qwen/Qwen-Image-2512", {}, "qwen-image-2512"),
        ("ZImagePipeline", "Tongyi-MAI/Z-Image-Turbo", {}, "z-image-turbo"),
        ("ZImagePipeline", "Tongyi-MAI/Z-Image", {}, "z-image"),
        ("NobodysPipeline", "x", {}, "other"),
    ],
)
def test_the_narrowest_row_that_fits_is_taken(
    pipeline_class: str, name: str, configs: Mapping[str, Mapping[str, Any]], family: str
) -> None:
    assert choose_preset(pipeline_class, name, reader(configs)).family == family


def test_an_unknown_pipeline_uses_its_defaults() -> None:
    preset = choose_preset("NobodysPipeline", "x", reader({}))
    assert (preset.steps, preset.guidance, preset.width, preset.height) == (None,) * 4


def test_every_family_can_be_named_and_has_a_source() -> None:
    assert len(set(preset_families())) == len(PRESETS)
    for preset in PRESETS:
        assert preset_named(preset.family) is preset
        assert preset.source


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.family)
def test_every_pipeline_takes_what_its_preset_sets(preset: Any) -> None:
    import diffusers

    takes = inspect.signature(getattr(diffusers, preset.pipeline_class).__call__).parameters
    sizes = {"width", "height"} if preset.width is not None else set()
    assert {preset.guidance_name, "num_inference_steps", "generator", *sizes} <= {*takes}
    assert ("max_sequence_length" in takes) == (preset.max_sequence_length is not None)
    if preset.takes_negative_prompt:
        assert "negative_prompt" in takes


@pytest.mark.parametrize(
    ("family", "steps", "guidance"),
    [
        ("qwen-image-edit", 50, 4.0),
        ("qwen-image-edit-plus", 40, 4.0),
        ("flux-kontext", 28, 2.5),
        ("z-image-turbo", 8, 0.0),
        ("qwen-image-2512", 50, 4.0),
    ],
)
def test_settings_are_those_that_authors_publish(family: str, steps: int, guidance: float) -> None:
    preset = preset_named(family)
    assert preset is not None
    assert (preset.steps, preset.guidance) == (steps, guidance)


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ('prompt = "a"\nnegative_prompt = "not \u8fd9 this"\n', "not \u8fd9 this"),
        ("    negative_prompt = ' ' # or\n", " "),
        ("negative_prompt = OTHER\n", None),
        ("its negative_prompt = 'a' is", None),
        ("", None),
    ],
)
def test_a_negative_prompt_is_read_from_an_example_in_a_model_card(
    card: str, found: str | None
) -> None:
    assert negative_prompt_in(card) == found
