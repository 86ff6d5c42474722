"""Builds a Mask2Former and a CLIP with tiny random weights, saved as the real ones are.

The architectures, file layouts and loading code are the real ones; only the widths are small. What
they say is noise, except that the detector's class head is sharpened so that some objects pass a
threshold. Knows no evaluator of ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alphabench.evaluators.detection.coco import COCO_NAMES

SIDE = 32
"""Of the tiny CLIP's input."""
WORDS = [
    "a photo of colored object red orange yellow green blue purple pink brown black white",
    "person cat cup sports ball computer mouse traffic light dog -",
]


def save_mask2former(
    folder: Path,
    *,
    size: dict[str, int] | None = None,
    labels: tuple[str, ...] = COCO_NAMES,
    full_size: bool = False,
) -> Path:
    """A Mask2Former with a Swin backbone and its image processor.

    Args:
        folder: is created.
        size: the image processor's; None is 64 pixels on the short side, or 800 at full size.
        labels: names by label index.
        full_size: the widths of the published Swin-S checkpoint (69 million weights).
    """
    import torch
    from transformers import (
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        Mask2FormerImageProcessorPil,
        SwinConfig,
    )

    torch.manual_seed(3)
    stages: Any = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
    if full_size:
        backbone = SwinConfig(
            embed_dim=96, depths=[2, 2, 18, 2], num_heads=[3, 6, 12, 24], window_size=7, **stages
        )
        widths: Any = {}
    else:
        backbone = SwinConfig(
            embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2], window_size=4, **stages
        )
        narrow = ("feature_size", "mask_feature_size", "hidden_dim", "encoder_feedforward_dim")
        widths = {**dict.fromkeys((*narrow, "dim_feedforward"), 32), "num_queries": 12}
        widths |= {"encoder_layers": 1, "decoder_layers": 2, "num_attention_heads": 2}
    config = Mask2FormerConfig(backbone_config=backbone, id2label=dict(enumerate(labels)), **widths)
    model = Mask2FormerForUniversalSegmentation(config)
    with torch.no_grad():
        if full_size:  # most queries say no-object, as trained ones do
            model.class_predictor.weight.normal_(std=0.6)
            model.class_predictor.bias[-1] += 11.0
        else:
            model.class_predictor.weight.normal_(std=1.5)
    model.save_pretrained(folder)
    edges = (800, 1333) if full_size else (64, 128)
    processor = Mask2FormerImageProcessorPil(
        size=size or dict(zip(("shortest_edge", "longest_edge"), edges, strict=True)),
        size_divisor=32,
    )
    processor.save_pretrained(folder)
    return folder


def save_clip(
    folder: Path,
    *,
    pieces: tuple[dict[str, int], list[str]] | None = None,
    full_size: bool = False,
) -> Path:
    """A CLIPModel with QuickGELU, a byte-pair tokenizer and OpenAI's normalisation.

    Args:
        folder: is created.
        pieces: vocabulary and merges of CLIP's own tokenizer; None is a small one.
        full_size: the widths of ViT-L/14.
    """
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    vocabulary, merges = pieces or _byte_pairs()
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(5)
    end = vocabulary["<|endoftext|>"]
    words = {
        "vocab_size": len(vocabulary),
        "max_position_embeddings": 77,
        "bos_token_id": vocabulary["<|startoftext|>"],
        "eos_token_id": end,
        "pad_token_id": end,
    }
    side = 224 if full_size else SIDE
    patches = {"image_size": side, "patch_size": 14 if full_size else 8}
    text, vision = _towers(full_size=full_size)
    model = CLIPModel(
        CLIPConfig(
            text_config={**text, **words},
            vision_config={**vision, **patches},
            projection_dim=768 if full_size else 16,
        )
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "position" not in name and not full_size:
                parameter.mul_(6.0)  # texts and images differ more than by the first digits
    model.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    ).save_pretrained(folder)
    return folder


def _towers(*, full_size: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The text tower's widths and the vision tower's."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    if full_size:
        sizes = ((768, 3072, 12, 12), (1024, 4096, 24, 16))
    else:
        sizes = ((32, 128, 2, 2), (32, 128, 2, 2))
    text, vision = (
        {**dict(zip(names, widths, strict=True)), "hidden_act": "quick_gelu"} for widths in sizes
    )
    return text, vision


def _byte_pairs() -> tuple[dict[str, int], list[str]]:
    """A vocabulary of letters and of the words the tests use, in CLIP's format."""
    letters = [chr(code) for code in range(33, 127)]
    vocabulary = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[str] = []
    for word in " ".join(WORDS).split():
        left = word[0] if len(word) > 1 else word + "</w>"
        for position, letter in enumerate(word[1:], start=2):
            right = letter + ("</w>" if position == len(word) else "")
            if f"{left} {right}" not in merges:
                merges.append(f"{left} {right}")
                vocabulary.append(left + right)
            left += right
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    return {word: index for index, word in enumerate(dict.fromkeys(vocabulary))}, merges
