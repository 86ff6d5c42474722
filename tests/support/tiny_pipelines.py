"""Builds diffusion pipelines with tiny random weights, saved as the real ones are.

The architectures, file layouts and loading code are the real ones; only the widths are small. The
images are noise. Of ours it takes a processor that needs no torchvision.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from alphabench.checkpoints.image_text_processor import processor_class

PRINTABLE: Final = [chr(code) for code in range(33, 127)]
_QWEN_CONTROL: Final = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")


def _diffusers() -> Any:
    """The library, whose constructors carry no types."""
    import diffusers

    return diffusers


def _tokenizer(length: int) -> Any:
    """One token for each printable character, so that prompts differ without a vocabulary file."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", "<unk>", *PRINTABLE]
    inner = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    build: Any = PreTrainedTokenizerFast
    return build(tokenizer_object=inner, model_max_length=length, **special)


def _clip_text(*, projection: bool, width: int = 32) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        hidden_size=width, intermediate_size=37, num_attention_heads=4, num_hidden_layers=2,
        vocab_size=200, bos_token_id=1, eos_token_id=2, pad_token_id=0, projection_dim=width,
        max_position_embeddings=77,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def _t5() -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(vocab_size=200, d_model=32, d_ff=37, d_kv=8, num_layers=2, num_heads=4)
    )


def _vae(*, channels: int, blocks: tuple[int, ...] = (4,), quant: bool = False) -> Any:

    kinds = len(blocks)
    return _diffusers().AutoencoderKL(
        sample_size=32, in_channels=3, out_channels=3, block_out_channels=blocks,
        down_block_types=("DownEncoderBlock2D",) * kinds,
        up_block_types=("UpDecoderBlock2D",) * kinds,
        layers_per_block=1, latent_channels=channels, norm_num_groups=1,
        use_quant_conv=quant, use_post_quant_conv=quant, scaling_factor=1.5,
        shift_factor=None if quant else 0.06,
    )  # fmt: skip


def _flow_scheduler(**config: Any) -> Any:

    return _diffusers().FlowMatchEulerDiscreteScheduler(**config)


def stable_diffusion() -> Any:
    """SD1.5: UNet with cross-attention of the text encoder's width, DDIM, and a safety checker."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    unet = _diffusers().UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, layers_per_block=1, norm_num_groups=2,
        block_out_channels=(4, 8), cross_attention_dim=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2,
        "num_hidden_layers": 1, "image_size": 32, "patch_size": 16, "projection_dim": 16,
    }  # fmt: skip
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    checker = StableDiffusionSafetyChecker(
        CLIPConfig(vision_config=vision, text_config=text, projection_dim=16)
    )
    # Thresholds of zero weight flag everything above no similarity at all; two puts all below.
    checker.concept_embeds_weights.data.fill_(2.0)
    checker.special_care_embeds_weights.data.fill_(2.0)
    size = {"height": 32, "width": 32}
    return _diffusers().StableDiffusionPipeline(
        unet=unet, vae=_vae(channels=4, blocks=(4, 8), quant=True),
        text_encoder=_clip_text(projection=False), tokenizer=_tokenizer(77),
        scheduler=_diffusers().DDIMScheduler(clip_sample=False, set_alpha_to_one=False),
        safety_checker=checker,
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size),
    )  # fmt: skip


def instruct_pix2pix() -> Any:
    """An editor: SD1.5 whose UNet also sees the source image's four latent channels."""
    plain = stable_diffusion()
    unet = _diffusers().UNet2DConditionModel(
        sample_size=16, in_channels=8, out_channels=4, layers_per_block=1, norm_num_groups=2,
        block_out_channels=(4, 8), cross_attention_dim=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    parts = {key: value for key, value in plain.components.items() if key != "image_encoder"}
    build = _diffusers().StableDiffusionInstructPix2PixPipeline
    return build(**{**parts, "unet": unet, "safety_checker": None}, requires_safety_checker=False)


def stable_diffusion_xl() -> Any:
    """SDXL: two text encoders and added time embeddings."""

    unet = _diffusers().UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, layers_per_block=1, norm_num_groups=1,
        block_out_channels=(8, 16), cross_attention_dim=64, attention_head_dim=(2, 4),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2), projection_class_embeddings_input_dim=80,
    )  # fmt: skip
    return _diffusers().StableDiffusionXLPipeline(
        unet=unet, vae=_vae(channels=4, blocks=(4, 8), quant=True),
        scheduler=_diffusers().EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1),
        text_encoder=_clip_text(projection=False), tokenizer=_tokenizer(77),
        text_encoder_2=_clip_text(projection=True), tokenizer_2=_tokenizer(77),
        add_watermarker=False,
    )  # fmt: skip


def stable_diffusion_3(*, qk_norm: str | None = None) -> Any:
    """SD3; with `qk_norm="rms_norm"` the variant that SD3.5 uses."""

    transformer = _diffusers().SD3Transformer2DModel(
        sample_size=32, patch_size=1, in_channels=4, out_channels=4, num_layers=1,
        attention_head_dim=8, num_attention_heads=4, joint_attention_dim=32,
        caption_projection_dim=32, pooled_projection_dim=64, qk_norm=qk_norm,
    )  # fmt: skip
    return _diffusers().StableDiffusion3Pipeline(
        transformer=transformer, scheduler=_flow_scheduler(shift=3.0), vae=_vae(channels=4),
        text_encoder=_clip_text(projection=True), tokenizer=_tokenizer(77),
        text_encoder_2=_clip_text(projection=True), tokenizer_2=_tokenizer(77),
        text_encoder_3=_t5(), tokenizer_3=_tokenizer(256),
    )  # fmt: skip


def flux(*, guidance_embeds: bool = True) -> Any:
    """FLUX.1: `guidance_embeds` is true for dev and false for schnell."""

    transformer = _diffusers().FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8), guidance_embeds=guidance_embeds,
    )  # fmt: skip
    return _diffusers().FluxPipeline(
        transformer=transformer, vae=_vae(channels=1),
        scheduler=_flow_scheduler(use_dynamic_shifting=guidance_embeds),
        text_encoder=_clip_text(projection=False), tokenizer=_tokenizer(77),
        text_encoder_2=_t5(), tokenizer_2=_tokenizer(512),
    )  # fmt: skip


def flux_kontext() -> Any:
    """FLUX.1 Kontext: dev's network, which also reads the latents of a source image."""
    plain = flux()
    parts = {
        name: part
        for name, part in plain.components.items()
        if name not in ("image_encoder", "feature_extractor")
    }
    return _diffusers().FluxKontextPipeline(**parts)


def sana() -> Any:
    """Sana: linear attention over a deep-compression autoencoder, Gemma as text encoder."""
    from transformers import Gemma2Config, Gemma2Model

    transformer = _diffusers().SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2,
        attention_head_dim=4, num_cross_attention_heads=2, cross_attention_head_dim=4,
        cross_attention_dim=8, caption_channels=8, sample_size=32,
    )  # fmt: skip
    kinds = ("ResBlock", "EfficientViTBlock")
    vae = _diffusers().AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=2, encoder_block_types=kinds,
        decoder_block_types=kinds, encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8), encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)), encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1), downsample_block_type="conv",
        upsample_block_type="interpolate", decoder_norm_types="rms_norm", decoder_act_fns="silu",
        scaling_factor=0.41407,
    )  # fmt: skip
    text = Gemma2Config(
        head_dim=16, hidden_size=8, intermediate_size=16, num_attention_heads=2,
        num_hidden_layers=1, num_key_value_heads=2, vocab_size=200, bos_token_id=1,
        eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    return _diffusers().SanaPipeline(
        transformer=transformer, scheduler=_flow_scheduler(), vae=vae,
        text_encoder=Gemma2Model(text), tokenizer=_tokenizer(300),
    )  # fmt: skip


def qwen_image() -> Any:
    """Qwen-Image: a vision-language model as text encoder, a causal video autoencoder."""
    return _diffusers().QwenImagePipeline(
        transformer=_qwen_transformer(), scheduler=_flow_scheduler(), vae=_qwen_vae(),
        text_encoder=_qwen_text_encoder(), tokenizer=_tokenizer(1024),
    )  # fmt: skip


def qwen_image_edit(*, plus: bool = False) -> Any:
    """Qwen-Image-Edit: as Qwen-Image, shown a source image and reading its latents.

    `plus` is the pipeline of the releases 2509 and 2511. See `small_sources`.
    """
    tokenizer = _tokenizer(1024)
    tokenizer.add_tokens(list(_QWEN_CONTROL), special_tokens=True)
    library: Any = importlib.import_module("transformers")
    size = {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
    processor = processor_class()(
        image_processor=library.Qwen2VLImageProcessorPil(size=size), tokenizer=tokenizer
    )
    image, video, start, end = tokenizer.convert_tokens_to_ids(list(_QWEN_CONTROL))
    encoder = _qwen_text_encoder(
        image_token_id=image, video_token_id=video, vision_start_token_id=start,
        vision_end_token_id=end,
    )  # fmt: skip
    build = "QwenImageEditPlusPipeline" if plus else "QwenImageEditPipeline"
    return getattr(_diffusers(), build)(
        transformer=_qwen_transformer(zero_cond_t=plus), scheduler=_flow_scheduler(),
        vae=_qwen_vae(latents_mean=[0.1] * 4, latents_std=[0.5] * 4), text_encoder=encoder,
        tokenizer=tokenizer, processor=processor,
    )  # fmt: skip


@contextmanager
def small_sources() -> Iterator[None]:
    """In it, the pipelines for Qwen-Image-Edit encode a 256th of the pixels that they name."""
    with ExitStack() as patches:
        for variant in ("edit", "edit_plus"):
            name = f"diffusers.pipelines.qwenimage.pipeline_qwenimage_{variant}"
            module: Any = importlib.import_module(name)

            def smaller(area: float, ratio: float, of: Any = module.calculate_dimensions) -> Any:
                return of(area / 256, ratio)

            patches.enter_context(patch.object(module, "calculate_dimensions", smaller))
        yield


def _qwen_vae(**config: Any) -> Any:
    return _diffusers().AutoencoderKLQwenImage(
        base_dim=24, z_dim=4, dim_mult=[1, 2, 4], num_res_blocks=1,
        temperal_downsample=[False, True],
        **{"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4, **config},
    )  # fmt: skip


def _qwen_transformer(**config: Any) -> Any:
    return _diffusers().QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16,
        num_attention_heads=3, joint_attention_dim=16, guidance_embeds=False,
        axes_dims_rope=(8, 4, 4), **config,
    )  # fmt: skip


def _qwen_text_encoder(**control: int) -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6}
    text: dict[str, Any] = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 400,
        "rope_parameters": rope, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    vision: dict[str, Any] = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
        "out_hidden_size": 16, "fullatt_block_indexes": [1],
    }  # fmt: skip
    ids: dict[str, Any] = {
        "image_token_id": 150, "video_token_id": 151, "vision_start_token_id": 152,
        "vision_end_token_id": 153, **control,
    }  # fmt: skip
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    return Qwen2_5_VLForConditionalGeneration(config)


def z_image() -> Any:
    """Z-Image: one stream of text and image tokens, Qwen3 as text encoder."""
    from transformers import Qwen3Config, Qwen3Model

    transformer = _diffusers().ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=16, dim=32, n_layers=2,
        n_refiner_layers=1, n_heads=2, n_kv_heads=2, norm_eps=1e-5, qk_norm=True,
        cap_feat_dim=16, rope_theta=256.0, t_scale=1000.0, axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    )  # fmt: skip
    text = Qwen3Config(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, vocab_size=200, max_position_embeddings=1024, head_dim=8,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    tokenizer = _tokenizer(512)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return _diffusers().ZImagePipeline(
        transformer=transformer, scheduler=_flow_scheduler(shift=3.0),
        vae=_vae(channels=16, blocks=(4, 8)), text_encoder=Qwen3Model(text), tokenizer=tokenizer,
    )  # fmt: skip


def flux2_klein(*, is_distilled: bool = False) -> Any:
    """FLUX.2-klein: three layers of Qwen3 side by side as text, an autoencoder of 2 x 2 patches."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    transformer = _diffusers().Flux2Transformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=24, timestep_guidance_channels=256,
        axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip
    vae = _diffusers().AutoencoderKLFlux2(
        block_out_channels=(4, 4), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, latent_channels=4,
        norm_num_groups=1, sample_size=32,
    )  # fmt: skip
    vae.bn.running_mean.normal_(std=0.1)
    text = Qwen3Config(
        hidden_size=8, intermediate_size=8, num_hidden_layers=28, num_attention_heads=1,
        num_key_value_heads=1, vocab_size=200, max_position_embeddings=1024, head_dim=8,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    tokenizer = _tokenizer(512)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return _diffusers().Flux2KleinPipeline(
        transformer=transformer, scheduler=_flow_scheduler(use_dynamic_shifting=True), vae=vae,
        text_encoder=Qwen3ForCausalLM(text), tokenizer=tokenizer, is_distilled=is_distilled,
    )  # fmt: skip


BUILDERS: Final[dict[str, Callable[[], Any]]] = {
    "sd15": stable_diffusion,
    "sdxl": stable_diffusion_xl,
    "sd3": stable_diffusion_3,
    "sd35": lambda: stable_diffusion_3(qk_norm="rms_norm"),
    "flux-dev": flux,
    "flux-schnell": lambda: flux(guidance_embeds=False),
    "sana": sana,
    "qwen-image": qwen_image,
    "z-image": z_image,
    "flux2-klein": flux2_klein,
}
"""Those that generate from text."""
EDITORS: Final[dict[str, Callable[[], Any]]] = {
    "instruct-pix2pix": instruct_pix2pix,
    "flux-kontext": flux_kontext,
    "qwen-image-edit": qwen_image_edit,
    "qwen-image-edit-plus": lambda: qwen_image_edit(plus=True),
}


def save(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Build the pipeline `name` with weights drawn from `seed` and save it to `folder`."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = {**BUILDERS, **EDITORS}[name]()
    pipeline.save_pretrained(folder)
    return folder
