"""Pipelines that show an image to their text encoder load without torchvision, and say so."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alphabench.checkpoints.diffusers import DiffusersCheckpoint, open_diffusers
from alphabench.checkpoints.image_text_processor import load_processor, replaced_processors
from alphagrpo.policies.diffusers_training import DiffusersTraining

Folder = Callable[[str], Path]
NAME = "qwen-image-edit-plus"
PROMPT = "<|vision_start|><|image_pad|><|vision_end|>make it blue"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed"
)


def opened(folder: Path) -> DiffusersCheckpoint:
    return open_diffusers(str(folder), options={"dtype": "float32"}, lora=None, device="cpu")


def read(processor: Any) -> Any:
    """The processor's tensors of one text and image."""
    pixels = np.random.default_rng(0).integers(0, 256, (84, 112, 3), dtype=np.uint8)
    return processor(text=[PROMPT], images=[Image.fromarray(pixels)], return_tensors="pt")


def test_an_image_of_28_pixels_a_token_is_read(pipeline: Folder) -> None:
    inputs = read(load_processor(pipeline(NAME) / "processor"))
    assert inputs["image_grid_thw"].tolist() == [[1, 6, 8]]
    shown = opened(pipeline(NAME)).source.read_config("text_encoder")
    assert (inputs["input_ids"] == shown["image_token_id"]).sum() == 6 * 8 // 4


def test_files_of_a_machine_with_torchvision_are_read(pipeline: Folder, tmp_path: Path) -> None:
    expected = read(load_processor(pipeline(NAME) / "processor"))
    shutil.copytree(pipeline(NAME) / "processor", tmp_path / "whole")
    shutil.copytree(pipeline(NAME) / "processor", tmp_path / "older")
    own = json.loads((tmp_path / "whole" / "processor_config.json").read_text())
    videos = {"video_processor_type": "Qwen2VLVideoProcessor", "patch_size": 14}
    (tmp_path / "whole" / "processor_config.json").write_text(
        json.dumps({**own, "video_processor": videos})
    )
    (tmp_path / "older" / "processor_config.json").unlink()
    images = {**own["image_processor"], "image_processor_type": "Qwen2VLImageProcessorFast"}
    (tmp_path / "older" / "preprocessor_config.json").write_text(json.dumps(images))
    (tmp_path / "older" / "video_preprocessor_config.json").write_text(json.dumps(videos))
    for name in ("whole", "older"):
        found = read(load_processor(tmp_path / name))
        assert all(found[key].equal(expected[key]) for key in expected)


def test_the_identity_says_who_resized_the_image(
    pipeline: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opened(pipeline(NAME)).identity["image_processor"] == "pillow"
    assert "image_processor" not in opened(pipeline("qwen-image")).identity
    components = {"processor": "Qwen2VLProcessor", "tokenizer": "Qwen2Tokenizer"}
    assert replaced_processors(components) == ["processor"]
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert replaced_processors(components) == []


def test_an_export_has_the_processors_files_in_full(pipeline: Folder, tmp_path: Path) -> None:
    base = shutil.copytree(pipeline(NAME), tmp_path / "base")
    (base / "processor" / "video_preprocessor_config.json").write_text('{"patch_size": 14}')
    checkpoint = opened(base)
    DiffusersTraining(checkpoint=checkpoint).open_weights(device="cpu").save(tmp_path / "out")
    stored = {path.name: path.read_text() for path in (base / "processor").iterdir()}
    written = tmp_path / "out" / "processor"
    assert {path.name: path.read_text() for path in written.iterdir()} == stored
    index = json.loads((tmp_path / "out" / "model_index.json").read_text())
    assert index["processor"] == ["transformers", "Qwen2VLProcessor"]
    opened(tmp_path / "out").pipeline()
