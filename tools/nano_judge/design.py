"""The nano judge's shape, its tokenizer, and the folder that transformers and vLLM load.

A Qwen3-VL of 3 million parameters that sees every picture at 80 x 80 pixels: 100 patches of 8 x 8,
of which four make one token. Its chat template is bare: system and user messages, each ended by one
token, and then the reply.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from tools.nano_judge.scene_images import SIDE
from tools.nano_judge.templates import long_tokens

PATCH: Final = 8
MERGE: Final = 2
TEMPORAL: Final = 2
PAD: Final = "<|endoftext|>"
END: Final = "<|im_end|>"
START_PICTURE: Final = "<|vision_start|>"
END_PICTURE: Final = "<|vision_end|>"
PICTURE: Final = "<|image_pad|>"
VIDEO: Final = "<|video_pad|>"
CONTROL: Final = (PAD, END, START_PICTURE, END_PICTURE, PICTURE, VIDEO)
CONTEXT: Final = 2048
VOCABULARY: Final = 1400
"""At most: words, bytes and fixed sentences together."""
_PIXELS: Final = {"shortest_edge": SIDE * SIDE - 100, "longest_edge": SIDE * SIDE + 100}
"""Bounds a little apart, so that rounding cannot make a square picture 64 or 96 pixels wide."""
_HALF: Final = (0.5, 0.5, 0.5)
TEMPLATE: Final = (
    "{%- for message in messages -%}"
    "{%- if message.content is string -%}{{ message.content }}"
    "{%- else -%}{%- for part in message.content -%}"
    "{%- if part.type == 'image' or 'image' in part or 'image_url' in part -%}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{%- elif 'text' in part -%}{{ part.text }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}<|im_end|>"
    "{%- endfor -%}"
)


def make_judge_tokenizer(texts: Iterable[str]) -> Any:
    """Words of the texts as byte pairs, and every fixed sentence as a token of its own."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    library: Any = importlib.import_module("transformers")
    sentences = long_tokens()
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(sentences),
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=3,
    )
    pieces.train_from_iterator(texts, trainer)
    pieces.add_tokens([AddedToken(text, normalized=False) for text in sentences])
    tokenizer = library.PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(CONTROL[2:]),
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_config(tokenizer: Any) -> Any:
    """The shape for a tokenizer's vocabulary."""
    library: Any = importlib.import_module("transformers")
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in CONTROL}
    text = {
        "vocab_size": 8 * -(-len(tokenizer) // 8),
        "hidden_size": 192,
        "intermediate_size": 448,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "head_dim": 32,
        "max_position_embeddings": CONTEXT,
        "rope_parameters": {
            "rope_type": "default",
            "mrope_section": [6, 5, 5],
            "mrope_interleaved": True,
            "rope_theta": 10_000.0,
        },
        "bos_token_id": ids[PAD],
        "eos_token_id": ids[END],
        "pad_token_id": ids[PAD],
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": 5,
        "hidden_size": 128,
        "intermediate_size": 448,
        "num_heads": 4,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": TEMPORAL,
        "out_hidden_size": 192,
        "num_position_embeddings": (SIDE // PATCH) ** 2,
        "deepstack_visual_indexes": [],
    }
    return library.Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        image_token_id=ids[PICTURE],
        video_token_id=ids[VIDEO],
        vision_start_token_id=ids[START_PICTURE],
        vision_end_token_id=ids[END_PICTURE],
    )


def make_network(tokenizer: Any, *, attention: str = "sdpa") -> Any:
    """With random weights, float32."""
    library: Any = importlib.import_module("transformers")
    config = make_config(tokenizer)
    config._attn_implementation = attention
    return library.Qwen3VLForConditionalGeneration(config)


def save_folder(folder: Path, network: Any, tokenizer: Any) -> None:
    """Weights as they are, tokenizer, chat template and processors' settings."""
    library: Any = importlib.import_module("transformers")
    folder.mkdir(parents=True, exist_ok=True)
    network.generation_config = library.GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )
    network.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    seen = {
        "size": _PIXELS,
        "patch_size": PATCH,
        "temporal_patch_size": TEMPORAL,
        "merge_size": MERGE,
        "image_mean": _HALF,
        "image_std": _HALF,
    }
    image = {"image_processor_type": "Qwen2VLImageProcessor", **seen}
    video = {"video_processor_type": "Qwen3VLVideoProcessor", **seen}
    _write(folder / "preprocessor_config.json", {"processor_class": "Qwen3VLProcessor", **image})
    _write(folder / "video_preprocessor_config.json", video)


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
