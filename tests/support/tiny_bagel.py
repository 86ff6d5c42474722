"""Builds a BAGEL checkpoint with tiny random weights in the released layout.

Knows no checkpoint of ours; what it draws and says is noise.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel

from alphabench.models.bagel.autoencoder import Autoencoder
from alphabench.models.bagel.config import BagelConfig, read_bagel_config
from alphabench.models.bagel.embedding import sine_table
from alphabench.models.bagel.model import Bagel, ImageMarks
from alphabench.models.bagel.tokenizer import CONTROL

LATENT_SIDE = 8
FILES = {
    "llm_config.json": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 264,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-6,
    },
    "vit_config.json": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 14,
        "image_size": 112,
    },
    "config.json": {
        "max_latent_size": 32,
        "vae_config": {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "z_channels": 16},
    },
    "tokenizer_config.json": {
        "tokenizer_class": "Qwen2Tokenizer",
        "added_tokens_decoder": {
            str(256 + index): {"content": token, "special": True}
            for index, token in enumerate(CONTROL)
        },
    },
    "vocab.json": {letter: index for index, letter in enumerate(sorted(ByteLevel.alphabet()))},
}


def tiny_design(folder: Path) -> BagelConfig:
    return read_bagel_config(folder, latent_side=LATENT_SIDE)


@torch.no_grad()
def save_bagel(folder: Path) -> Path:
    """About 1 MB in float32; every matrix is random, so that nothing is left out unnoticed.

    Args:
        folder: is created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in FILES.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    config = tiny_design(folder)
    torch.manual_seed(0)
    model = Bagel(config, ImageMarks(start=258, end=259))
    for table in (model.vit_pos_embed, model.latent_pos_embed):
        table.pos_embed.copy_(sine_table(8, 32))
    save_file(model.state_dict(), folder / "ema.safetensors")
    coder = Autoencoder(config.autoencoder)
    weights = coder.network.state_dict()
    renamed = {coder.stored_name(name): tensor for name, tensor in weights.items()}
    for name, tensor in renamed.items():
        if ".attn_1." in name and tensor.ndim == 2:
            renamed[name] = tensor[:, :, None, None].contiguous()
    save_file(renamed, folder / "ae.safetensors")
    return folder
