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
    folder: Path, *, size: dict[str, int] | None = None, labels: tuple[str, ...] = COCO_NAMES
) -> Path:
    """A Mask2Former with a Swin backbone and its image processor.

    Args:
        folder: is created.
        size: the image processor's; None is 64 pixels on the short side.
        labels: names by label index.
    """
    import torch
    from transformers import (
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        Mask2FormerImageProcessorPil,
        SwinConfig,
    )

    torch.manual_seed(3)
    backbone = SwinConfig(
        image_size=64,
        embed_dim=16,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        dim_feedforward=32,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=12,
        id2label=dict(enumerate(labels)),
    )
    model = Mask2FormerForUniversalSegmentation(config)
    with torch.no_grad():
        model.class_predictor.weight.normal_(std=1.5)
    model.save_pretrained(folder)
    processor = Mask2FormerImageProcessorPil(
        size=size or {"shortest_edge": 64, "longest_edge": 128}, size_divisor=32
    )
    processor.save_pretrained(folder)
    return folder


def save_clip(folder: Path, *, pieces: tuple[dict[str, int], list[str]] | None = None) -> Path:
    """A CLIPModel with QuickGELU, a byte-pair tokenizer and OpenAI's normalisation.

    Args:
        folder: is created.
        pieces: vocabulary and merges of CLIP's own tokenizer; None is a small one.
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
    tower: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "hidden_act": "quick_gelu",
    }
    config = CLIPConfig(
        text_config={
            **tower,
            "num_attention_heads": 2,
            "vocab_size": len(vocabulary),
            "max_position_embeddings": 77,
            "bos_token_id": vocabulary["<|startoftext|>"],
            "eos_token_id": vocabulary["<|endoftext|>"],
            "pad_token_id": vocabulary["<|endoftext|>"],
        },
        vision_config={
            **tower,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 8,
        },
        projection_dim=16,
    )
    model = CLIPModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "position" not in name:
                parameter.mul_(6.0)  # texts and pictures differ more than by the first digits
    model.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ).save_pretrained(folder)
    return folder


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
