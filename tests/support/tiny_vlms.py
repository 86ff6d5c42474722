"""Builds vision-language models with tiny random weights, saved as the real ones are.

The architectures, processors, chat templates and file layouts are the real kinds; only the widths
are small. What they see is noise, but they answer every question with `Yes` or `No` and then stop,
with odds that depend on question and image. Knows no judge.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alphabench.judges.yesno import YesNoProbability, yes_no_question
from alphabench.questions import ImagePart, Question

CONTROL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
_CORPUS = ["Yes No yes no user assistant system picture question answer word one with Is there a"]
_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}
{%- for part in message.content -%}
{%- if part.type == 'image' or 'image' in part or 'image_url' in part -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif 'text' in part -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking %}Thinking.
{% endif %}
{%- endif -%}"""
_WIDTHS = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
_SIGHT = {"hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "out_hidden_size": 64}
_ROPE = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 1e6}
_DECISION = 1.0
"""Length of the output rows of Yes and No; longer ones are nearer to certainty."""
_DECIDED = 2.5
"""How far all other words are from being the first one of a reply."""
_LIVELINESS = 4.0
"""Factor on the weights of attention and MLP: at their initial size, images hardly count."""


def save_qwen25_vl(folder: Path) -> Path:
    """A Qwen2.5-VL in bfloat16 with its processor, 0.6 MB."""
    library: Any = importlib.import_module("transformers")

    def network(words: dict[str, Any], control: dict[str, int]) -> Any:
        config = library.Qwen2_5_VLConfig(
            text_config={**words, **_WIDTHS, "rope_parameters": _ROPE},
            vision_config={**_SIGHT, "depth": 2, "fullatt_block_indexes": [1], "window_size": 56},
            tie_word_embeddings=False,
            **control,
        )
        return library.Qwen2_5_VLForConditionalGeneration(config)

    def processor(tokenizer: Any) -> Any:
        size = {"shortest_edge": 56 * 56, "longest_edge": 168 * 168}
        return library.Qwen2_5_VLProcessor(
            image_processor=library.Qwen2VLImageProcessor(patch_size=14, size=size),
            video_processor=library.Qwen2VLVideoProcessor(patch_size=14, size=size),
            tokenizer=tokenizer,
            chat_template=_TEMPLATE,
        )

    return _save(folder, network, processor)


def save_qwen3_vl(folder: Path) -> Path:
    """A Qwen3-VL in bfloat16 with its processor, 0.8 MB."""
    library: Any = importlib.import_module("transformers")

    def network(words: dict[str, Any], control: dict[str, int]) -> Any:
        rope = {**_ROPE, "mrope_interleaved": True}
        config = library.Qwen3VLConfig(
            text_config={**words, **_WIDTHS, "head_dim": 32, "rope_parameters": rope},
            vision_config={
                **_SIGHT,
                "depth": 3,
                "deepstack_visual_indexes": [0, 1],
                "num_position_embeddings": 144,
            },
            tie_word_embeddings=False,
            **control,
        )
        return library.Qwen3VLForConditionalGeneration(config)

    return _save(folder, network, _qwen3_processor)


def save_qwen35(folder: Path) -> Path:
    """A Qwen3.5, whose first layer is linear attention with a state, in bfloat16."""
    library: Any = importlib.import_module("transformers")

    def network(words: dict[str, Any], control: dict[str, int]) -> Any:
        linear = {f"linear_{part}_head_dim": 16 for part in ("key", "value")}
        heads = {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
        rope = {**_ROPE, "mrope_interleaved": True, "partial_rotary_factor": 1.0}
        layers = ["linear_attention", "full_attention"]
        shapes = {**_WIDTHS, **linear, **heads, "head_dim": 32, "layer_types": layers}
        config = library.Qwen3_5Config(
            text_config={**words, **shapes, "rope_parameters": rope},
            vision_config={**_SIGHT, "depth": 2, "num_position_embeddings": 144},
            tie_word_embeddings=False,
            **control,
        )
        return library.Qwen3_5ForConditionalGeneration(config)

    return _save(folder, network, _qwen3_processor)


_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


def save_qwen3_vl_moe(folder: Path) -> Path:
    """A Qwen3-VL with a mixture of experts, as Qwen3-VL-30B-A3B is one, in bfloat16."""
    library: Any = importlib.import_module("transformers")

    def network(words: dict[str, Any], control: dict[str, int]) -> Any:
        rope = {**_ROPE, "mrope_interleaved": True}
        experts = {**_EXPERTS, "moe_intermediate_size": 48}
        shapes = {**_WIDTHS, **experts, "head_dim": 32, "rope_parameters": rope}
        config = library.Qwen3VLMoeConfig(
            # vLLM reads norm_topk_prob, which the published configuration has.
            text_config={**words, **shapes, "norm_topk_prob": True},
            vision_config={
                **_SIGHT,
                "depth": 3,
                "deepstack_visual_indexes": [0, 1],
                "num_position_embeddings": 144,
            },
            tie_word_embeddings=False,
            **control,
        )
        return library.Qwen3VLMoeForConditionalGeneration(config)

    _save(folder, network, _qwen3_processor)
    _transpose_experts(folder / "model.safetensors")
    return folder


def _transpose_experts(path: Path) -> None:
    """As the published files have them; transformers turns them when it reads, and only then."""
    files: Any = importlib.import_module("safetensors.torch")
    tensors = files.load_file(path)
    for name in [name for name in tensors if ".mlp.experts." in name]:
        tensors[name] = tensors[name].transpose(1, 2).contiguous()
    files.save_file(tensors, path, metadata={"format": "pt"})


def save_qwen35_moe(folder: Path) -> Path:
    """A Qwen3.5 with a mixture of experts, as Qwen3.5-35B-A3B is one, in bfloat16."""
    library: Any = importlib.import_module("transformers")

    def network(words: dict[str, Any], control: dict[str, int]) -> Any:
        # As in the real one: vLLM has a kernel for CPUs for few sizes.
        linear = {f"linear_{part}_head_dim": 128 for part in ("key", "value")}
        heads = {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
        rope = {**_ROPE, "mrope_interleaved": True, "partial_rotary_factor": 1.0}
        layers = ["linear_attention", "full_attention"]
        shapes = {**_WIDTHS, **_EXPERTS, **linear, **heads, "head_dim": 32, "layer_types": layers}
        config = library.Qwen3_5MoeConfig(
            text_config={
                **words, **shapes, "shared_expert_intermediate_size": 32, "rope_parameters": rope
            },
            vision_config={**_SIGHT, "depth": 2, "num_position_embeddings": 144},
            tie_word_embeddings=False,
            **control,
        )  # fmt: skip
        return library.Qwen3_5MoeForConditionalGeneration(config)

    return _save(folder, network, _qwen3_processor)


def _qwen3_processor(tokenizer: Any) -> Any:
    library: Any = importlib.import_module("transformers")
    size = {"shortest_edge": 64 * 64, "longest_edge": 192 * 192}
    return library.Qwen3VLProcessor(
        image_processor=library.Qwen2VLImageProcessor(patch_size=16, size=size),
        video_processor=library.Qwen3VLVideoProcessor(patch_size=16, size=size),
        tokenizer=tokenizer,
        chat_template=_TEMPLATE,
    )


def _save(
    folder: Path,
    network: Callable[[dict[str, Any], dict[str, int]], Any],
    processor: Callable[[Any], Any],
) -> Path:
    import torch

    tokenizer = _tokenizer()
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in CONTROL}
    words = {
        "vocab_size": len(tokenizer),
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "max_position_embeddings": 4096,
    }
    control = {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }
    torch.manual_seed(11)
    model = network(words, control)
    _make_it_answer(model, tokenizer)
    model.bfloat16().save_pretrained(folder)
    processor(tokenizer).save_pretrained(folder)
    return folder


def _make_it_answer(model: Any, tokenizer: Any) -> None:
    """Behind a line break come Yes and No, at opposite ends of one axis; behind them, the end."""
    import torch

    spoken = tokenizer.convert_tokens_to_ids(["Yes", "No"])
    (line_break,) = tokenizer.encode("\n", add_special_tokens=False)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "proj" in name and weights.dim() == 2:
                weights.mul_(_LIVELINESS)
        axis_H, begin_H, end_H = torch.linalg.qr(torch.randn(64, 3)).Q.T
        embeddings_VH = model.get_input_embeddings().weight
        embeddings_VH[line_break] += begin_H
        embeddings_VH[spoken] += end_H
        head_VH = model.get_output_embeddings().weight
        head_VH -= _DECIDED * begin_H
        head_VH[spoken[0]], head_VH[spoken[1]] = _DECISION * axis_H, -_DECISION * axis_H
        head_VH[tokenizer.eos_token_id] = 2.0 * end_H - begin_H


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    library: Any = importlib.import_module("transformers")
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=CONTROL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces.train_from_iterator(["Yes\nNo", *_CORPUS] * 4, trainer)
    tokenizer = library.PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=CONTROL[1:],
        model_max_length=4096,
    )
    tokenizer.chat_template = _TEMPLATE
    tokenizer.image_token, tokenizer.video_token = "<|image_pad|>", "<|video_pad|>"
    return tokenizer


def save_pictures(folder: Path, n: int) -> list[ImagePart]:
    """Coloured noise of several shapes."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(n):
        coarse = np.random.default_rng(index).integers(0, 256, (5, 7, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((100 + 20 * (index % 4), 100)).save(folder / f"{index}.png")
    return pictures_in(folder)


def pictures_in(folder: Path) -> list[ImagePart]:
    """What `save_pictures` saved there."""
    return [
        ImagePart(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.glob("*.png"))
    ]


def yes_no_questions(pictures: Sequence[ImagePart]) -> list[Question]:
    """Three questions of different length about each image, read from log-probabilities."""
    texts = ("Is there a word?", "No?", "Is there a user with a picture, one that is no question?")
    return [
        yes_no_question(
            text,
            [picture],
            image_id=picture.path.stem,
            question_id=str(number),
            answer_format=YesNoProbability(),
        )
        for picture in pictures
        for number, text in enumerate(texts)
    ]
