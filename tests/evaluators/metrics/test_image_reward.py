"""ImageReward against a forward pass that is written out by hand (float64)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.metrics.metric_table import open_metric
from alphabench.types import GeneratedImage, ImageRequest, Sample
from alphabench.upstream import UpstreamData
from tests.evaluators.conftest import noise_image
from tests.support.blip_by_hand import SIDE, image_reward, tiny_tensors

PROMPTS = ("a red cup", "a photo of a cat and a dog " * 8)
"""The second is longer than 35 tokens."""
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "red",
    "cup",
    "photo",
    "of",
    "cat",
    "and",
    "dog",
]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    from transformers import BertTokenizer

    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def tokens_of(prompt: str) -> list[int]:
    """[CLS], at most 33 words, [SEP]."""
    return [2, *(WORDS.index(word) for word in prompt.split()[:33]), 3]


def measured(spec: str, folder: Path, images: list[Image.Image]) -> list[float | None]:
    evaluator = open_metric(spec, device="cpu", data=UpstreamData(cache_dir=folder))
    made = []
    for index, (pixels, prompt) in enumerate(zip(images, PROMPTS, strict=True)):
        path = folder / f"{index}.png"
        pixels.save(path)
        sample = Sample(id=str(index), prompt=prompt, group="all")
        request = ImageRequest(sample=sample, index=0, seed=0)
        made.append(GeneratedImage(request=request, path=path, sha256="0", seconds=0.0))
    return [verdict.value for verdict in evaluator.evaluate(made)]


def test_imagereward_is_the_standardised_head_on_a_text_that_looks_at_the_image(
    tokenizer: Path, tmp_path: Path
) -> None:
    tensors, file = tiny_tensors(), tmp_path / "reward.safetensors"
    save_file(tensors, file)
    images = [noise_image(SIDE, SIDE, seed=1), noise_image(SIDE, SIDE, seed=2)]
    found = measured(f"imagereward?weights={file}&tokenizer={tokenizer}", tmp_path, images)
    weights = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    expected = [
        image_reward(weights, np.asarray(one, dtype=np.float64) / 255.0, tokens_of(prompt))
        for one, prompt in zip(images, PROMPTS, strict=True)
    ]
    assert found == pytest.approx(expected, abs=1e-4)
    swapped = image_reward(
        weights, np.asarray(images[1], dtype=np.float64) / 255.0, tokens_of(PROMPTS[0])
    )
    assert abs(swapped - expected[0]) > 1e-3


def test_the_published_file_is_a_pickle_and_needs_consent(tokenizer: Path, tmp_path: Path) -> None:
    file = tmp_path / "ImageReward.pt"
    torch.save(tiny_tensors(), file)
    images = [noise_image(SIDE, SIDE, seed=1), noise_image(SIDE, SIDE, seed=2)]
    spec = f"imagereward?weights={file}&tokenizer={tokenizer}"
    with pytest.raises(AlphaBenchError, match="pickle"):
        measured(spec, tmp_path, images)
    assert None not in measured(f"{spec}&allow_pickle=true", tmp_path, images)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blip.text_encoder.encoder.layer.0.output.dense.weight", "weights are missing"),
        ("mlp.layers.4.weight", "cannot be loaded as ImageReward"),
    ],
)
def test_tensors_that_are_missing_are_an_error(
    name: str, message: str, tokenizer: Path, tmp_path: Path
) -> None:
    tensors, file = tiny_tensors(), tmp_path / "reward.safetensors"
    del tensors[name]
    save_file(tensors, file)
    images = [noise_image(SIDE, SIDE, seed=1), noise_image(SIDE, SIDE, seed=2)]
    with pytest.raises(AlphaBenchError, match=message):
        measured(f"imagereward?weights={file}&tokenizer={tokenizer}", tmp_path, images)
