"""Tiny random models and a scripted detector for the tests of evaluators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alphabench.detections.objects import DetectedObject, Thresholds
from alphabench.evaluators.detection.detector import ColourQuery, ColourReader
from tests.support.tiny_models import save_clip, save_mask2former


@dataclass
class ScriptedDetector:
    """Says what it is told to; category -> score for each image in turn."""

    objects: Sequence[Mapping[str, float]]
    identity: Mapping[str, str] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)

    def detect(self, images: Sequence[Image.Image]) -> list[list[DetectedObject]]:
        return [
            [
                DetectedObject(category=category, score=score, box=(0, 0, 9, 9))
                for category, score in found.items()
            ]
            for _, found in zip(images, self.objects, strict=True)
        ]

    def self_test(self, colours: ColourReader) -> None:
        raise NotImplementedError


@dataclass
class ScriptedColours:
    """Answers in turn, whatever it is shown."""

    answers: Sequence[str]
    identity: Mapping[str, str] = field(default_factory=dict)

    def read(self, queries: Sequence[ColourQuery]) -> list[str]:
        assert len(queries) == len(self.answers)
        return list(self.answers)


@pytest.fixture(scope="session")
def mask2former_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_mask2former(tmp_path_factory.mktemp("models") / "mask2former")


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("models") / "clip")


def noise_image(width: int, height: int, *, seed: int = 0) -> Image.Image:
    """Smooth coloured noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
