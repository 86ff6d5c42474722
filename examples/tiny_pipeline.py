r"""Writes a Stable Diffusion 3 pipeline with tiny random weights to the folder `tiny-pipeline`.

    cd examples
    python tiny_pipeline.py
    alphabench train diffusers_recipe.yaml
    alphabench run geneval:mini --limit 6 --ckpt ./tiny-pipeline \
        --set steps=2 --set height=64 --set width=64

Architecture, file layout and loading code are those of the real pipelines; only the widths are
small, so that `diffusers_recipe.yaml` trains in seconds on a CPU. Its images are noise.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

FOLDER = Path("tiny-pipeline")
WIDTH = 32
"""Of text encoders and transformer."""


def character_tokenizer(length: int) -> Any:
    """One token for each printable character, so that no vocabulary file is needed."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", "<unk>"]
    words = [*special, *(chr(code) for code in range(33, 127))]
    inner = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    names = ("pad_token", "bos_token", "eos_token", "unk_token")
    build: Any = PreTrainedTokenizerFast
    return build(
        tokenizer_object=inner, model_max_length=length, **dict(zip(names, special, strict=True))
    )


def clip_encoder() -> Any:
    """A text encoder of CLIP's architecture."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            hidden_size=WIDTH, intermediate_size=WIDTH, projection_dim=WIDTH, vocab_size=128,
            num_attention_heads=4, num_hidden_layers=2, max_position_embeddings=77,
            pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip


def build_pipeline() -> Any:
    """The whole pipeline; images have 64 x 64 pixels."""
    import diffusers
    from transformers import T5Config, T5EncoderModel

    library: Any = diffusers
    transformer = library.SD3Transformer2DModel(
        sample_size=32, patch_size=2, in_channels=4, out_channels=4, num_layers=2,
        attention_head_dim=8, num_attention_heads=4, joint_attention_dim=WIDTH,
        caption_projection_dim=WIDTH, pooled_projection_dim=2 * WIDTH, qk_norm="rms_norm",
    )  # fmt: skip
    autoencoder = library.AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=1,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5,
    )  # fmt: skip
    t5 = T5Config(vocab_size=128, d_model=WIDTH, d_ff=WIDTH, d_kv=8, num_layers=2, num_heads=4)
    return library.StableDiffusion3Pipeline(
        transformer=transformer, vae=autoencoder,
        scheduler=library.FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=clip_encoder(), tokenizer=character_tokenizer(77),
        text_encoder_2=clip_encoder(), tokenizer_2=character_tokenizer(77),
        text_encoder_3=T5EncoderModel(t5), tokenizer_3=character_tokenizer(256),
    )  # fmt: skip


def write_pipeline(folder: Path, *, seed: int = 0) -> None:
    """Saves the pipeline with weights that follow from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        build_pipeline().save_pretrained(folder)


if __name__ == "__main__":
    write_pipeline(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
