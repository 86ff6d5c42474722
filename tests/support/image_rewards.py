"""Rewards of images that need no model: `factory: tests.support.image_rewards:brightness`."""

from __future__ import annotations

from PIL.Image import Image
from PIL.ImageStat import Stat


def brightness(prompts: list[str], images: list[Image]) -> list[float]:
    """The mean grey level, from 0 to 1."""
    return [Stat(image.convert("L")).mean[0] / 255 for image in images]
