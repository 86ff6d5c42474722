"""Builds a Janus with tiny random weights, saved as the published ones are in transformers' layout.

Architecture, processor and files are the real kinds; only the widths are small: images of 32
pixels from 16 tokens. What it draws and says is noise. Knows no checkpoint of ours.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

SIDE = 32
"""Pixels of a drawn image."""
N_TOKENS = 16
"""Of an image, drawn or shown."""
BEGIN, END, PAD = "<begin>", "<end>", "<pad>"
IMAGE, IMAGE_BEGIN, IMAGE_END = "<image_placeholder>", "<begin_of_image>", "<end_of_image>"
_CONTROL = [BEGIN, END, PAD, IMAGE_BEGIN, IMAGE_END, IMAGE]
_WIDTH = 64
_LIVELINESS = 6.0
"""Factor on the initial matrices: at their initial size the prompt hardly moves a token."""
_CORPUS = ["<|User|>: <|Assistant|>: a photo of a red cat and two green dogs, what is in it? Yes."]
_TEMPLATE = """\
{%- for message in messages -%}
<|User|>: {% for part in message.content -%}
{%- if part.type == 'image' -%}<image_placeholder>{{ '\n' }}
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}{{ '\n\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}<|Assistant|>:{%- endif -%}"""


def save_janus(folder: Path, *, older_files: bool = False) -> Path:
    """A Janus in float32 with its processor, about 1 MB.

    Args:
        folder: is created.
        older_files: the image processor's settings in preprocessor_config.json and the template in
            chat_template.json, as the first releases with Janus wrote them.
    """
    import torch

    library: Any = importlib.import_module("transformers")
    tokenizer = _tokenizer()
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in _CONTROL}
    torch.manual_seed(5)
    network = library.JanusForConditionalGeneration(_config(len(tokenizer), ids))
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if weights.dim() == 2 and "vqmodel" not in name:
                weights.mul_(_LIVELINESS)
        # Words are read and spoken by different tables, as in the published weights.
        network.lm_head.weight = torch.nn.Parameter(torch.randn(len(tokenizer), _WIDTH))
    network.generation_config = library.GenerationConfig(
        bos_token_id=ids[BEGIN],
        eos_token_id=ids[END],
        pad_token_id=ids[PAD],
        guidance_scale=5.0,
        temperature=1.0,
        generation_kwargs={"boi_token_id": ids[IMAGE_BEGIN]},
    )
    network.save_pretrained(folder)
    _processor(library, tokenizer).save_pretrained(folder)
    if older_files:
        _write_older_files(folder)
    return folder


def _config(vocabulary: int, ids: dict[str, int]) -> Any:
    library: Any = importlib.import_module("transformers")
    return library.JanusConfig(
        text_config={
            "model_type": "llama",
            "vocab_size": vocabulary,
            "hidden_size": _WIDTH,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "bos_token_id": ids[BEGIN],
            "eos_token_id": ids[END],
            "pad_token_id": ids[PAD],
        },
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 8,
            "num_image_tokens": N_TOKENS,
            "projection_dim": _WIDTH,
        },
        vq_config={
            "embed_dim": 8,
            "num_embeddings": 48,
            "latent_channels": 32,
            "base_channels": 32,
            "channel_multiplier": [1, 1, 1, 1],
            "num_res_blocks": 1,
            "projection_dim": _WIDTH,
            "image_token_embed_dim": _WIDTH,
        },
        image_token_id=ids[IMAGE],
    )


def _processor(library: Any, tokenizer: Any) -> Any:
    half = [0.5, 0.5, 0.5]
    return library.JanusProcessor(
        image_processor=library.JanusImageProcessorPil(
            size={"height": SIDE, "width": SIDE}, image_mean=half, image_std=half
        ),
        tokenizer=tokenizer,
        chat_template=_TEMPLATE,
        use_default_system_prompt=True,
        num_image_tokens=N_TOKENS,
    )


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    library: Any = importlib.import_module("transformers")
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=_CONTROL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces.train_from_iterator(_CORPUS * 4, trainer)
    begin = pieces.token_to_id(BEGIN)
    pieces.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, begin)]
    )
    return library.PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens={
            "image_token": IMAGE, "boi_token": IMAGE_BEGIN, "eoi_token": IMAGE_END
        },
        model_max_length=256,
    )  # fmt: skip


def _write_older_files(folder: Path) -> None:
    path = folder / "processor_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    images = settings.pop("image_processor")
    images["image_processor_type"] = "JanusImageProcessor"
    path.write_text(json.dumps(settings), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(images), encoding="utf-8")
    template = folder / "chat_template.jinja"
    (folder / "chat_template.json").write_text(
        json.dumps({"chat_template": template.read_text(encoding="utf-8")}), encoding="utf-8"
    )
    template.unlink()
