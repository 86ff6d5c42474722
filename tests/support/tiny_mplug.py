"""Builds mPLUG folders with random weights, as ModelScope released the real one.

File layout, names and loading are the real ones; widths are what the caller says. The weights are
`probe.frozen_weights`, equal on every machine; what they say is noise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from alphabench.models.mplug.build_probe import PROBE, doubled, frozen_weights
from alphabench.models.mplug.config import MplugConfig

FIRST_WORD = 104
"""The words before it are unused, but for BERT's marks at their official places."""
MARKS = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789?.,'-"
SUBJECTS = ("cat", "dog", "red car", "cup", "man", "woman", "tree", "blue bird", "boat", "clock")
QUESTIONS = (
    "is there a {}?", "what color is the {}?", "how many {} are there?", "is the {} big?",
    "where is the {}?", "is the {} to the left of the table that stands before the house?",
    "does the {} look old and worn?", "what is the {} made of?", "is it a photo of a {}?",
    "what is beside the {} on the wooden floor in front of the open window at the very end?",
)  # fmt: skip


def save_mplug(
    folder: Path, config: MplugConfig = PROBE, *, seed: int = 0, end_bias: float = 2.0
) -> Path:
    """A folder with the four files that answering needs, and modelscope's own description.

    Args:
        folder: is created.
        config: all sizes.
        seed: another one gives other weights.
        end_bias: the higher, the shorter the answers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vision, text, search = config.vision, config.text, config.search
    general = {
        "task": "visual-question-answering",
        "bert_config": "config_bert.json",
        "image_res": vision.image_res,
        "vision_width": vision.clip_vision_width,
        "clip_vision_layers": vision.clip_vision_layers,
        "clip_vision_width": vision.clip_vision_width,
        "clip_vision_patch_size": vision.clip_vision_patch_size,
        "clip_name": "ViT-L-14",
        "distill": False,
        "beam_size": search.beam_size,
        "min_length": search.min_length,
        "max_length": search.max_length,
    }
    stored = {name: getattr(text, name) for name in text.__dataclass_fields__}
    stored |= {"hidden_act": "gelu", "encoder_width": text.hidden_size, "pad_token_id": 0}
    stored |= {"add_cross_attention": False, "use_cache": False, "model_type": "bert"}
    described = {
        "framework": "pytorch",
        "task": "visual-question-answering",
        "model": {"type": "mplug"},
        "pipeline": {"type": "visual-question-answering"},
    }
    lines = [f"{key}: {json.dumps(value)}" for key, value in general.items()]
    (folder / "config.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "config_bert.json").write_text(json.dumps(stored), encoding="utf-8")
    (folder / "configuration.json").write_text(json.dumps(described), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(vocabulary(text.vocab_size)) + "\n")
    weights = frozen_weights(config, seed=seed, end_bias=end_bias)
    torch.save(doubled(weights), folder / "pytorch_model.bin")
    return folder


def vocabulary(size: int) -> list[str]:
    """Marks, letters alone and as endings, and made-up words up to `size`."""
    words = [MARKS.get(number, f"[unused{number}]") for number in range(FIRST_WORD)]
    known = ["yes", "no", "is", "there", "the", *LETTERS[:26], *LETTERS[26:]]
    known += [f"##{letter}" for letter in LETTERS[:36]]
    made_up = [f"w{number}" for number in range(size)]
    return [*words, *known, *made_up][:size]


def save_images(folder: Path, count: int) -> list[Path]:
    """Pictures of shapes, of many sizes and proportions; some grey, some with transparency."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        draw = np.random.RandomState(number)
        width, height = (int(side) for side in draw.randint(40, 640, size=2))
        noise_HW3 = draw.randint(0, 256, size=(height // 8 + 1, width // 8 + 1, 3))
        image = Image.fromarray(noise_HW3.astype(np.uint8)).resize((width, height))
        pen = ImageDraw.Draw(image)
        for _ in range(6):
            x, y, w, h = (int(value) for value in draw.randint(0, 300, size=4))
            pen.ellipse((x, y, x + w, y + h), fill=tuple(int(c) for c in draw.randint(0, 256, 3)))
        mode = ("RGB", "RGB", "L", "RGBA")[number % 4]
        path = folder / f"{number:03d}.png"
        image.convert(mode).save(path)
        paths.append(path)
    return paths


def questions_for(number: int, count: int) -> list[str]:
    """Questions about the image of that number, short ones and one that is cut at 25 tokens."""
    return [
        QUESTIONS[at % len(QUESTIONS)].format(SUBJECTS[(number + at) % len(SUBJECTS)])
        for at in range(count)
    ]


def pairs(images: Sequence[Path], n_questions: int) -> list[tuple[Path, str]]:
    """Each image with each of its questions, in order."""
    return [
        (path, question)
        for number, path in enumerate(images)
        for question in questions_for(number, n_questions)
    ]
